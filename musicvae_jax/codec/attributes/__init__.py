"""Attributes of music: numbers that a listener can check, in groups, over any number of measures.

They depend on notes alone, not on the codec. Computed with NumPy, for all windows of a batch at once.
"""

from collections.abc import Sequence

import numpy as np

from musicvae_jax.codec.attributes.arvae import arvae
from musicvae_jax.codec.attributes.cells import make_cells, num_cells
from musicvae_jax.codec.attributes.dmelodies import dmelodies
from musicvae_jax.codec.attributes.dynamics import dynamics
from musicvae_jax.codec.attributes.harmony import chord_change_rate, chord_changes, harmony
from musicvae_jax.codec.attributes.pitch import pitch
from musicvae_jax.codec.attributes.rhythm import make_trees, rhythm
from musicvae_jax.codec.base import WindowNotes
from musicvae_jax.types import ATTRIBUTES, STANDARD_SPANS, span_name

__all__ = ["ATTRIBUTES", "attributes", "chord_changes", "num_cells"]


def attributes(
    notes: WindowNotes,
    metre: np.ndarray,
    *,
    spans: Sequence[int] = STANDARD_SPANS,
    velocities: bool = True,
    changes: np.ndarray | None = None,
    style: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All `ATTRIBUTES` in all cells of windows. The modules of this package define them.

    Args:
        notes: of the windows, as from `Codec.notes`. Drums must be left out.
        metre: int[row, measure, 2], (0, 0) in padding measures.
        spans: measures of a cell; 0 for the whole window.
        velocities: whether velocities carry information; if not (in a grid codec), dynamics are NaN.
        changes: float[row, measure], rows of `chord_changes`; NaN if not given.
        style: float[row], number of the window's style label, NaN if unknown; NaN if not given.

    Returns:
        `span_name` -> float32[row, cell, attribute], columns as in `ATTRIBUTES`; the last cell of a row may be shorter
        than the span. NaN where an attribute is undefined, and in padding.
    """
    num_rows, num_measures, _ = metre.shape
    trees = make_trees(metre.reshape(-1, 2).astype(np.int64))
    result = {}
    for span in spans:
        cells = make_cells(notes, metre, span)
        found = rhythm(cells, trees) | pitch(cells) | harmony(cells)
        if span == 1:
            found |= arvae(cells, found)
        if span == 2:
            found |= dmelodies(cells)
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
        result[span_name(span)] = columns.reshape(num_rows, num_cells(span, num_measures), len(ATTRIBUTES))
    return result
