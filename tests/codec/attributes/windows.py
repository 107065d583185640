"""Windows of notes, and their attributes by name."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from musicvae_jax.codec import WindowNotes
from musicvae_jax.codec.attributes import ATTRIBUTES, attributes
from musicvae_jax.codec.score import Metre

METRES = [
    Metre(*metre) for metre in [(4, 4), (2, 2), (3, 4), (6, 8), (9, 8), (12, 8), (5, 8), (7, 16), (1, 4), (3, 32)]
]
COLUMN = {attribute.name: number for number, attribute in enumerate(ATTRIBUTES)}


def columns(group: str) -> list[int]:
    return [number for number, attribute in enumerate(ATTRIBUTES) if attribute.group == group]


def window_notes(rows: list[tuple[int, ...]]) -> WindowNotes:
    """Of rows (row, measure, onset, duration, pitch, velocity, track) in any order."""
    rows = sorted(rows, key=lambda row: (*row[:3], row[4], row[6]))
    return WindowNotes(*np.array(rows, np.int64).reshape(-1, 7).T)


def one_window(notes: Sequence[tuple[int, ...]], *metres: Metre, **options) -> dict[str, dict[str, np.ndarray]]:
    """span -> attribute -> values in one window with notes (measure, onset, duration, pitch[, velocity[, track]])."""
    defaults = (80, 0)
    rows = [(0, *note, *defaults[len(note) - 4 :]) for note in notes]
    found = attributes(window_notes(rows), np.array([metres]), **options)
    return {span: {name: values[0, :, column] for name, column in COLUMN.items()} for span, values in found.items()}


@st.composite
def batches(draw, max_rows=3, metres=METRES, step=40, max_pitch=100):
    """Notes and metres of polyphonic windows; padding measures come last."""
    num_measures = draw(st.integers(1, 6))
    num_rows = draw(st.integers(1, max_rows))
    metre = np.zeros((num_rows, num_measures, 2), np.int64)
    rows = []
    for row in range(num_rows):
        kinds = draw(st.lists(st.sampled_from(metres), max_size=num_measures))
        for measure, kind in enumerate(kinds):
            metre[row, measure] = kind
            note = st.tuples(
                st.integers(0, (kind.ticks - 1) // step).map(lambda place: place * step),
                st.sampled_from([step, 240, 480, 1440, 5000]),
                st.integers(20, max_pitch),
                st.integers(1, 60),
                st.integers(0, 2),
            )
            rows += [(row, measure, *values) for values in draw(st.lists(note, max_size=6))]
    return window_notes(rows), metre
