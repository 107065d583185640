"""Chord changes of a piece, and their rate in its windows."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.attributes import attributes, chord_changes
from musicvae_jax.codec.score import Metre
from tests.codec.attributes.windows import COLUMN, one_window, window_notes

MEASURES = np.array([(0, 4, 4), (1920, 4, 4), (3840, 3, 4)], np.int32)
C, F, G = (0, 0b10010001), (5, 0b1000100001), (7, 0b100010000100)


def chords(*rows: tuple[int, tuple[int, int]]) -> np.ndarray:
    return np.array([(onset, 480, *chord) for onset, chord in rows], np.int32).reshape(-1, 4)


def test_by_hand():
    # C C F | F G after a gap | G C: the first chord is none, F again is none, the downbeat's C is one.
    named = chords((0, C), (480, C), (960, F), (1920, F), (2880, G), (3840, G), (4320, C))
    changes = chord_changes(named, MEASURES)
    assert changes.tolist() == [1, 1, 1]
    found = one_window([], Metre(4, 4), Metre(4, 4), Metre(3, 4), changes=changes[None])
    np.testing.assert_allclose(found["measure"]["chord_change_rate"], [1 / 4, 1 / 4, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found["window"]["chord_change_rate"], [3 / 11], rtol=1e-6)


def test_a_change_on_a_downbeat_belongs_to_the_measure_it_opens():
    assert chord_changes(chords((0, C), (1920, G)), MEASURES).tolist() == [0, 1, 0]


def test_no_chords_are_undefined_and_one_never_changes():
    assert np.isnan(chord_changes(chords(), MEASURES)).all()
    assert chord_changes(chords((0, C)), MEASURES).tolist() == [0, 0, 0]
    silent = attributes(window_notes([]), np.array([[(4, 4)]]), changes=np.array([[np.nan]]))
    assert np.isnan(silent["window"][..., COLUMN["chord_change_rate"]]).all()


@given(st.lists(st.tuples(st.integers(0, 5279), st.sampled_from([C, F, G])), max_size=12, unique_by=lambda row: row[0]))
def test_changes_add_up_and_do_not_depend_on_the_key(rows):
    named = chords(*sorted(rows))
    changes = chord_changes(named, MEASURES)
    kinds = [row[1] for row in sorted(rows)]
    if kinds:
        assert changes.sum() == sum(one != other for one, other in itertools.pairwise(kinds))
    moved = named.copy()
    moved[:, 2] = (moved[:, 2] + 3) % 12
    moved[:, 3] = ((moved[:, 3] << 3) | (moved[:, 3] >> 9)) & 4095
    np.testing.assert_array_equal(chord_changes(moved, MEASURES), changes)
