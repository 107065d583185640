"""Features of windows by hand, and areas of densities that are known."""

import numpy as np
import pytest
from scipy import stats

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.evaluation.coherence import coherence_features, groove_similarity, overlapping_area, phrase_similarity
from musicvae_jax.evaluation.likeness import NAMES

CODEC = MelodyCodec(slots=16)


def window(*measures):
    """Tokens and metre of one window; a measure is a list of (slot, pitch), in 4/4, or None for padding."""
    tokens, metre = np.zeros((1, len(measures), 16, 1), np.int32), np.zeros((1, len(measures), 2), np.int32)
    for number, events in enumerate(measures):
        if events is not None:
            metre[0, number] = 4
            for slot, pitch in events:
                tokens[0, number, slot, 0] = pitch + 2
    return tokens, metre


def similarity(function, *measures):
    tokens, metre = window(*measures)
    return function(CODEC.notes(tokens, CODEC.slot_mask(metre), metre), metre).item()


A, B, C = [(0, 60), (4, 62)], [(0, 72), (4, 50)], [(0, 60), (2, 62), (4, 64)]


def test_groove_similarity_is_of_onsets_in_pairs_of_measures():
    """A and B start notes together; C has one more of 16 sixteenths; rests have no onset."""
    assert similarity(groove_similarity, A, B) == 1
    assert similarity(groove_similarity, A, B, C) == pytest.approx((1 + 2 * 15 / 16) / 3)
    assert similarity(groove_similarity, A, None) != similarity(groove_similarity, A, None)  # NaN
    tokens, metre = window(A, A, C)
    metre[0, 1] = (3, 4)  # no pair with 4/4
    tokens[0, 1, 12:] = 0
    notes = CODEC.notes(tokens, CODEC.slot_mask(metre), metre)
    assert groove_similarity(notes, metre) == pytest.approx(15 / 16)


def test_phrase_similarity_is_of_notes_in_pairs_of_phrases():
    phrase, other = [A, B, C, A], [A, B, C, B]
    assert similarity(phrase_similarity, *phrase, *phrase) == 1
    assert similarity(phrase_similarity, *phrase, *other) == pytest.approx(2 * 7 / 18)
    assert similarity(phrase_similarity, *phrase, *phrase, *other) == pytest.approx((1 + 2 * 2 * 7 / 18) / 3)
    for fewer in ((*phrase,), (*phrase, A, B, C, None), (*phrase, A, B), ([],) * 8):
        assert np.isnan(similarity(phrase_similarity, *fewer))


def test_features_are_the_attributes_and_both_similarities():
    tokens, metre = window(*[A, B, C, A] * 2)
    found = coherence_features(tokens, metre, CODEC)
    expected = {*NAMES, "groove_similarity", "phrase_similarity"} - {
        "mean_velocity", "velocity_spread", "crescendo_slope",
    }  # fmt: skip
    assert set(found) == expected and found["phrase_similarity"] == 1
    notes = [pitch for _, pitch in (A + B + C + A) * 2]
    assert found["mean_pitch"] == pytest.approx(np.mean(notes)) and found["pitch_range"] == max(notes) - min(notes)
    assert found["note_density"] == pytest.approx(len(notes) / 32)


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
def test_the_area_of_two_normals_is_known(apart):
    """2 Phi(-apart / 2): quantiles in place of draws, and kernels that widen both alike."""
    quantiles = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    widened = np.sqrt(1 + 2000**-0.4)
    expected = 2 * stats.norm.cdf(-apart / 2 / widened)
    assert overlapping_area(quantiles, quantiles + apart) == pytest.approx(expected, abs=2e-3)


def test_the_area_does_not_depend_on_units_or_order():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, 300), rng.gamma(2, 1, 200)
    area = overlapping_area(x, y)
    assert 0.1 < area < 0.9
    assert overlapping_area(y, x) == pytest.approx(area, rel=1e-9)
    assert overlapping_area(5 - 100 * x, 5 - 100 * y) == pytest.approx(area, rel=1e-6)
    assert overlapping_area(x, x) == pytest.approx(1)
    assert overlapping_area(np.append(x, np.nan), y) == area


def test_constants():
    same, other = np.full(5, 3.0), np.full(7, 4.0)
    assert overlapping_area(same, same) == 1 and overlapping_area(same, other) < 1e-3
    assert overlapping_area(same, np.linspace(-10, 10, 400)) < 0.1
    assert overlapping_area(np.linspace(0, 1, 50), 9 + np.linspace(0, 1, 50)) < 1e-3
    assert np.isnan(overlapping_area(same, np.full(3, np.nan))) and np.isnan(overlapping_area(np.zeros(0), same))
