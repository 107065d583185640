"""How often chords change, where a score names its chords."""

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, ratio, total

_ONSET, _ROOT, _CLASSES = 0, 2, 3  # columns of Score.chords


def chord_changes(chords: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """How many chords begin in each measure of a piece that differ from the chord before them.

    The first chord of the piece is no change, nor is a chord that is named again, a bar of silence between or not. A
    change on a downbeat counts in the measure that it opens, also where a window starts there.

    Args:
        chords: `Score.chords`, int[chord, 4].
        measures: `Score.measures`, int[measure, 3].

    Returns:
        float64[measure]; all NaN where the score names no chords.
    """
    if not len(chords):
        return np.full(len(measures), np.nan)
    changed = (np.diff(chords[:, [_ROOT, _CLASSES]], axis=0) != 0).any(1)
    measure = np.searchsorted(measures[:, 0], chords[1:, _ONSET][changed], side="right") - 1
    return total(measure[measure >= 0], len(measures))


def chord_change_rate(cells: Cells, changes: np.ndarray) -> np.ndarray:
    """Chord changes per quarter, float64[cell]; NaN where a measure of the cell has NaN.

    Args:
        cells: of any span.
        changes: float[row, measure], rows of `chord_changes`; what stands in padding measures does not matter.
    """
    real = cells.measure_ticks > 0
    return ratio(total(cells.measure_cell[real], cells.num, changes.reshape(-1)[real]), cells.quarters)
