"""A piece above variants of it, on the same axes."""

import os
from collections.abc import Sequence

from matplotlib.patches import Patch

from musicvae_jax.analysis.figures import INK, Page
from musicvae_jax.analysis.plots import EXTRA, MATCHED, match_notes, piano_roll, pitch_range
from musicvae_jax.codec.score import Score

_WIDTH, _LEFT = 10.0, 1.05  # inches


def plot_variants(
    original: Score, variants: Sequence[Score], path: str | os.PathLike[str], *, title: str = ""
) -> list[float]:
    """Draws a piece and variants of it below each other; notes that the piece has, too, have its colour.

    Args:
        original: the piece.
        variants: at least one.
        path: of the PNG.
        title: shown above; by default the original's own.

    Returns:
        For each variant the share of its notes that the original has; see `match_notes`.

    Raises:
        ValueError: if there are no variants.
    """
    if not variants:
        raise ValueError("variants is empty; there must be at least one to draw")
    pitches = pitch_range(original, *variants)
    height = min(max(0.05 * (pitches[1] - pitches[0] + 2), 0.9), 1.6)
    page = Page(_WIDTH, 0.95 + (1 + len(variants)) * (height + 0.1))
    shares = []
    for row, score in enumerate((original, *variants)):
        found = match_notes(original, score)[1]
        ax = page.axes(_LEFT, 0.45 + row * (height + 0.1), _WIDTH - _LEFT - 0.1, height)
        piano_roll(score, ax, styles=[MATCHED if note else EXTRA for note in found], pitches=pitches)
        label = "original"
        if row:
            shares.append(float(found.mean()) if len(found) else 0.0)
            label = f"variant {row}\n{shares[-1]:.0%} shared"
        ax.set_ylabel(label, fontsize=8.5, color=INK, rotation=0, va="center", ha="right")
        ax.yaxis.set_label_coords(-0.035, 0.5)
        ax.tick_params(labelbottom=row == len(variants))
    page.title(title or original.title, 0.27)
    page.figure.legend(
        handles=[
            Patch(facecolor=MATCHED.face, edgecolor=MATCHED.edge, label="in the original"),
            Patch(facecolor=EXTRA.face, edgecolor=EXTRA.edge, label="new"),
        ],
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / _WIDTH, 1 - 0.08 / page.height),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0,
    )
    page.save(path)
    return shares
