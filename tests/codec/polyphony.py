"""Scores of several voices and of performances, for the codecs' laws."""

import numpy as np
from hypothesis import strategies as st

from tests.codec.music import METRES, NOTE_VALUES, score_of, scores


@st.composite
def chorales(draw, lengths=NOTE_VALUES, jitter=0, legato=0, voices=4):
    """Melodies that sound together, each in its track, through the same measures."""
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
    """Any notes at all: chords, unisons, overlaps, any ticks, any velocity."""
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
