"""Edits: what is asked comes of it, and nothing else changes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.analysis.codes import unit_of
from musicvae_jax.analysis.directions import Direction
from musicvae_jax.analysis.editing import Edit, edit_score, splice, unchanged
from musicvae_jax.codec import MelodyCodec, PerformanceCodec, check_score
from musicvae_jax.codec.score import sort_notes
from musicvae_jax.config import UserError
from tests.analysis.played import load_untrained, make_player
from tests.codec.music import score_of
from tests.data.melodies import melodies, random_melody

CODEC = MelodyCodec()
# Of `play`: a note more is half a unit of dim 0, a semitone an eighth of dim 1.
DENSITY, PITCH = (
    Direction(name, "fine", "dim", vector, unit_of(name), 1.0, 1.0, 1.0, 2.0, {name: 1.0})
    for name, vector in (("note_density", (0.5, 0.0, 0.0)), ("mean_pitch", (0.0, 0.125, 0.0)))
)
PIECE = random_melody(3, 10, low=58, high=62)


def performed(score):
    """With onsets off the grid and velocities, which a codec of melodies does not keep."""
    notes = score.notes.copy()
    notes[:, 0] += np.arange(len(notes)) % 7
    notes[:, 1] -= np.arange(len(notes)) % 5 + 7
    notes[:, 3] = 60 + np.arange(len(notes)) % 40
    return dataclasses.replace(score, notes=notes)


@given(melodies(2, 6), st.data())
@settings(max_examples=40)
def test_a_splice_changes_the_sound_of_its_measures_alone(score, data):
    numbers = st.lists(st.integers(0, score.num_measures - 1), min_size=1, unique=True)
    measures = data.draw(numbers)
    mask = CODEC.slot_mask(score.measures[:, 1:])
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tokens = np.where(mask, rng.choice([0, 0, 1, 62, 64, 69], mask.shape), 0)[..., None]
    found = splice(score, tokens, measures, CODEC)
    assert unchanged(score, found, measures) == 1
    CODEC.encode(found)  # still a melody
    if len(measures) == score.num_measures:
        whole = CODEC.decode(tokens, score.measures[:, 1:])
        np.testing.assert_array_equal(found.notes[:, :3], whole.notes[:, :3])


def test_a_splice_of_a_performance_keeps_chords_and_velocities():
    codec, rng, scores = PerformanceCodec(tracks=2), np.random.default_rng(0), []
    low, high = (0, 60, 40, 20, 0), (8 * 1920 - 500, 500, 80, 120, 2)
    for _ in range(2):
        notes = sort_notes(rng.integers(low, high, (60, 5)))
        scores.append(score_of([tuple(row) for row in notes.tolist()], [(1920 * bar, 4, 4) for bar in range(8)]))
    for measures in ([0], [2, 3, 6], [7], list(range(8))):
        found = splice(scores[0], codec.encode(scores[1]).tokens, measures, codec)
        assert unchanged(scores[0], found, measures) == 1
        check_score(found)
        new = [row for row in found.notes.tolist() if row[0] // 1920 in measures]
        assert new and len({row[3] for row in new}) > 1


def test_new_notes_are_on_the_track_of_the_melody():
    notes = PIECE.notes.copy()
    notes[:, 4] = 3
    score, tokens = dataclasses.replace(PIECE, notes=notes), CODEC.encode(random_melody(4, 10)).tokens
    found = splice(score, tokens, [1, 2], CODEC)
    assert set(found.notes[:, 4]) == {3}
    np.testing.assert_array_equal(found.notes[:, :4], splice(PIECE, tokens, [1, 2], CODEC).notes[:, :4])


def test_a_changed_measure_is_seen():
    notes = PIECE.notes.copy()
    notes[0, 2] += 1
    assert unchanged(PIECE, dataclasses.replace(PIECE, notes=notes), [5]) == pytest.approx(8 / 9)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A model that `play` decodes; the scale of its posterior means is that of `play`."""
    return make_player(load_untrained(tmp_path_factory.mktemp("editing")))


@pytest.mark.parametrize("changes", [{"note_density": 2.0}, {"mean_pitch": -3.0}, {"note_density": 1, "mean_pitch": 4}])
def test_what_is_asked_is_realised_and_the_other_measures_keep_their_notes(vae, changes):
    score, measures = performed(PIECE), [2, 3, 5, 9]
    directions = [{"note_density": DENSITY, "mean_pitch": PITCH}[name] for name in changes]
    edit = edit_score(vae, score, changes, directions, "fine", measures)
    assert edit.spans == (2, 3, 5, 9) and unchanged(score, edit.score, measures) == 1
    for name, change in changes.items():
        np.testing.assert_allclose(edit.asked[name], change)
        np.testing.assert_allclose(edit.realised[name], change, atol=0.5)  # pitches are whole, a mean is not
        assert name in edit.table
    starts = score.measures[:, 0]
    old = {tuple(row) for row in score.notes if np.searchsorted(starts, row[0], "right") - 1 not in measures}
    assert old <= set(map(tuple, edit.score.notes))  # onset, duration, pitch and velocity
    assert (edit.score.tempo, edit.score.title) == (score.tempo, score.title)


def test_an_edit_that_falls_short_says_so():
    asked, realised = {"note_density": np.array([2.0, 2.0])}, {"note_density": np.array([1.5, 1.5])}
    edit = Edit(PIECE, (0,), (0,), asked, realised)
    assert edit.table == "note_density: +2.00 asked, +1.50 realised, mean of 2 spans: not reached"
    assert edit._replace(realised=asked).table == "note_density: +2.00 asked, +2.00 realised, mean of 2 spans"


@pytest.mark.parametrize(
    ("changes", "level", "measures", "said"),
    [
        ({}, "fine", [1], "changes = {}"),
        ({"tempo": 20.0}, "fine", [1], "tempo is metadata"),
        ({"note_density": np.inf}, "fine", [1], "change of note_density = inf"),
        ({"note_density": 1.0}, "loud", [1], "level = 'loud': allowed is one of global, local, fine"),
        ({"note_density": "+2"}, "fine", [1], "change of note_density = '\\+2': allowed is a number"),
        ("note_density=+2", "fine", [1], "changes = 'note_density=.2': allowed is attribute -> change"),
        ({"note_density": 1.0}, "fine", [10], r"measures = \[10\]: allowed is some of 0 to 9"),
        ({"note_density": 1.0}, "fine", range(8, 12), r"measures = range\(8, 12\): allowed is some of 0 to 9"),
        ({"note_density": 1.0}, "fine", [], "measures = "),
        ({"note_density": 1.0}, "fine", 5, "measures = 5: allowed is some of 0 to 9"),
        ({"note_density": 1.0}, "fine", [4.5], "measures = .4.5.: allowed is some of 0 to 9"),
        ({"note_density": 1.0}, "fine", "5-8", "measures = '5-8': .*such as range\\(0, 4\\)"),
    ],
)
def test_wrong_edits_are_refused(vae, changes, level, measures, said):
    with pytest.raises(UserError, match=said):
        edit_score(vae, PIECE, changes, [DENSITY], level, measures)
