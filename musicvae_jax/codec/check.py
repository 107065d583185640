"""What a valid `Score` is, checked in one place."""

import numpy as np

from .errors import MusicError
from .score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, VELOCITY, Metre, Score

MAX_DENOMINATOR = 64


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
    _require(
        score, measures.ndim == 2 and measures.shape[1:] == (3,), "measures", f"shape {measures.shape}; allowed: [m, 3]"
    )
    _require(score, len(measures) > 0, "measures", "none; a score has at least one")
    lengths = np.empty(len(measures), np.int64)
    metres, inverse = np.unique(measures[:, 1:], axis=0, return_inverse=True)
    for kind, (numerator, denominator) in enumerate(metres.tolist()):
        rows = inverse.reshape(-1) == kind
        place = f"measure {int(rows.argmax()) + 1}"
        lengths[rows] = check_metre(Metre(numerator, denominator), source=score.source, place=place).ticks
    starts = np.concatenate([[0], np.cumsum(lengths)])
    wrong = measures[:, 0] != starts[:-1]
    _require(score, not wrong.any(), f"measure {int(wrong.argmax()) + 1}", "does not start at the end of the last")
    if not len(notes):
        return
    onset, end = notes[:, ONSET].astype(np.int64), notes[:, ONSET].astype(np.int64) + notes[:, DURATION]
    order = np.lexsort(notes[:, [4, PITCH, ONSET]].T)
    for bad, detail in (
        (order != np.arange(len(order)), "notes are not sorted by (onset, pitch, track)"),
        (notes[:, DURATION] < 1, "a note shorter than one tick"),
        ((onset < 0) | (end > starts[-1]), f"a note outside the measures, which span ticks 0 to {starts[-1]}"),
        ((notes[:, PITCH] < 0) | (notes[:, PITCH] > 127), "a pitch outside 0-127"),
        ((notes[:, VELOCITY] < 1) | (notes[:, VELOCITY] > 127), "a velocity outside 1-127"),
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


def _require(score: Score, holds: bool, place: str, detail: str) -> None:
    if not holds:
        raise MusicError(score.source, place, "invalid", detail)
