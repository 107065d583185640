"""Attributes of harmony against their definitions, written as loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.attributes import attributes, chord_changes
from musicvae_jax.codec.attributes.harmony import cloud_diameters
from musicvae_jax.codec.score import Metre
from tests.codec.attributes.windows import COLUMN, one_window, window_notes

C_MAJOR = [60, 62, 64, 65, 67, 69, 71]
MEASURES = np.array([(0, 4, 4), (1920, 4, 4), (3840, 3, 4)], np.int32)
C, F, G = (0, 0b10010001), (5, 0b1000100001), (7, 0b100010000100)


def diameter_by_loops(classes: set[int]) -> float:
    """The smallest diameter over all spellings inside 12 successive fifths."""
    results = []
    for cut in range(12):
        fifths = [(pitch * 7 - cut) % 12 + cut for pitch in classes]
        points = [(math.sin(k * math.pi / 2), math.cos(k * math.pi / 2), k * math.sqrt(2 / 15)) for k in fifths]
        results.append(max((math.dist(one, other) for one, other in itertools.combinations(points, 2)), default=0))
    return min(results)


@given(st.sets(st.integers(0, 11)))
def test_diameters_agree_with_distances_in_space(classes):
    found = cloud_diameters()[sum(1 << pitch for pitch in classes)]
    assert found == pytest.approx(diameter_by_loops(classes), rel=1e-9)


def test_diameters_grow_with_the_set_and_do_not_depend_on_the_key():
    diameters = cloud_diameters()
    sets = np.arange(4096)
    for bit in range(12):
        assert (diameters[sets | 1 << bit] >= diameters[sets] - 1e-12).all()
    turned = (sets << 1 | sets >> 11) & 4095
    np.testing.assert_allclose(diameters[turned], diameters, rtol=1e-12)


@pytest.mark.parametrize(
    ("pitches", "fifths"),
    [
        ([60], 0),
        ([60, 72], 0),
        ([60, 67], 1),
        ([60, 64], 4),  # as far as a fifth
        ([60, 63], 3),
        ([60, 64, 67], 3),
        ([60, 63, 67], 3),
        ([60, 62], 2),
        ([60, 64, 67, 70], 6),  # the tritone of a dominant seventh
        ([60, 63, 66, 69], 9),
    ],
)
def test_tension_by_hand(pitches, fifths):
    expected = math.sqrt({0: 0, 1: 2, 2: 4, 3: 2}[fifths % 4] + fifths**2 * 2 / 15)
    found = one_window([(0, 0, 1920, pitch) for pitch in pitches], Metre(4, 4))["window"]
    assert found["tonal_tension"][0] == pytest.approx(expected, rel=1e-6)


def test_tension_is_a_mean_over_the_time_in_which_notes_sound():
    # A fifth for one quarter, a single note for the next, silence; in 3/8 the second quarter is an eighth long.
    notes = [(0, 0, 480, 60), (0, 0, 960, 67)]
    fifth = math.sqrt(2 + 2 / 15)
    assert one_window(notes, Metre(4, 4))["window"]["tonal_tension"][0] == pytest.approx(fifth / 2, rel=1e-6)
    assert one_window(notes, Metre(3, 8))["window"]["tonal_tension"][0] == pytest.approx(fifth * 2 / 3, rel=1e-6)


def test_tension_includes_notes_that_began_before():
    notes = [(0, 480, 1920, 60), (1, 0, 480, 67)]
    found = one_window(notes, Metre(2, 4), Metre(3, 4))["measure"]["tonal_tension"]
    # Measure 2: the fifth, then C4 alone for two quarters: it ends with the third.
    np.testing.assert_allclose(found, [0, math.sqrt(2 + 2 / 15) / 3], rtol=1e-6)


def test_pitch_classes_and_scales_by_hand():
    scale = one_window([(0, 240 * n, 240, pitch) for n, pitch in enumerate(C_MAJOR)], Metre(4, 4))["window"]
    assert scale["pitch_class_entropy"][0] == pytest.approx(math.log(7), rel=1e-6)
    assert scale["scale_consistency"][0] == 1
    chromatic = one_window([(0, 120 * n, 120, 60 + n) for n in range(12)], Metre(4, 4))["window"]
    assert chromatic["pitch_class_entropy"][0] == pytest.approx(math.log(12), rel=1e-6)
    assert chromatic["scale_consistency"][0] == pytest.approx(7 / 12)
    # C C# D: two of three fit one scale, octaves are one class.
    cluster = one_window([(0, 0, 120, 60), (0, 120, 120, 73), (0, 240, 120, 62), (0, 360, 120, 86)], Metre(4, 4))
    assert cluster["window"]["scale_consistency"][0] == pytest.approx(3 / 4)
    assert cluster["window"]["pitch_class_entropy"][0] == pytest.approx(1.5 * math.log(2), rel=1e-6)


def chords(*rows: tuple[int, tuple[int, int]]) -> np.ndarray:
    return np.array([(onset, 480, *chord) for onset, chord in rows], np.int32).reshape(-1, 4)


def test_chord_changes_by_hand():
    # C C F | F G | G C: the first chord and repeated chords are no changes.
    named = chords((0, C), (480, C), (960, F), (1920, F), (2880, G), (3840, G), (4320, C))
    changes = chord_changes(named, MEASURES)
    assert changes.tolist() == [1, 1, 1]
    found = one_window([], Metre(4, 4), Metre(4, 4), Metre(3, 4), changes=changes[None])
    np.testing.assert_allclose(found["measure"]["chord_change_rate"], [1 / 4, 1 / 4, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found["window"]["chord_change_rate"], [3 / 11], rtol=1e-6)


def test_a_change_on_a_downbeat_counts_in_the_measure_that_it_starts():
    assert chord_changes(chords((0, C), (1920, G)), MEASURES).tolist() == [0, 1, 0]


def test_the_rate_is_nan_without_chords_and_0_with_one():
    assert np.isnan(chord_changes(chords(), MEASURES)).all()
    assert chord_changes(chords((0, C)), MEASURES).tolist() == [0, 0, 0]
    silent = attributes(window_notes([]), np.array([[(4, 4)]]), changes=np.array([[np.nan]]))
    assert np.isnan(silent["window"][..., COLUMN["chord_change_rate"]]).all()


@given(st.lists(st.tuples(st.integers(0, 5279), st.sampled_from([C, F, G])), max_size=12, unique_by=lambda row: row[0]))
def test_all_changes_are_counted_in_any_key(rows):
    named = chords(*sorted(rows))
    changes = chord_changes(named, MEASURES)
    kinds = [row[1] for row in sorted(rows)]
    if kinds:
        assert changes.sum() == sum(one != other for one, other in itertools.pairwise(kinds))
    moved = named.copy()
    moved[:, 2] = (moved[:, 2] + 3) % 12
    moved[:, 3] = ((moved[:, 3] << 3) | (moved[:, 3] >> 9)) & 4095
    np.testing.assert_array_equal(chord_changes(moved, MEASURES), changes)
