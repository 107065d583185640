"""Pictures of latents: grids of moved dims, KL of each dim, maps of a corpus, matrices of attribution."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from musicvae_jax.analysis.attribution import Attribution
from musicvae_jax.analysis.page import GREY, INK, OKABE_ITO, Page, add_legend, style_axes
from musicvae_jax.analysis.paths import Traversal
from musicvae_jax.analysis.piano_rolls import NoteStyle, piano_roll, pitch_range
from musicvae_jax.config.checks import check
from musicvae_jax.config.dims import group_of
from musicvae_jax.evaluation.likeness import NAMES

_LEFT, _WIDTH = 1.7, 10.0  # inches
_MOST_LABELS = 6  # of a map, each with a colour; the others are grey
_MARKS = "os^Dv*"


def plot_traversal(traversal: Traversal, window: int = 0, *, attribute: str = "", title: str = "") -> Figure:
    """A grid of piano rolls: a row a dim, a column a shift.

    Args:
        traversal: of one dim or more.
        window: which of its windows.
        attribute: shown above each roll, such as ``"note_density"``; none if not given.
        title: heading.
    """
    rows, columns = len(traversal.names), len(traversal.shifts)
    check(0 <= window < len(traversal.scores[0][0]), "window", window, f"0 to {len(traversal.scores[0][0]) - 1}")
    check(not attribute or attribute in NAMES, "attribute", attribute, f"one of {', '.join(NAMES)}")
    pitches = pitch_range(*(step[window] for dim in traversal.scores for step in dim))
    width, height, top = (_WIDTH - _LEFT - 0.1) / columns, 0.95, 0.75 if title else 0.45
    page = Page(_WIDTH, top + rows * (height + 0.25) + 0.1)
    for row, column in np.ndindex(rows, columns):
        ax = page.place_axes(_LEFT + column * width, top + row * (height + 0.25), width - 0.07, height)
        colour = to_hex(colormaps["plasma"](0.75 * column / max(columns - 1, 1)))
        score = traversal.scores[row][column][window]
        piano_roll(score, ax, styles=[NoteStyle(colour, colour)] * len(score.notes), pitches=pitches)
        ax.tick_params(labelbottom=False, labelleft=column == 0)
        text = f"{traversal.shifts[column]:+.1f}" if row == 0 else ""
        if attribute:
            value = traversal.attributes[row, column, window, NAMES.index(attribute)]
            text += f"{': ' if text else ''}{value:.2f}"
        ax.set_title(text, fontsize=8.5, color=INK, pad=3)
        if column == 0:
            ax.set_ylabel(traversal.names[row], fontsize=8.5, color=INK, rotation=0, ha="right", va="center")
            ax.yaxis.set_label_coords(-0.3 / (width - 0.07), 0.5)
    if title:
        page.add_heading(title, 0.26)
    if attribute:
        where = page.width - 0.1
        text = f"above: {attribute.replace('_', ' ')}"
        page.text(where / page.width, 1 - 0.26 / page.height, text, fontsize=8.5, color=GREY, ha="right")
    return page


def plot_kl_per_dim(levels: Mapping[str, Mapping[str, float]], *, title: str = "") -> Figure:
    """The KL of each dim as bars, a panel a level; the colour is that of the dim's group.

    Args:
        levels: level -> dim, such as ``"fine/rhythm[0]"`` -> nats per window, see `curves.kl_per_dim`.
        title: heading.
    """
    check(any(levels.values()), "levels", dict(levels), "one level with dims or more")
    groups = list(dict.fromkeys(group_of(dim) for dims in levels.values() for dim in dims))
    colours = dict(zip(groups, itertools.cycle(OKABE_ITO.values()), strict=False))
    top, height = 0.75 if title else 0.4, 1.2
    page = Page(_WIDTH, top + len(levels) * (height + 0.45) + 0.1)
    for row, (level, dims) in enumerate(levels.items()):
        ax = page.place_axes(0.7, top + row * (height + 0.45), _WIDTH - 1.9, height)
        for group in groups:
            own = [place for place, dim in enumerate(dims) if group_of(dim) == group]
            ax.bar(own, np.array(list(dims.values()))[own], width=0.8, color=colours[group], label=group)
        style_axes(ax, "")
        ax.set_xlim(-0.6, len(dims) - 0.4)
        ax.set_xticks([])
        ax.set_title(f"{level}: {sum(dims.values()):.1f} nats per window", fontsize=9.5, color=INK, loc="left")
        ax.set_ylabel("KL, nats", fontsize=8, color=GREY)
        if row == 0:
            add_legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.05))
    if title:
        page.add_heading(title, 0.26)
    return page


def plot_map(points: np.ndarray, labels: Sequence[str], *, title: str = "", axes: tuple[str, str] = ("", "")) -> Figure:
    """Pieces as points; the six most frequent labels have a colour and a mark, the others are grey.

    Args:
        points: float[piece, 2].
        labels: one a piece, "" if unknown.
        title: heading.
        axes: names of the axes.
    """
    check(np.shape(points) == (len(labels), 2), "points", np.shape(points), f"({len(labels)}, 2): a point a label")
    page, names = Page(7.0, 5.6), np.asarray(labels)
    ax = page.place_axes(0.6, 0.5, 4.9, 4.6)
    kinds, counts = np.unique(names[names != ""], return_counts=True)
    shown = kinds[np.argsort(-counts, kind="stable")][:_MOST_LABELS].tolist()
    other = ~np.isin(names, shown)
    style_axes(ax, axes[0])
    ax.set_ylabel(axes[1], fontsize=8, color=GREY, labelpad=2)
    if other.any():
        ax.scatter(
            points[other, 0],
            points[other, 1],
            s=9,
            color="#C8C8C8",
            linewidths=0,
            label=f"other or unknown ({other.sum()})",
        )
    for label, mark, colour in zip(shown, _MARKS, OKABE_ITO.values(), strict=False):
        here = names == label
        ax.scatter(
            points[here, 0],
            points[here, 1],
            s=14,
            marker=mark,
            color=colour,
            linewidths=0,
            alpha=0.8,
            label=f"{label} ({here.sum()})",
        )
    if len(names):
        add_legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    page.add_heading(title, 0.28)
    return page


def plot_attribution(attribution: Attribution, *, title: str = "") -> Figure:
    """What each group of latents does to each target, by occlusion and by gradients, side by side."""
    rows, columns = attribution.occlusion.shape
    width, height = min(max(0.3 * columns, 1.2), 6.0), min(max(0.17 * rows, 0.8), 12.0)
    page = Page(1.7 + 2 * (width + 0.4), 0.85 + height + 0.9)
    limit = max(float(np.abs(attribution.occlusion).max()), float(np.abs(attribution.gradients).max()), 1e-9)
    for number, (name, values) in enumerate(
        (("occlusion", attribution.occlusion), ("gradients", attribution.gradients))
    ):
        ax = page.place_axes(1.6 + number * (width + 0.4), 0.8, width, height)
        ax.imshow(values, cmap=colormaps["RdBu"], vmin=-limit, vmax=limit, aspect="auto")
        ax.set_title(name, fontsize=9.5, color=INK, loc="left", pad=5)
        ax.set_xticks(
            range(columns), attribution.targets, rotation=50, ha="right", rotation_mode="anchor", fontsize=7.5
        )
        ax.set_yticks(range(rows), attribution.sources if number == 0 else [""] * rows, fontsize=7)
        ax.tick_params(length=0, colors=INK)
        ax.spines[:].set_visible(False)
    page.add_heading(
        title or f"blue: the latent raises it, up to {limit:.2g}; rank correlation {attribution.correlation:.2f}", 0.28
    )
    return page
