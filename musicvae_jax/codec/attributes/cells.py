"""Cells: parts of windows of equally many measures, with their notes.

An attribute is a sum, a mean or an extreme over the notes of a cell, computed for all cells at once.
"""

from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.base import WindowNotes
from musicvae_jax.codec.score import TICKS_PER_QUARTER


class Cells(NamedTuple):
    """The cells of windows, numbered row by row, with their notes and measures. Measures are those of all rows."""

    num: int  # cells
    num_measures: int  # of a row
    notes: WindowNotes
    metre: np.ndarray  # int64[measure, 2]
    measure_ticks: np.ndarray  # int64[measure]
    measure_start: np.ndarray  # int64[measure], ticks from the start of its cell
    measure_cell: np.ndarray  # int64[measure]
    ticks: np.ndarray  # int64[cell], length; 0 for padding
    measure: np.ndarray  # int64[note], where the note starts
    cell: np.ndarray  # int64[note], ascending
    tick: np.ndarray  # int64[note], from the start of its cell
    first: np.ndarray  # int64[onset], for each distinct onset of a cell its lowest note

    @property
    def quarters(self) -> np.ndarray:
        """float64[cell], length; 0 for padding."""
        return self.ticks / TICKS_PER_QUARTER

    @property
    def onset_cell(self) -> np.ndarray:
        """int64[onset]."""
        return self.cell[self.first]

    @property
    def gap(self) -> np.ndarray:
        """int64[onset], ticks to the next onset of the cell; of the last onset to the end of the cell."""
        tick, cell = self.tick[self.first], self.onset_cell
        following = np.append(tick[1:], 0)
        last = np.append(cell[1:] != cell[:-1], True)[: len(cell)]
        return np.where(last, self.ticks[cell], following[: len(cell)]) - tick


def measures_per_cell(span: int, num_measures: int) -> int:
    """Measures of a cell: the span, or for span 0 all measures of the window."""
    return span or max(num_measures, 1)


def num_cells(span: int, num_measures: int) -> int:
    """Cells of a window; the last cell may be shorter than the span."""
    return -(-num_measures // measures_per_cell(span, num_measures))


def make_cells(notes: WindowNotes, metre: np.ndarray, span: int) -> Cells:
    """Divides windows into cells.

    Args:
        notes: of the windows.
        metre: int[row, measure, 2], (0, 0) in padding measures.
        span: measures of a cell; 0 for the whole window.
    """
    num_rows, num_measures, _ = metre.shape
    size = measures_per_cell(span, num_measures)
    per_row = num_cells(span, num_measures)
    ticks = measure_ticks(metre)
    padded = np.zeros((num_rows, per_row * size), np.int64)
    padded[:, :num_measures] = ticks
    blocks = padded.reshape(num_rows, per_row, size)
    start = (np.cumsum(blocks, -1) - blocks).reshape(num_rows, -1)[:, :num_measures].reshape(-1)
    measure_cell = (np.arange(num_rows)[:, None] * per_row + np.arange(num_measures) // size).reshape(-1)
    measure = notes.row * num_measures + notes.measure
    cell, tick = measure_cell[measure], start[measure] + notes.onset
    new = np.ones(len(cell), bool)
    new[1:] = (cell[1:] != cell[:-1]) | (tick[1:] != tick[:-1])
    return Cells(
        num=num_rows * per_row,
        num_measures=num_measures,
        notes=notes,
        metre=metre.reshape(-1, 2).astype(np.int64),
        measure_ticks=ticks.reshape(-1),
        measure_start=start,
        measure_cell=measure_cell,
        ticks=blocks.sum(-1).reshape(-1),
        measure=measure,
        cell=cell,
        tick=tick,
        first=np.flatnonzero(new),
    )


def measure_ticks(metre: np.ndarray) -> np.ndarray:
    """Lengths of measures: int[..., measure, 2] to int64[..., measure], 0 for padding."""
    metre = metre.astype(np.int64)
    return metre[..., 0] * 4 * TICKS_PER_QUARTER // np.maximum(metre[..., 1], 1)


def total(cell: np.ndarray, num: int, values: np.ndarray | None = None) -> np.ndarray:
    """Sums over the entries of each cell, float64[cell]; without values the number of entries."""
    return np.bincount(cell, values, num).astype(np.float64)


def mean(cell: np.ndarray, num: int, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Means over the entries of each cell, float64[cell]; NaN without entries or weights."""
    if weights is None:
        return ratio(total(cell, num, values), total(cell, num))
    return ratio(total(cell, num, values * weights), total(cell, num, weights))


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom; NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)


def entropy(cell: np.ndarray, num: int, counts: np.ndarray) -> np.ndarray:
    """Entropies in nats of the distributions p = count / n in each cell, float64[cell]: log n - sum(c log c) / n.

    Args:
        cell: int64[value], the cell of each distinct value.
        num: cells.
        counts: int64[value], occurrences of the value.

    Returns:
        NaN in a cell without occurrences.
    """
    number = total(cell, num, counts)
    logs = total(cell, num, counts * np.log(np.maximum(counts, 1)))
    found = np.log(np.maximum(number, 1)) - ratio(logs, number)
    return np.maximum(found, 0)  # below 0 by rounding only


def occurrences(cell: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values (integers from 0) of each cell: their cells and their counts, for `entropy`."""
    size = int(values.max(initial=0)) + 1
    keys, counts = np.unique(cell * size + values, return_counts=True)
    return keys // size, counts
