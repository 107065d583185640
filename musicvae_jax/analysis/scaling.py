"""The cost of a measure as a curve."""

import os
from collections.abc import Mapping

from musicvae_jax.analysis.figures import GREY, INK, OKABE_ITO, Page

_AIM = 1.15  # a measure in the longest window shall cost no more than this many of 16


def plot_scaling(seconds: Mapping[int, float], path: str | os.PathLike[str]) -> None:
    """Draws the training time of a measure over the measures of a window, as ratios to 16 measures.

    Args:
        seconds: measures of a window -> seconds per measure; without 16 ratios are to the first.
        path: of the PNG.
    """
    page = Page(4.6, 2.7)
    ax = page.axes(0.6, 0.5, 3.8, 1.85)
    lengths = sorted(seconds)
    one = 16 if 16 in seconds else next(iter(seconds))
    ax.plot(lengths, [seconds[m] / seconds[one] for m in lengths], "o-", color=OKABE_ITO["blue"], linewidth=1.6)
    ax.axhline(_AIM, color=OKABE_ITO["vermilion"], linewidth=1, linestyle="--")
    place, said = ax.get_yaxis_transform(), f"aim: at most {_AIM}"
    ax.text(0.99, _AIM + 0.02, said, fontsize=8, color=OKABE_ITO["vermilion"], ha="right", va="bottom", transform=place)
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(m) for m in lengths])
    ax.set_ylim(0, max(1.6, 1.1 * max(seconds[m] / seconds[one] for m in lengths)))
    ax.set_title(f"training time per measure, {one} measures = 1", fontsize=9.5, color=INK, loc="left")
    ax.set_xlabel("measures in a window", fontsize=8, color=GREY, labelpad=2)
    ax.tick_params(length=0, labelsize=8, labelcolor=GREY)
    ax.grid(color="#E8E8E8", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#B0B0B0")
    page.save(path)
