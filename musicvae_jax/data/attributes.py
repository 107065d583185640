"""The attributes of windows, and what of them notes do not say: chord changes and the style of the piece."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from musicvae_jax.codec.attributes import attributes, chord_changes
from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.score import Score
from musicvae_jax.types import Batch


class PieceLabels:
    """What attributes need to know of each piece beside its tokens.

    Attributes:
        styles: the labels; a style's number is its place here.
    """

    def __init__(self, scores: Iterable[Score | None], styles: Sequence[str] = ()):
        """Reads every piece once.

        Args:
            scores: in the order of their numbers; None for a piece that nobody will ask for.
            styles: the labels of the whole data set, so that all of its splits number them alike. A piece with
                another label, or none, has no style: NaN.
        """
        self.styles = tuple(styles)
        number_of = {style: number for number, style in enumerate(self.styles)}
        changes, style = [np.zeros(0)], []
        for score in scores:
            changes.append(chord_changes(score.chords, score.measures) if score else np.zeros(0))
            style.append(number_of.get(score.style, np.nan) if score else np.nan)
        self._style = np.array(style, np.float32)
        self._first = np.cumsum([len(part) for part in changes])  # of each piece, and the end
        self._changes = np.concatenate(changes).astype(np.float32)

    def style(self, pieces: np.ndarray) -> np.ndarray:
        """The number of each piece's style, float32[piece], NaN if unknown."""
        return self._style[pieces]

    def changes(self, pieces: np.ndarray, starts: np.ndarray, measures: int) -> np.ndarray:
        """Chord changes in windows: float32[window, measure] of their pieces and first measures, NaN beyond the end."""
        place = (self._first[pieces] + starts)[:, None] + np.arange(measures)
        inside = place < self._first[pieces + 1][:, None]
        return np.where(inside, self._changes[np.where(inside, place, 0)] if len(self._changes) else np.nan, np.nan)


def window_attributes(batch: Batch, codec: Codec, **labels: Any) -> dict[str, np.ndarray]:
    """`codec.attributes.attributes` of a batch's tokens as they stand.

    Args:
        batch: the windows; rows of padding have metre (0, 0), and get NaN throughout.
        codec: of their tokens. Dynamics are NaN where it has no velocities.
        labels: ``changes`` and ``style``.
    """
    notes = codec.notes(batch.tokens, batch.mask, batch.metre)
    return attributes(notes, batch.metre, velocities=codec.has_velocities, **labels)
