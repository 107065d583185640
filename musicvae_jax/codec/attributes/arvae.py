"""The four attributes of AR-VAE (Pati & Lerch 2021), on its grid of 24 positions per measure.

As published: for measures in 4/4, 0 in a silent measure, and pitches divided by 26, the range of their corpus in
semitones.
"""

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells
from musicvae_jax.codec.score import TICKS_PER_QUARTER

# Positions inside a quarter in ticks, and the weights of onsets there in rhythmic complexity; only beats differ.
_OFFSETS = np.array([0, 120, 160, 240, 320, 360])
_WEIGHTS = np.array([[beat, 1, 2, 0.5, 2, 1] for beat in (0.2, 0.67, 0.25, 0.67)]).reshape(-1)
_GRID = (np.arange(4)[:, None] * TICKS_PER_QUARTER + _OFFSETS).reshape(-1)
_RANGE = 26


def arvae(measures: Cells, pitch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float64[measure] each, NaN in other metres than 4/4.

    An onset moves to the nearest of the 24 positions, the earlier of two; onsets at one position count once.

    arvae_rhythmic_complexity: sum of the weights of positions with an onset / sum of all weights.

    arvae_note_density: positions with an onset / 24.

    arvae_pitch_range: (highest - lowest pitch) / 26.

    arvae_contour: (last - first pitch) / 26, mean over the tracks.

    Args:
        measures: cells of one measure.
        pitch: their attributes of `pitch`.
    """
    position = np.searchsorted((_GRID[1:] + _GRID[:-1]) / 2, measures.notes.onset)
    onsets = np.zeros((measures.num, len(_GRID)))
    onsets[measures.cell, position] = 1
    common = (measures.metre == 4).all(1)
    found = {
        "arvae_rhythmic_complexity": onsets @ _WEIGHTS / _WEIGHTS.sum(),
        "arvae_note_density": onsets.sum(1) / len(_GRID),
        "arvae_pitch_range": np.nan_to_num(pitch["pitch_range"]) / _RANGE,
        "arvae_contour": np.nan_to_num(pitch["contour"]) / _RANGE,
    }
    return {name: np.where(common, values, np.nan) for name, values in found.items()}
