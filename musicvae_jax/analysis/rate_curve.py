"""What a figure of an ablation comes to at each rate: a curve per model."""

import itertools
import os
from collections.abc import Mapping, Sequence

import numpy as np

from musicvae_jax.analysis.figures import GREY, INK, OKABE_ITO, Page, tidy
from musicvae_jax.config import UserError


def plot_rate_curve(curves: Mapping[str, Sequence[np.ndarray]], figure: str, path: str | os.PathLike[str]) -> None:
    """Draws a figure over the KL that bought it, a dot for every seed and a line through the means.

    Args:
        curves: label -> for every point of its curve float[seed, 2], the KL in nats per phrase and the figure.
        figure: its name, for the axis.
        path: of the PNG.

    Raises:
        UserError: nothing to draw, or a point without seeds.
    """
    empty = [label for label, points in curves.items() if not points or not all(len(point) for point in points)]
    if empty or not curves:
        names = ", ".join(empty) or "any curve"
        raise UserError(f"no rows to draw of {names}: allowed are variants with finished runs")
    page = Page(6.6, 2.9)
    ax = page.axes(0.65, 0.25, 3.8, 2.1)
    for (label, points), colour in zip(curves.items(), itertools.cycle(OKABE_ITO.values()), strict=False):
        line = np.stack([np.mean(point, 0) for point in points])
        ax.plot(*line[line[:, 0].argsort()].T, "o-", color=colour, linewidth=1.6, markersize=3.5, label=label)
        ax.plot(*np.concatenate(points).T, "o", color=colour, markersize=3.5, alpha=0.6)
    tidy(ax)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("KL, nats per phrase", fontsize=8, color=GREY, labelpad=2)
    ax.set_ylabel(figure, fontsize=9, color=INK)
    # Beside the curves: within the frame no place is free for sure.
    ax.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4, loc="upper left", bbox_to_anchor=(1.01, 1))
    page.save(path)
