"""`Score`: notes in measures. All music has this form between a file and a codec's tokens."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from musicvae_jax.codec.errors import MAX_SOURCE, MusicError, readable
from musicvae_jax.config import UserError

TICKS_PER_QUARTER = 480  # 2^5 * 3 * 5: every usual note value is a whole number of ticks
ONSET, DURATION, PITCH, VELOCITY, TRACK = range(5)  # columns of Score.notes
DEFAULT_VELOCITY = 80  # of notes whose source gives no loudness
TEMPOS = (4.0, 60_000.0)  # allowed quarters per minute: those that fit the three bytes of a MIDI tempo
MAX_MEASURES = 20_000  # ten hours of 4/4: a larger number comes from a damaged file
MAX_TICK = 2**31 - 1
MAX_TEXT = 200  # characters of a title
_DENOMINATORS = (1, 2, 4, 8, 16, 32, 64)


class Metre(NamedTuple):
    """A time signature."""

    numerator: int
    denominator: int

    @classmethod
    def parse(cls, text: str) -> "Metre":
        """Reads a text such as ``"6/8"``; raises `MusicError` "metre" for any other text."""
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
    """The instrument or voice of a track."""

    name: str = ""
    program: int = 0  # General MIDI, 0-127; 0 is a piano
    is_drum: bool = False


@dataclasses.dataclass(frozen=True)
class Score:
    """Notes in measures.

    Attributes:
        notes: int32[note, 5]: onset and duration in ticks, MIDI pitch, velocity, track; sorted by
            (onset, pitch, track).
        measures: int32[measure, 3]: start tick, numerator, denominator. The first starts at tick 0, each next one where
            the last ends. A measure is as long as its metre says: an upbeat is a full measure with leading rests.
        fifths: key signature, -7 (flats) to 7 (sharps), or None if unknown.
        mode: ``"major"``, ``"minor"``, ``"dorian"``, ... or ``""``.
        tempo: quarters per minute.
        title: for display. This and the other texts can be printed and stored: what is no text, such as a file name in
            another encoding, becomes question marks. All but the source are cut to 200 characters.
        source: the file it came from, for messages.
        composer: name, or ``""``.
        style: label given by the source, such as ``"reel"``, or ``""``.
        parts: one per track; a track without one is a piano.
        chords: int32[chord, 4]: onset and duration in ticks, root 0-11 (0 is C; -1 if unknown), pitch classes as a bit
            set (bit 0 is C); sorted by onset; empty where the source has no chord symbols.
        phrase_ends: int32[phrase], ascending ticks; empty where the source marks no phrases.
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

    def __post_init__(self) -> None:
        for name in ("title", "source", "composer", "style"):
            most = MAX_SOURCE if name == "source" else MAX_TEXT
            object.__setattr__(self, name, readable(getattr(self, name), most))

    @property
    def num_measures(self) -> int:
        return len(self.measures)

    @property
    def end(self) -> int:
        """The tick at which the last measure ends."""
        return int(self.measures[-1, 0]) + self.metre(-1).ticks if len(self.measures) else 0

    def metre(self, measure: int) -> Metre:
        return Metre(int(self.measures[measure, 1]), int(self.measures[measure, 2]))

    def measure_at(self, tick: int) -> str:
        """``"measure n"``, counted from 1, for messages."""
        return f"measure {max(int(np.searchsorted(self.measures[:, 0], tick, side='right')), 1)}"


def sort_notes(notes: np.ndarray) -> np.ndarray:
    """Notes in the order and type of `Score.notes`."""
    return notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)].astype(np.int32, copy=False)


def join(scores: Sequence[Score]) -> Score:
    """One score after the other; everything but notes, measures, chords and phrase ends comes from the first."""
    starts = np.cumsum([0, *(score.end for score in scores)])[:-1].tolist()

    def shifted(name: str) -> np.ndarray:
        arrays = [getattr(score, name).copy() for score in scores]
        for array, start in zip(arrays, starts, strict=True):
            ticks = array if array.ndim == 1 else array[:, 0]
            ticks += start
        return np.concatenate(arrays)

    changes: dict[str, Any] = {name: shifted(name) for name in ("notes", "measures", "chords", "phrase_ends")}
    return dataclasses.replace(scores[0], **changes)


def check_metre(metre: Metre, *, source: str, place: str) -> Metre:
    """Returns `metre`; raises `MusicError` "metre" unless its measure is a positive, whole number of ticks."""
    numerator, denominator = metre
    if numerator < 1 or denominator not in _DENOMINATORS or numerator * 4 * TICKS_PER_QUARTER % denominator:
        allowed = "a numerator of at least 1 over " + ", ".join(map(str, _DENOMINATORS))
        raise MusicError(source, place, "metre", f"{numerator}/{denominator}; allowed: {allowed}, in whole ticks")
    return metre


def check_is_score(score: Any) -> None:
    """Raises `UserError` for anything but a `Score`, such as the path of a file."""
    if not isinstance(score, Score):
        allowed = "a Score; read_score gives the scores of a file, in a list"
        shown = " ".join(repr(score).split())[:100]
        raise UserError(f"score = {shown} is a {type(score).__name__}: allowed is {allowed}")


def check_score(score: Score) -> None:
    """Raises `MusicError` "invalid" or "metre" unless notes and measures are as `Score` describes them."""
    check_is_score(score)
    notes, measures = np.asarray(score.notes), np.asarray(score.measures)
    if notes.ndim != 2 or notes.shape[1:] != (5,):
        raise MusicError(score.source, "notes", "invalid", f"shape {notes.shape}; allowed: [note, 5]")
    if measures.ndim != 2 or measures.shape[1:] != (3,) or not len(measures):
        detail = f"shape {measures.shape}; allowed: [measure, 3], at least one measure"
        raise MusicError(score.source, "measures", "invalid", detail)
    lengths = np.array([_length(score, row, index) for index, row in enumerate(measures.tolist())])
    starts = np.cumsum(lengths) - lengths
    wrong = measures[:, 0] != starts
    if wrong.any():
        place = f"measure {int(wrong.argmax()) + 1}"
        raise MusicError(score.source, place, "invalid", "does not start where the last one ends")
    if not len(notes):
        return
    onset, duration, pitch, velocity, track = notes.astype(np.int64).T
    order = (onset << 28) + (pitch << 20) + track  # sort key; its bits do not overlap where the other checks hold
    end = int(starts[-1] + lengths[-1])
    for bad, detail in (
        (duration < 1, "a note shorter than one tick"),
        ((onset < 0) | (onset + duration > end), f"a note outside the measures, which span ticks 0 to {end}"),
        ((pitch < 0) | (pitch > 127), "a pitch outside 0-127"),
        ((velocity < 1) | (velocity > 127), "a velocity outside 1-127"),
        ((track < 0) | (track >= 1 << 20), "a track outside 0-1048575"),
        (order < np.append(order[:1], order[:-1]), "notes are not sorted by (onset, pitch, track)"),
    ):
        if bad.any():
            first = int(bad.argmax())
            raise MusicError(score.source, score.measure_at(int(onset[first])), "invalid", f"{detail} (note {first})")


def _length(score: Score, row: list[int], index: int) -> int:
    try:
        return _measure_ticks(row[1], row[2])
    except MusicError as error:
        raise MusicError(score.source, f"measure {index + 1}", error.reason, error.detail) from None


@functools.cache
def _measure_ticks(numerator: int, denominator: int) -> int:
    return check_metre(Metre(numerator, denominator), source="", place="").ticks
