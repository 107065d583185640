"""What a valid `Score` is, checked in one place."""

import functools

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import TICKS_PER_QUARTER, Metre, Score

MAX_DENOMINATOR = 64
MAX_MEASURES = 20_000  # ten hours of 4/4: more is a corrupt number, not music


def check_metre(metre: Metre, *, source: str, place: str) -> Metre:
    """Returns `metre` if a measure of it is a whole, positive number of ticks, else raises `MusicError` "metre"."""
    numerator, denominator = metre
    powers = [2**power for power in range(MAX_DENOMINATOR.bit_length())]
    if numerator < 1 or denominator not in powers or numerator * 4 * TICKS_PER_QUARTER % denominator:
        allowed = "a numerator of at least 1 over " + ", ".join(map(str, powers))
        raise MusicError(source, place, "metre", f"{numerator}/{denominator}; allowed: {allowed}, in whole ticks")
    return metre


def check_score(score: Score) -> None:
    """Raises `MusicError` "invalid" or "metre", naming the measure, unless every promise of `Score` holds."""
    notes, measures = np.asarray(score.notes), np.asarray(score.measures)
    _require(score, notes.ndim == 2 and notes.shape[1:] == (5,), "notes", f"shape {notes.shape}; allowed: [note, 5]")
    shape_holds = measures.ndim == 2 and measures.shape[1:] == (3,) and len(measures) > 0
    _require(score, shape_holds, "measures", f"shape {measures.shape}; allowed: [measure, 3], at least one measure")
    lengths = np.array([_ticks(score, row, index) for index, row in enumerate(measures.tolist())])
    starts = np.cumsum(lengths) - lengths
    wrong = measures[:, 0] != starts
    _require(score, not wrong.any(), f"measure {int(wrong.argmax()) + 1}", "does not start at the end of the last one")
    if not len(notes):
        return
    onset, duration, pitch, velocity, track = notes.astype(np.int64).T
    order = (onset << 28) + (pitch << 20) + track  # one number to sort by, right where the checks before hold
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
            raise MusicError(score.source, place_of(score, int(onset[first])), "invalid", f"{detail} (note {first})")


def place_of(score: Score, tick: int) -> str:
    """The measure, counted from 1, that a tick falls into, for messages."""
    return f"measure {max(int(np.searchsorted(score.measures[:, 0], tick, side='right')), 1)}"


def polyphonic(score: Score, tick: int) -> MusicError:
    """The error for notes that sound together at a tick of a piece that has to be a melody."""
    detail = "notes sound together; pick one track, or the skyline, of a polyphonic piece"
    return MusicError(score.source, place_of(score, tick), "polyphonic", detail)


def _ticks(score: Score, row: list[int], index: int) -> int:
    try:
        return _measure_ticks(row[1], row[2])
    except MusicError as error:
        raise MusicError(score.source, f"measure {index + 1}", error.reason, error.detail) from None


@functools.cache
def _measure_ticks(numerator: int, denominator: int) -> int:
    return check_metre(Metre(numerator, denominator), source="", place="").ticks


def _require(score: Score, holds: bool, place: str, detail: str) -> None:
    if not holds:
        raise MusicError(score.source, place, "invalid", detail)
