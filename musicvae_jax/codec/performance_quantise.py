"""What a performance codec keeps of a score, said in ticks, without tokens: the other side of the codec's law."""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.grid_quantise import grid_ticks, snap
from musicvae_jax.codec.score import Score


class _Note(NamedTuple):
    start: int  # on the grid
    pitch: int
    track: int
    duration: int  # as it was
    velocity: int


def quantise(
    score: Score,
    tracks: Sequence[int],
    offsets: tuple[int, ...],
    durations: Sequence[int],
    levels: Sequence[int],
    capacity: int,
) -> np.ndarray:
    """Snaps notes to the grid, to the nearest duration and loudness, and thins measures out.

    Args:
        score: a valid score.
        tracks: the track that each note gets.
        offsets: grid positions inside a quarter, in ticks.
        durations: that a note may have, ascending; at the end of the piece also what is left of it.
        levels: velocities that a note may have, ascending.
        capacity: most notes of a measure.

    Returns:
        `Score.notes`.
    """
    grid = grid_ticks(score, offsets)
    chosen: dict[tuple[int, int, int], _Note] = {}
    for (onset, duration, pitch, velocity, _), track in zip(score.notes.tolist(), tracks, strict=True):
        note = _Note(snap(grid, onset), pitch, track, duration, velocity)
        rival = chosen.setdefault(note[:3], note)
        if (duration, velocity) > (rival.duration, rival.velocity):
            chosen[note[:3]] = note

    starts = score.measures[:, 0].tolist()
    measures: dict[int, list[_Note]] = defaultdict(list)
    for note in sorted(chosen.values()):
        measures[bisect.bisect_right(starts, note.start)].append(note)
    kept = sorted(note for notes in measures.values() for note in _thin_out(notes, capacity))
    rows = []
    for note in kept:
        room = score.end - note.start
        if note.duration >= room:
            longer = bisect.bisect_left(durations, room)
            duration = min(room, durations[min(longer, len(durations) - 1)])
        else:
            duration = min(room, snap(durations, note.duration))
        rows.append((note.start, duration, note.pitch, snap(levels, note.velocity), note.track))
    return np.array(rows, np.int32).reshape(-1, 5)


def _thin_out(notes: list[_Note], capacity: int) -> list[_Note]:
    """The notes of one measure, sorted, without the least heard: inner notes of chords, then the quiet, the short."""
    together: dict[int, list[_Note]] = defaultdict(list)
    for note in notes:
        together[note.start].append(note)
    outer = {note for chord in together.values() for note in (chord[0], chord[-1])}
    by_weight = sorted(notes, key=lambda note: (note not in outer, -note.velocity, -note.duration))
    return by_weight[:capacity]
