"""Attributes of dynamics, for codecs with velocities."""

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, mean, ratio, total
from musicvae_jax.codec.score import TICKS_PER_QUARTER


def dynamics(cells: Cells) -> dict[str, np.ndarray]:
    """float64[cell] each, NaN where undefined.

    mean_velocity: mean over all notes, 1-127.

    velocity_spread: their standard deviation.

    crescendo_slope: least-squares slope of velocity over time, per quarter; NaN if all notes start together.
    """
    cell, num, velocity = cells.cell, cells.num, cells.notes.velocity
    loudness = mean(cell, num, velocity)
    louder = velocity - loudness[cell]
    time = cells.tick / TICKS_PER_QUARTER
    later = time - mean(cell, num, time)[cell]
    several = total(cells.onset_cell, num) > 1  # with one onset later**2 is a rounding error, not 0
    return {
        "mean_velocity": loudness,
        "velocity_spread": np.sqrt(mean(cell, num, louder**2)),
        "crescendo_slope": ratio(total(cell, num, later * louder), np.where(several, total(cell, num, later**2), 0)),
    }
