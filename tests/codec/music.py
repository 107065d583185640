"""Scores for the codec's laws."""

import dataclasses

import numpy as np
from hypothesis import strategies as st

from musicvae_jax.codec import DEFAULT_VELOCITY, Metre, Part, Score
from musicvae_jax.codec.tracks import known_parts

METRES = [Metre(*metre) for metre in [(4, 4), (2, 2), (3, 4), (2, 4), (6, 8), (9, 8), (3, 8), (5, 8), (1, 4)]]
SIXTEENTHS = [120, 240, 360, 480, 720, 960, 1440]
NOTE_VALUES = [*SIXTEENTHS, 60, 80, 160, 320, 96, 15]  # with 32nds, triplets, a quintuplet and a 128th


@st.composite
def scores(draw, lengths=NOTE_VALUES, rests=True, jitter=0, legato=0, metres=METRES, max_measures=5):
    """A melody through a few measures of any metres, notes crossing bar lines as they come.

    `jitter` moves onsets by up to so many ticks, `legato` lengthens notes over the next onset by up to so many.
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
    """Equality of scores, field by field, arrays with their dtype; `but` names fields that may differ."""
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
def polyphony(draw, max_tracks=3, overlap=True):
    """Several tracks of notes of any length, velocity and program, one over another; of one pitch too if `overlap`."""
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
