"""Random melodies for tests."""

import numpy as np
from hypothesis import strategies as st

from musicvae_jax.codec.score import TICKS_PER_QUARTER, Metre, Score

SIXTEENTH = TICKS_PER_QUARTER // 4
METRES = (Metre(4, 4), Metre(3, 4), Metre(6, 8), Metre(2, 4), Metre(9, 8))


@st.composite
def melodies(draw: st.DrawFn, min_measures: int = 1, max_measures: int = 12, low: int = 40, high: int = 90) -> Score:
    """Melodies on the grid of sixteenths, with rests, notes across bar lines and changes of metre."""
    num_measures = draw(st.integers(min_measures, max_measures))
    metres = draw(st.lists(st.sampled_from(METRES), min_size=num_measures, max_size=num_measures))
    starts = np.concatenate([[0], np.cumsum([metre.ticks for metre in metres])])
    measures = np.column_stack([starts[:-1], np.array(metres)]).astype(np.int32)
    notes, tick = [], SIXTEENTH * draw(st.integers(0, 20))
    while tick < starts[-1]:
        length = min(SIXTEENTH * draw(st.sampled_from([1, 2, 3, 4, 8, 24, 70])), int(starts[-1]) - tick)
        notes.append((tick, length, draw(st.integers(low, high)), 80, 0))
        tick += length + SIXTEENTH * draw(st.sampled_from([0, 0, 0, 2, 30]))
    return Score(np.array(notes, np.int32).reshape(-1, 5), measures)


def random_melody(seed: int, num_measures: int, low: int = 50, high: int = 80, metre: Metre = METRES[0]) -> Score:
    """A melody of eighths with some rests, from a seed."""
    rng = np.random.default_rng(seed)
    starts = np.arange(num_measures) * metre.ticks
    onsets = np.arange(0, num_measures * metre.ticks, 2 * SIXTEENTH)
    onsets = onsets[rng.random(len(onsets)) < 0.8]
    notes = np.stack([onsets, onsets * 0 + 240, rng.integers(low, high + 1, len(onsets)), onsets * 0 + 80, onsets * 0])
    measures = np.column_stack([starts, np.tile(metre, (num_measures, 1))]).astype(np.int32)
    return Score(notes.T.astype(np.int32), measures, source=f"melody/{seed}", title=f"Melody {seed}", tempo=90.0)
