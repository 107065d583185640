"""What every codec is: music to tokens and back, and what the rest of the package may ask of tokens."""

from typing import NamedTuple, Protocol

import numpy as np

from musicvae_jax.codec.score import Score
from musicvae_jax.types import Field

SAME_VELOCITY = 2  # of 127: a velocity that moves by no more is kept, by anyone's ears


class Encoded(NamedTuple):
    """A whole piece as tokens."""

    tokens: np.ndarray  # int32[measure, slot, field], 0 where masked
    mask: np.ndarray  # bool[measure, slot]
    metre: np.ndarray  # int32[measure, 2]
    dropped: dict[str, int]  # what the codec lost, counted by reason; see its `encode`


class WindowNotes(NamedTuple):
    """The notes of a batch of windows, an entry each, sorted by (row, measure, onset, pitch, track)."""

    row: np.ndarray  # int64[note], the window
    measure: np.ndarray  # int64[note], the measure of the window in which it starts
    onset: np.ndarray  # int64[note], ticks from the start of that measure
    duration: np.ndarray  # int64[note], ticks
    pitch: np.ndarray  # int64[note], MIDI
    velocity: np.ndarray  # int64[note], 1-127
    track: np.ndarray  # int64[note], voice or track


class Codec(Protocol):
    """Music to tokens and back. A frozen dataclass: equal settings are equal, and may key a cache."""

    @property
    def slots(self) -> int:
        """Slots of a measure's row."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The categorical variables of a slot, in the order in which the decoder predicts them."""

    def encode(self, score: Score) -> Encoded:
        """Canonical tokens of a whole piece, and what was dropped, by reason; raises `MusicError` for no score."""

    def decode(
        self,
        tokens: np.ndarray,
        metre: np.ndarray,
        *,
        tempo: float = 120.0,
        fifths: int | None = None,
        mode: str = "",
        title: str = "",
    ) -> Score:
        """The score that tokens int[measure, slot, field] say; every token array of the vocabulary decodes."""

    def quantise(self, score: Score) -> Score:
        """The nearest score that the codec can hold: what decode(encode(score)) must equal, found without tokens."""

    def transpose(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """Moves every pitch of tokens int[..., field]; raises `MusicError` "range" rather than leave MIDI's."""

    def pitch_range(self, tokens: np.ndarray) -> tuple[int, int] | None:
        """Lowest and highest MIDI pitch of tokens int[..., field], or None without a note."""

    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that measures may have: int[..., measure, 2] to bool[..., measure, slot]; (0, 0) has none.

        A field with an `end` may end a measure earlier.
        """

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        """bool, the shape of tokens [..., slot, field]: True at the one field of a note that says its pitch.

        Works on NumPy and JAX arrays. Masking is the caller's.
        """

    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """What the first slot of each measure of a piece must hold where a window starts with that measure.

        int32[measure, field] of tokens int32[measure, slot, field] and mask bool[measure, slot]: a note that sounds
        across the border starts anew there, where the codec can say so.
        """

    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        """The notes of windows.

        Args:
            tokens: int[row, measure, slot, field].
            mask: bool[row, measure, slot].
            metre: int[row, measure, 2]; padding measures (0, 0) come last.
        """
