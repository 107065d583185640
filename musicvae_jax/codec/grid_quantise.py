"""What a grid keeps of a voice, said in ticks, without tokens: the other side of the codec's law."""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

from musicvae_jax.codec.check import polyphonic
from musicvae_jax.codec.score import DEFAULT_VELOCITY, TICKS_PER_QUARTER, Metre, Score


def quantise(score: Score, offsets: tuple[int, ...]) -> Score:
    """Snaps a monophonic score to the grid.

    Every onset and end goes to the nearest grid position, the earlier of two; of the notes that share a position the
    first stays; a note lasts at least to the next position and at most to the next onset. Velocity and track, which
    the grid cannot hold, become the default. Two notes of one position that sound together for over half of the
    shorter are refused as polyphonic.

    Args:
        score: a valid, monophonic score.
        offsets: grid positions inside a quarter, in ticks.
    """
    grid = grid_ticks(score, offsets)
    edges = [*grid, score.end]
    kept: list[tuple[int, int, int]] = []  # onset, end, pitch
    before = (0, 0)  # onset and duration of the note before, kept or not
    for onset, duration, pitch, _, _ in score.notes.tolist():
        start = snap(grid, onset)
        if kept and kept[-1][0] == start:
            together = min(before[0] + before[1], onset + duration) - onset
            if 2 * together > min(before[1], duration):
                raise polyphonic(score, onset)
            before = (onset, duration)
            continue
        before = (onset, duration)
        stop = max(snap(edges, onset + duration), edges[bisect.bisect_right(edges, start)])
        kept.append((start, stop, pitch))
    starts = [start for start, _, _ in kept] + [score.end]
    notes = [
        (start, min(stop, following) - start, pitch, DEFAULT_VELOCITY, 0)
        for (start, stop, pitch), following in zip(kept, starts[1:], strict=True)
    ]
    return dataclasses.replace(score, notes=np.array(notes, np.int32).reshape(-1, 5))


def grid_ticks(score: Score, offsets: tuple[int, ...]) -> list[int]:
    """The grid positions of a piece, in ticks."""
    ticks = []
    for start, numerator, denominator in score.measures.tolist():
        length = Metre(numerator, denominator).ticks
        positions = (quarter + offset for quarter in range(0, length, TICKS_PER_QUARTER) for offset in offsets)
        ticks += [start + position for position in positions if position < length]
    return ticks


def snap(grid: Sequence[int], tick: int) -> int:
    """The nearest of ascending values, the lower of two equally near."""
    after = bisect.bisect_left(grid, tick)
    candidates = grid[max(after - 1, 0) : after + 1]
    return min(candidates, key=lambda position: (abs(position - tick), position))
