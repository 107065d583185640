"""Attributes of pitch, in semitones. The line of a track is its highest note at each onset."""

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, mean


def pitch(cells: Cells) -> dict[str, np.ndarray]:
    """float64[cell] each, NaN where undefined.

    mean_pitch: mean MIDI pitch of all notes.

    pitch_range: highest minus lowest note; 0 for one note.

    contour: last minus first note of a line, mean over the lines of the cell; 0 for one note.

    mean_interval: mean of |interval| between successive notes of the lines; NaN if no line has two notes.
    """
    pitches = cells.notes.pitch
    line, cell, last_of_line = _lines(cells)
    interval = np.diff(line)
    inside = ~last_of_line[:-1]
    # The intervals of a line sum to its last minus its first note.
    rise = np.bincount(cell[:-1][inside], interval[inside], cells.num)
    num_lines = np.bincount(cell[last_of_line], minlength=cells.num)
    return {
        "mean_pitch": mean(cells.cell, cells.num, pitches),
        "pitch_range": _extreme(np.maximum, cells) - _extreme(np.minimum, cells),
        "contour": np.where(num_lines > 0, rise / np.maximum(num_lines, 1), np.nan),
        "mean_interval": mean(cell[:-1][inside], cells.num, np.abs(interval[inside])),
    }


def _lines(cells: Cells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The notes of all lines, line by line in each cell: their pitches, their cells, and whether they end a line."""
    track, pitches, cell, tick = cells.notes.track, cells.notes.pitch, cells.cell, cells.tick
    if (track[1:] != track[:-1]).any():
        # Inside a cell notes are sorted by onset and pitch; a stable sort keeps that order.
        order = np.argsort(cell * (int(track.max()) + 1) + track, kind="stable")
        track, pitches, cell, tick = track[order], pitches[order], cell[order], tick[order]
    ends = np.ones(len(cell), bool)
    ends[:-1] = (cell[1:] != cell[:-1]) | (track[1:] != track[:-1])
    highest = ends.copy()
    highest[:-1] |= tick[1:] != tick[:-1]
    return pitches[highest], cell[highest], ends[highest]


def _extreme(ufunc: np.ufunc, cells: Cells) -> np.ndarray:
    found = np.full(cells.num, np.nan)
    starts = np.flatnonzero(np.append(True, cells.cell[1:] != cells.cell[:-1])[: len(cells.cell)])
    if len(starts):
        found[cells.cell[starts]] = ufunc.reduceat(cells.notes.pitch, starts)
    return found
