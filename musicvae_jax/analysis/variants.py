"""A piece above variants of it, on the same axes."""

import os
from collections.abc import Sequence

from musicvae_jax.analysis.figures import INK, Page
from musicvae_jax.analysis.plots import match_notes
from musicvae_jax.analysis.rolls import EXTRA, MATCHED, WIDTH, piano_roll, pitch_range
from musicvae_jax.codec.score import Score

_LEFT = 1.05  # inches


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
    page = Page(WIDTH, 0.95 + (1 + len(variants)) * (height + 0.1))
    shares = []
    for row, score in enumerate((original, *variants)):
        found = match_notes(original, score)[1]
        ax = page.axes(_LEFT, 0.45 + row * (height + 0.1), WIDTH - _LEFT - 0.1, height)
        piano_roll(score, ax, styles=[MATCHED if note else EXTRA for note in found], pitches=pitches)
        label = "original"
        if row:
            shares.append(float(found.mean()) if len(found) else 0.0)
            label = f"variant {row}\n{shares[-1]:.0%} shared"
        ax.set_ylabel(label, fontsize=8.5, color=INK, rotation=0, va="center", ha="right")
        ax.yaxis.set_label_coords(-0.035, 0.5)
        ax.tick_params(labelbottom=row == len(variants))
    page.title(title or original.title, 0.27)
    page.legend({"in the original": MATCHED, "new": EXTRA})
    page.save(path)
    return shares
