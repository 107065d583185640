"""`Score`: music on the page, between a file and a codec's tokens."""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.errors import MusicError

TICKS_PER_QUARTER = 480  # divisible by 2^5, 3 and 5: every usual note value is a whole number of ticks
ONSET, DURATION, PITCH, VELOCITY, TRACK = range(5)  # columns of Score.notes
DEFAULT_VELOCITY = 80  # of notes whose source says nothing about loudness
TEMPOS = (4.0, 60_000.0)  # quarters per minute whose microseconds fit MIDI's three bytes; what lies outside is no tempo


class Metre(NamedTuple):
    """A time signature."""

    numerator: int
    denominator: int

    @classmethod
    def parse(cls, text: str) -> "Metre":
        """``"6/8"`` to a metre.

        Raises:
            MusicError: the text is no metre.
        """
        if not re.fullmatch(r"[1-9]\d?/(1|2|4|8|16|32|64)", text):
            allowed = "two numbers such as 4/4 or 6/8, the second a power of two up to 64"
            raise MusicError("metre", repr(text), "metre", f"allowed is {allowed}")
        numerator, denominator = text.split("/")
        return cls(int(numerator), int(denominator))

    @property
    def ticks(self) -> int:
        """Length of one measure."""
        return self.numerator * 4 * TICKS_PER_QUARTER // self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


class Part(NamedTuple):
    """What plays or sings a track."""

    name: str = ""
    program: int = 0  # General MIDI, 0-127; 0 is a piano
    is_drum: bool = False


@dataclasses.dataclass(frozen=True)
class Score:
    """Notes in measures.

    Attributes:
        notes: int32[note, 5]: onset and duration in ticks, MIDI pitch, velocity, track; sorted by
            (onset, pitch, track).
        measures: int32[measure, 3]: start tick, numerator, denominator. Measures are contiguous and start at tick 0;
            each is as long as its metre says (an upbeat is a full measure with leading rests).
        fifths: key signature, -7 (flats) to 7 (sharps), or None if unknown.
        mode: ``"major"``, ``"minor"``, ``"dorian"``, ... or ``""``.
        tempo: quarters per minute.
        title: for display.
        source: where it came from, for messages.
        composer: whose it is, or ``""``.
        style: the source's own label of its kind, e.g. ``"reel"``, or ``""``.
        parts: what plays each track; a track beyond is a piano's.
        chords: int32[chord, 4]: onset and duration in ticks, root 0-11 (C is 0; -1 if unknown), and the pitch
            classes that sound as a bit set (bit 0 is C); sorted by onset; empty where the source names none.
        phrase_ends: int32[phrase], the ticks at which phrases end, ascending; empty where the source marks none.
    """

    notes: np.ndarray
    measures: np.ndarray
    fifths: int | None = None
    mode: str = ""
    tempo: float = 120.0
    title: str = ""
    source: str = "score"
    composer: str = ""
    style: str = ""
    parts: tuple[Part, ...] = ()
    chords: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.int32))
    phrase_ends: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def num_measures(self) -> int:
        return len(self.measures)

    @property
    def end(self) -> int:
        """The tick at which the last measure ends."""
        if not len(self.measures):
            return 0
        start, numerator, denominator = (int(value) for value in self.measures[-1])
        return start + Metre(numerator, denominator).ticks

    def metre(self, measure: int) -> Metre:
        return Metre(int(self.measures[measure, 1]), int(self.measures[measure, 2]))


def join(scores: Sequence[Score]) -> Score:
    """Scores one after the other, as one; what is not notes, measures, chords or phrases is the first one's."""
    starts = np.cumsum([0, *(score.end for score in scores)])[:-1].tolist()

    def shifted(name: str) -> np.ndarray:
        parts = [getattr(score, name).copy() for score in scores]
        for part, start in zip(parts, starts, strict=True):
            ticks = part if part.ndim == 1 else part[:, 0]
            ticks += start
        return np.concatenate(parts)

    return dataclasses.replace(
        scores[0],
        notes=shifted("notes"),
        measures=shifted("measures"),
        chords=shifted("chords"),
        phrase_ends=shifted("phrase_ends"),
    )
