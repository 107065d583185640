"""What a codec keeps of a score, computed note by note in ticks, without tokens: decode(encode(x)) = quantise(x)."""

import bisect
import dataclasses
from collections import defaultdict

import numpy as np

from musicvae_jax.codec import DEFAULT_VELOCITY, Codec, Metre, MusicError, PerformanceCodec, Score, check_score
from musicvae_jax.codec.tracks import find_polyphony


def quantise(codec: Codec, score: Score) -> Score:
    """The nearest score that the codec can hold; raises `MusicError` with the place and reason of `encode`."""
    check_score(score)
    grid = []
    for start, numerator, denominator in score.measures.tolist():
        length = Metre(numerator, denominator).ticks
        ticks = [quarter + offset for quarter in range(0, length, 480) for offset in codec.offsets]
        grid += [start + tick for tick in ticks if tick < length]
    tracks = sorted({row[4] for row in score.notes.tolist()})
    numbers = {t: tracks.index(t) if tracks[-1] >= codec.num_voices else t for t in tracks}
    rows = [(*row[:4], numbers[row[4]]) for row in score.notes.tolist()]
    found = _performance(codec, score, grid, rows) if isinstance(codec, PerformanceCodec) else []
    if not isinstance(codec, PerformanceCodec):
        if max(numbers.values(), default=0) >= codec.num_voices:
            raise MusicError(score.source, "tracks", "voices", "")
        for number in range(codec.num_voices):
            found += _voice(score, grid, [row for row in rows if row[4] == number])
    notes = np.array(sorted(found, key=lambda row: (row[0], row[2], row[4])), np.int32).reshape(-1, 5)
    return dataclasses.replace(score, notes=notes, parts=())


def snap(grid, tick):
    """The nearest of ascending values, the lower of two."""
    after = bisect.bisect_left(grid, tick)
    return min(grid[max(after - 1, 0) : after + 1], key=lambda position: (abs(position - tick), position))


def _voice(score, grid, rows):
    def polyphonic(tick):
        return MusicError(score.source, score.measure_at(tick), "polyphonic", "")

    together = find_polyphony(np.array(rows).reshape(-1, 5))
    if together is not None:
        raise polyphonic(rows[together][0])
    edges = [*grid, score.end]
    kept: list[tuple[int, int, int, int]] = []  # onset, end, pitch, voice
    before = (0, 0)  # onset and duration of the last note, kept or not
    for onset, duration, pitch, _, voice in rows:
        start = snap(grid, onset)
        if not kept or kept[-1][0] != start:
            stop = max(snap(edges, onset + duration), edges[bisect.bisect_right(edges, start)])
            kept.append((start, stop, pitch, voice))
        elif 2 * (min(sum(before), onset + duration) - onset) > min(before[1], duration):
            raise polyphonic(onset)
        before = (onset, duration)
    limits = [*(start for start, *_ in kept), score.end][1:]
    return [
        (start, min(stop, limit) - start, pitch, DEFAULT_VELOCITY, voice)
        for (start, stop, pitch, voice), limit in zip(kept, limits, strict=True)
    ]


def _performance(codec, score, grid, rows):
    durations, levels = codec.durations.tolist(), codec.levels.tolist()
    chosen: dict[tuple[int, int, int], tuple[int, int]] = {}  # onset, pitch, track -> duration, velocity
    for onset, duration, pitch, velocity, track in rows:
        place = (snap(grid, onset), pitch, min(track, codec.tracks - 1))
        chosen[place] = max(chosen.get(place, (0, 0)), (duration, velocity))
    measures = defaultdict(list)
    for place in sorted(chosen):
        measures[bisect.bisect_right(score.measures[:, 0].tolist(), place[0])].append((*place, *chosen[place]))
    found = []
    for notes in measures.values():
        chords = defaultdict(list)
        for note in notes:
            chords[note[0]].append(note)
        outer = {note for chord in chords.values() for note in (chord[0], chord[-1])}
        # A full measure drops inner notes of chords first, then quiet, then short ones.
        notes.sort(key=lambda note: (note not in outer, -note[4], -note[3]))
        for start, pitch, track, length, velocity in notes[: codec.slots - 1]:
            room = score.end - start
            longer = durations[min(bisect.bisect_left(durations, room), len(durations) - 1)]
            duration = min(room, longer if length >= room else snap(durations, length))
            found.append((start, duration, pitch, snap(levels, velocity), track))
    return found
