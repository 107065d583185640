"""Scores: what makes one valid, and how they are joined."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import MusicError, Score, check_score
from musicvae_jax.codec.score import join
from tests.codec.music import score_of, scores
from tests.data.melodies import random_melody


@given(scores().filter(lambda score: len(score.notes)), st.data())
def test_a_note_out_of_range_is_refused(score, data):
    notes = score.notes.copy()
    row = data.draw(st.integers(0, len(notes) - 1))
    wrong = [(0, -1), (0, 10**6), (1, 0), (1, -5), (2, 128), (2, -1), (3, 0), (4, -1)]
    column, value = data.draw(st.sampled_from(wrong))
    notes[row, column] = value
    with pytest.raises(MusicError) as caught:
        check_score(dataclasses.replace(score, notes=notes))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"notes": np.zeros((1, 4), np.int32)}, "note, 5"),
        ({"measures": np.zeros((0, 3), np.int32)}, "at least one measure"),
        ({"measures": np.array([[0, 4, 4], [480, 4, 4]], np.int32)}, "measure 2"),
        ({"notes": np.array([(480, 480, 60, 80, 0), (0, 480, 60, 80, 0)], np.int32)}, "sorted"),
    ],
)
def test_wrong_shapes_measures_and_order_are_refused(fields, says):
    with pytest.raises(MusicError, match=says):
        check_score(dataclasses.replace(score_of([(0, 480, 60, 80, 0)]), **fields))


def test_joined_scores_follow_each_other():
    parts = [
        dataclasses.replace(
            random_melody(seed, 2 + seed),
            chords=np.array([(0, 480, 0, 1), (960, 480, 7, 128)], np.int32),
            phrase_ends=np.array([960, 1920], np.int32),
        )
        for seed in range(3)
    ]
    whole, start = join(parts), 0
    check_score(whole)
    assert whole.num_measures == 9 and whole.title == parts[0].title and whole.end == sum(part.end for part in parts)
    for part in parts:
        for name in ("notes", "measures", "chords"):
            moved = getattr(part, name) + np.eye(1, getattr(part, name).shape[1], dtype=np.int32) * start
            assert set(map(tuple, moved.tolist())) <= set(map(tuple, getattr(whole, name).tolist()))
        assert set((part.phrase_ends + start).tolist()) <= set(whole.phrase_ends.tolist())
        start += part.end
    assert len(whole.notes) == sum(len(part.notes) for part in parts)
    np.testing.assert_array_equal(parts[1].measures[0], random_melody(1, 3).measures[0])  # the parts are unchanged


def titled(text: str) -> Score:
    nothing = np.zeros((0, 5), np.int32), np.zeros((0, 3), np.int32)
    return Score(*nothing, title=text, source=text, composer=text, style=text)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
def test_texts_of_scores_and_errors_can_be_printed_and_stored(text):
    score, error = titled(text), MusicError(text, text, "unreadable", text)
    for field in (score.title, score.source, score.composer, score.style, *error.args, str(error)):
        field.encode()
    assert len(score.title) <= 200 and len(error.detail) <= 500
    if len(text) <= 200 and not any("\ud800" <= c <= "\udfff" for c in text):
        assert (score.title, score.composer, error.source) == (text, text, text)


def test_a_text_that_is_too_long_says_so():
    assert MusicError("a", "b", "c", "x" * 501).detail == "x" * 497 + "..."
    assert MusicError("a", "b", "c", "x" * 500).detail == "x" * 500
