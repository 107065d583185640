"""Attributes of music: numbers that a listener can check, by group, over a measure, a phrase or a window.

They are found from notes alone, whatever codec wrote them. NumPy, for all windows of a batch at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.attributes.arvae import arvae
from musicvae_jax.codec.attributes.cells import SPANS, make_cells, measures_per_cell
from musicvae_jax.codec.attributes.chords import chord_change_rate, chord_changes
from musicvae_jax.codec.attributes.dynamics import dynamics
from musicvae_jax.codec.attributes.harmony import harmony
from musicvae_jax.codec.attributes.metrical import pulses
from musicvae_jax.codec.attributes.pitch import pitch
from musicvae_jax.codec.attributes.rhythm import rhythm
from musicvae_jax.codec.base import WindowNotes

__all__ = ["ATTRIBUTES", "GROUPS", "SPANS", "Attribute", "attributes", "chord_changes", "num_cells"]


class Attribute(NamedTuple):
    """What a column of an attribute array means."""

    name: str
    group: str  # one of GROUPS
    unit: str
    spans: tuple[str, ...] = SPANS  # where it is defined; NaN at the others


GROUPS = ("rhythm", "pitch", "harmony", "dynamics", "style")
_MEASURE = ("measure",)

ATTRIBUTES = (
    Attribute("note_density", "rhythm", "notes per quarter"),
    Attribute("syncopation", "rhythm", "metrical levels per onset"),
    Attribute("rhythmic_complexity", "rhythm", "share"),
    Attribute("onset_entropy", "rhythm", "nats"),
    Attribute("arvae_rhythmic_complexity", "rhythm", "share", _MEASURE),
    Attribute("arvae_note_density", "rhythm", "share", _MEASURE),
    Attribute("mean_pitch", "pitch", "MIDI pitch"),
    Attribute("pitch_range", "pitch", "semitones"),
    Attribute("contour", "pitch", "semitones"),
    Attribute("mean_interval", "pitch", "semitones"),
    Attribute("arvae_pitch_range", "pitch", "semitones / 26", _MEASURE),
    Attribute("arvae_contour", "pitch", "semitones / 26", _MEASURE),
    Attribute("pitch_class_entropy", "harmony", "nats"),
    Attribute("scale_consistency", "harmony", "share"),
    Attribute("tonal_tension", "harmony", "radii of the spiral array"),
    Attribute("chord_change_rate", "harmony", "changes per quarter"),
    Attribute("mean_velocity", "dynamics", "MIDI velocity"),
    Attribute("velocity_spread", "dynamics", "MIDI velocity"),
    Attribute("crescendo_slope", "dynamics", "MIDI velocity per quarter"),
    Attribute("style", "style", "number of a label"),
)


def attributes(
    notes: WindowNotes,
    metre: np.ndarray,
    *,
    spans: Sequence[str] = SPANS,
    velocities: bool = True,
    changes: np.ndarray | None = None,
    style: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Every attribute of `ATTRIBUTES` in every cell of windows; the modules of this package define them.

    Args:
        notes: the notes of the windows, as a codec's `notes` gives them. Drums are no notes here.
        metre: int[row, measure, 2], (0, 0) in padding measures.
        spans: which of `SPANS`.
        velocities: whether the notes' velocities mean anything; dynamics are NaN where not (a grid codec's notes).
        changes: float[row, measure], the windows' rows of `chord_changes`; NaN if not given.
        style: float[row], the number of the window's label in its data set's list; NaN if not given, or unknown.

    Returns:
        span -> float32[row, time, attribute], columns as in `ATTRIBUTES`. ``time`` counts measures, phrases of four
        measures (the last may be shorter) or is 1. NaN where an attribute is undefined, which docstrings say, and
        throughout padding.
    """
    num_rows, num_measures, _ = metre.shape
    tree = pulses(metre.reshape(-1, 2).astype(np.int64))
    result = {}
    for span in spans:
        cells = make_cells(notes, metre, span)
        found = rhythm(cells, tree) | pitch(cells) | harmony(cells)
        if span == "measure":
            found |= arvae(cells, found)
        if velocities:
            found |= dynamics(cells)
        if changes is not None:
            found["chord_change_rate"] = chord_change_rate(cells, changes)
        if style is not None:
            found["style"] = np.repeat(style, num_cells(span, num_measures))
        columns = np.full((cells.num, len(ATTRIBUTES)), np.nan, np.float32)
        for column, attribute in enumerate(ATTRIBUTES):
            if attribute.name in found:
                columns[:, column] = found[attribute.name]
        columns[cells.ticks == 0] = np.nan
        result[span] = columns.reshape(num_rows, num_cells(span, num_measures), len(ATTRIBUTES))
    return result


def num_cells(span: str, num_measures: int) -> int:
    """Cells of a span in a window of so many measures."""
    return -(-num_measures // measures_per_cell(span, num_measures))
