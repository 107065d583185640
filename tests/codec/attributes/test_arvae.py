"""AR-VAE's attributes against the published definition on 24 positions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.score import Metre
from tests.codec.attributes.windows import one_window

OFFSETS = (0, 120, 160, 240, 320, 360)
GRID = [480 * beat + offset for beat in range(4) for offset in OFFSETS]
WEIGHTS = [0.2, 1, 2, 0.5, 2, 1, 0.67, 1, 2, 0.5, 2, 1, 0.25, 1, 2, 0.5, 2, 1, 0.67, 1, 2, 0.5, 2, 1]


def published(row: list[int | None]) -> dict[str, float]:
    """Of 24 positions, each with the pitch that starts there or None."""
    pitches = [pitch for pitch in row if pitch is not None]
    weights = [weight for weight, pitch in zip(WEIGHTS, row, strict=True) if pitch is not None]
    return {
        "arvae_rhythmic_complexity": sum(weights) / sum(WEIGHTS),
        "arvae_note_density": len(pitches) / 24,
        "arvae_pitch_range": (max(pitches) - min(pitches)) / 26 if pitches else 0,
        "arvae_contour": sum(b - a for a, b in itertools.pairwise(pitches)) / 26,
    }


@given(st.lists(st.one_of(st.none(), st.integers(0, 127)), min_size=24, max_size=24))
def test_measures_in_4_4_have_the_published_values(row):
    notes = [(0, tick, 40, pitch) for tick, pitch in zip(GRID, row, strict=True) if pitch is not None]
    found = one_window(notes, Metre(4, 4))
    for name, value in published(row).items():
        assert found["measure"][name][0] == pytest.approx(value, rel=1e-6, abs=1e-7), name
        assert np.isnan(found["phrase"][name]).all() and np.isnan(found["window"][name]).all()


def test_values_by_hand():
    # C4 on beat 1, G4 on the eighth after beat 2, E4 on the last sixteenth.
    found = one_window([(0, 0, 240, 60), (0, 720, 240, 67), (0, 1800, 120, 64)], Metre(4, 4))["measure"]
    assert found["arvae_rhythmic_complexity"][0] == pytest.approx((0.2 + 0.5 + 1) / 27.79, rel=1e-6)
    assert found["arvae_note_density"][0] == pytest.approx(3 / 24)
    assert found["arvae_pitch_range"][0] == pytest.approx(7 / 26)
    assert found["arvae_contour"][0] == pytest.approx(4 / 26)


def test_onsets_move_to_the_nearest_position_and_count_once_there():
    # 140 lies halfway between 120 and 160: the earlier. 1910 has nothing after it in its measure.
    moved = one_window([(0, 140, 40, 60), (0, 120, 40, 60), (0, 1910, 10, 60)], Metre(4, 4))["measure"]
    exact = one_window([(0, 120, 40, 60), (0, 1800, 10, 60)], Metre(4, 4))["measure"]
    for name in ("arvae_rhythmic_complexity", "arvae_note_density"):
        np.testing.assert_array_equal(moved[name], exact[name])


def test_values_are_0_in_silence_and_undefined_in_other_metres():
    found = one_window([(1, 0, 480, 60)], Metre(4, 4), Metre(3, 4), Metre(2, 2))["measure"]
    for name in published([None] * 24):
        assert found[name][0] == 0 and np.isnan(found[name][1:]).all()
