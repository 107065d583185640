"""Random scores for the laws of codecs, readers and writers, and comparisons of scores."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from musicvae_jax.codec import DEFAULT_VELOCITY, Metre, Part, Score
from musicvae_jax.codec.tracks import known_parts

METRES = [Metre(*metre) for metre in [(4, 4), (2, 2), (3, 4), (2, 4), (6, 8), (9, 8), (3, 8), (5, 8), (1, 4)]]
SIXTEENTHS = [120, 240, 360, 480, 720, 960, 1440]
NOTE_VALUES = [*SIXTEENTHS, 60, 80, 160, 320, 96, 15]  # with 32nds, triplets, a quintuplet and a 128th
TUNE = "X:1\nM:4/4\nL:1/4\nQ:{}\nK:C\nCDEF|GABc|\n"  # with a gap for the tempo


@st.composite
def scores(draw, lengths=NOTE_VALUES, rests=True, jitter=0, legato=0, metres=METRES, max_measures=5):
    """A melody in any metres, with notes across bar lines.

    Onsets move by up to `jitter` ticks; notes last up to `legato` ticks beyond the next onset.
    """
    kinds = draw(st.lists(st.sampled_from(metres), min_size=1, max_size=max_measures))
    starts = np.cumsum([0, *(metre.ticks for metre in kinds)])
    measures = [(int(start), *metre) for start, metre in zip(starts, kinds, strict=False)]
    end, position = int(starts[-1]), 0
    rows: list[tuple[int, int, int, int, int]] = []
    steps = st.tuples(
        st.sampled_from([0, *lengths]) if rests else st.just(0),
        st.sampled_from(lengths),
        st.integers(0, 127),
        st.integers(-jitter, jitter),
        st.integers(0, legato),
    )
    for rest, length, pitch, shift, over in draw(st.lists(steps, max_size=30)):
        onset = position + rest
        if onset >= end:
            break
        position = onset + length
        onset = max(onset + shift, rows[-1][0] + 1 if rows else 0)
        stop = min(max(position + shift + over, onset + 1), end)
        if onset < stop:
            rows.append((onset, stop - onset, pitch, DEFAULT_VELOCITY, 0))
    return score_of(rows, measures)


def score_of(rows, measures=((0, 4, 4),), **fields):
    notes = np.array(rows, np.int32).reshape(-1, 5)
    return Score(notes, np.array(measures, np.int32).reshape(-1, 3), **fields)


def notes_of(score):
    """(onset in quarters, duration in quarters, pitch) of each note."""
    return [(onset / 480, duration / 480, pitch) for onset, duration, pitch, _, _ in score.notes.tolist()]


def assert_same(one, other, but=()):
    """Asserts that all fields are equal except those in `but`, arrays with their dtype."""
    for field in dataclasses.fields(Score):
        if field.name in but:
            continue
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right, field.name


@st.composite
def chorales(draw, lengths=NOTE_VALUES, jitter=0, legato=0, voices=4):
    """Several melodies, each in its track, in the same measures."""
    melodies = [draw(scores(lengths, jitter=jitter, legato=legato)) for _ in range(draw(st.integers(1, voices)))]
    frame = max(melodies, key=lambda score: score.end)
    rows = [
        (*note[:4], track)
        for track, melody in zip(draw(st.permutations(range(voices))), melodies, strict=False)
        for note in melody.notes.tolist()
    ]
    return score_of(sorted(rows, key=lambda row: (row[0], row[2], row[4])), frame.measures.tolist())


@st.composite
def performances(draw, max_notes=40, pitches=(30, 90), tracks=4, metres=METRES):
    """Any notes: chords, unisons, overlaps, any tick, any velocity."""
    kinds = draw(st.lists(st.sampled_from(metres), min_size=1, max_size=4))
    starts = np.cumsum([0, *(metre.ticks for metre in kinds)]).tolist()
    end = starts[-1]
    ticks = st.integers(0, end - 1) | st.sampled_from(range(0, end, 120))
    lengths = st.integers(1, end) | st.sampled_from(NOTE_VALUES) | st.just(end)
    notes = st.tuples(
        ticks, lengths, st.integers(*pitches), st.integers(1, 127), st.integers(0, tracks - 1) | st.just(0)
    )
    rows = [
        (onset, min(length, end - onset), *rest) for onset, length, *rest in draw(st.lists(notes, max_size=max_notes))
    ]
    measures = [(start, *metre) for start, metre in zip(starts, kinds, strict=False)]
    return score_of(sorted(rows, key=lambda row: (row[0], row[2], row[4])), measures)


@st.composite
def polyphony(draw, max_tracks=3, overlap=True):
    """Several tracks with parts and any notes; without `overlap` no two of one pitch and track overlap."""
    score = draw(scores())
    free = st.tuples(
        st.integers(0, score.end - 1), st.integers(1, 2000), st.integers(0, 127), st.integers(1, 127),
        st.integers(0, max_tracks - 1),
    )  # fmt: skip
    whole = st.tuples(st.integers(0, score.end // 120).map(lambda step: 120 * step), st.sampled_from(SIXTEENTHS))
    rows = [list(row) for row in draw(st.lists(free, max_size=8))]
    rows += [[*draw(whole), *row[2:]] for row in draw(st.lists(free, max_size=8))]
    rows += [[onset, duration, pitch, draw(st.integers(1, 127)), 0] for onset, duration, pitch, _, _ in score.notes]
    rows = [[onset, min(duration, score.end - onset), *rest] for onset, duration, *rest in rows if onset < score.end]
    if not overlap:
        sounding: dict[tuple[int, int], int] = {}
        kept = []
        for onset, duration, pitch, velocity, track in sorted(rows):
            if sounding.get((pitch, track), 0) <= onset:
                kept.append([onset, duration, pitch, velocity, track])
                sounding[pitch, track] = onset + duration
        rows = kept
    notes = np.array(rows, np.int32).reshape(-1, 5)
    tracks = int(notes[:, 4].max(initial=-1)) + 1
    names = st.sampled_from(["", "Soprano", "Flûte", "Cello & Bass"])
    parts = draw(st.lists(st.builds(Part, names, st.integers(0, 127), st.booleans()), max_size=tracks))
    notes = notes[np.lexsort(notes[:, [4, 2, 0]].T)]
    return dataclasses.replace(score, notes=notes, parts=known_parts(parts))
