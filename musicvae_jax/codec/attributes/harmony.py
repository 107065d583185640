"""Attributes of harmony: pitch classes, scales, the spiral array, and changes of chord symbols."""

import functools

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, entropy, mean, ratio, total
from musicvae_jax.codec.score import TICKS_PER_QUARTER

_MAJOR = (0, 2, 4, 5, 7, 9, 11)
_SCALES = np.array([[(degree - tonic) % 12 in _MAJOR for tonic in range(12)] for degree in range(12)], np.float64)
_RISE = np.sqrt(2 / 15)  # of a fifth in the spiral array, in radii: fifths and major thirds are equally distant
_ONSET, _ROOT, _CLASSES = 0, 2, 3  # columns of Score.chords


def harmony(cells: Cells) -> dict[str, np.ndarray]:
    """float64[cell] each, NaN where undefined.

    pitch_class_entropy: entropy in nats of the pitch classes of the notes, from 0 to log 12.

    scale_consistency: largest share of the notes in one of the 12 major (= natural minor) scales (Mogren 2016), from
    7/12 to 1.

    tonal_tension: see `_tension`.
    """
    classes = cells.notes.pitch % 12
    counts = np.bincount(cells.cell * 12 + classes, minlength=cells.num * 12).reshape(cells.num, 12)
    return {
        "pitch_class_entropy": entropy(np.repeat(np.arange(cells.num), 12), cells.num, counts.reshape(-1)),
        "scale_consistency": ratio((counts @ _SCALES).max(1), total(cells.cell, cells.num)),
        "tonal_tension": _tension(cells),
    }


def chord_changes(chords: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """The number of chords that start in each measure of a piece and differ from the chord before.

    The first chord of the piece does not count, nor does a repeated symbol, even after silence. A change on a downbeat
    counts in the measure that it starts.

    Args:
        chords: `Score.chords`.
        measures: `Score.measures`.

    Returns:
        float64[measure]; all NaN if the score has no chords.
    """
    if not len(chords):
        return np.full(len(measures), np.nan)
    changed = (np.diff(chords[:, [_ROOT, _CLASSES]], axis=0) != 0).any(1)
    measure = np.searchsorted(measures[:, 0], chords[1:, _ONSET][changed], side="right") - 1
    return total(measure[measure >= 0], len(measures))


def chord_change_rate(cells: Cells, changes: np.ndarray) -> np.ndarray:
    """Chord changes per quarter, float64[cell]; NaN if a measure of the cell is NaN.

    Args:
        cells: of any span.
        changes: float[row, measure], rows of `chord_changes`; padding measures are ignored.
    """
    real = cells.measure_ticks > 0
    return ratio(total(cells.measure_cell[real], cells.num, changes.reshape(-1)[real]), cells.quarters)


def _tension(cells: Cells) -> np.ndarray:
    """Mean cloud diameter in the spiral array (Herremans & Chew 2016), over the time in which notes sound.

    A cloud is what sounds in one quarter, counted from the start of each measure (the last may be shorter), with notes
    that began before the cell. Its diameter is the largest distance between two of its pitch classes; a pitch k fifths
    above C lies at (sin k pi/2, cos k pi/2, k sqrt(2/15)). Examples: 0 for one note or octaves, 1.46 for fifths and
    major thirds, 1.79 for minor thirds and major or minor triads, 3.58 for a diminished seventh. Pitches have no names
    here: of the 12 spellings inside 12 successive fifths the one with the smallest diameter counts, so that
    transposition changes nothing. The paper's other two measures need consistent spelling or a key.

    Returns:
        float64[cell], in radii of the spiral; NaN in silence.
    """
    slices_before, start = _slices(cells.measure_ticks)
    num_slices = int(slices_before[-1])
    notes = cells.notes
    began = start[cells.measure] + notes.onset
    last_tick = np.minimum(began + np.maximum(notes.duration, 1), _row_end(cells, start)) - 1
    last_measure = np.searchsorted(start, last_tick, side="right") - 1
    first_slice = slices_before[cells.measure] + notes.onset // TICKS_PER_QUARTER
    last_slice = slices_before[last_measure] + (last_tick - start[last_measure]) // TICKS_PER_QUARTER
    count = last_slice - first_slice + 1
    note = np.repeat(np.arange(len(count)), count)
    sounding = np.zeros((num_slices, 12), bool)
    step = np.arange(len(note)) - np.repeat(np.cumsum(count) - count, count)
    sounding[first_slice[note] + step, notes.pitch[note] % 12] = True

    measure = np.repeat(np.arange(len(cells.metre)), np.diff(slices_before))
    inside = np.arange(num_slices) - slices_before[measure]
    length = np.minimum(cells.measure_ticks[measure] - inside * TICKS_PER_QUARTER, TICKS_PER_QUARTER)
    diameter = cloud_diameters()[sounding @ (1 << np.arange(12))]
    heard = sounding.any(1)
    return mean(cells.measure_cell[measure][heard], cells.num, diameter[heard], length[heard])


@functools.cache
def cloud_diameters() -> np.ndarray:
    """The cloud diameter of each set of pitch classes, float64[4096]; bit 0 of the index is C."""
    sets = (np.arange(4096)[:, None] >> np.arange(12)) & 1 == 1
    fifths = sets[:, np.arange(12) * 7 % 12]
    steps = np.arange(12)
    distance = np.sqrt(2 - 2 * np.cos(steps * np.pi / 2) + (steps * _RISE) ** 2)
    smallest = np.full(4096, np.inf)
    for cut in range(12):
        line = np.roll(fifths, -cut, axis=1)
        diameter = np.zeros(4096)
        for step in range(1, 12):
            apart = (line[:, step:] & line[:, :-step]).any(1)
            diameter = np.where(apart, np.maximum(diameter, distance[step]), diameter)
        smallest = np.minimum(smallest, diameter)
    return smallest


def _slices(ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quarters before each measure, int64[measure + 1], and its start tick, int64[measure]; rows are in series."""
    before = np.append(0, np.cumsum(-(-ticks // TICKS_PER_QUARTER)))
    return before, np.cumsum(ticks) - ticks


def _row_end(cells: Cells, start: np.ndarray) -> np.ndarray:
    """Where the row of each note ends, int64[note]; rows are in series."""
    ends = start + cells.measure_ticks
    num_rows = int(cells.notes.row.max(initial=-1)) + 1
    per_row = cells.num_measures
    return ends[per_row - 1 :: per_row][:num_rows][cells.notes.row]
