"""Similarities of decoded music to the original, by hand."""

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.evaluation.likeness import NAMES, compare, similarities, true_attributes
from musicvae_jax.types import Batch

CODEC = MelodyCodec(subdivisions=("0", "1/2"), slots=8)


def melody(*events):
    """The notes of a measure: (slot, pitch) each."""
    tokens = np.zeros((1, 1, 8, 1), np.int32)
    for slot, pitch in events:
        tokens[0, 0, slot, 0] = pitch + 2
    return CODEC.notes(tokens, np.ones((1, 1, 8), bool), np.full((1, 1, 2), 4))


def test_similarities_are_cosines_of_histograms():
    """C C E against C G: 2 / sqrt(5 x 2); three onsets against two, one of them common: 1 / sqrt(3 x 2)."""
    true, heard = melody((0, 60), (2, 72), (4, 64)), melody((0, 60), (3, 67))
    found = similarities(true, heard, (1, 1))
    assert found["chroma"] == pytest.approx(2 / np.sqrt(5 * 2))
    assert found["rhythm"] == pytest.approx(1 / np.sqrt(3 * 2))
    for pair, measures in (((true, melody()), 1), ((melody(), heard), 0)):
        silent = similarities(*pair, (1, 1))
        assert [silent[name].item() for name in ("chroma", "rhythm", "measures")] == [0, 0, measures]


def test_attributes_are_those_of_every_draw():
    rng = np.random.default_rng(0)
    shape = (20, 4, 8)
    tokens = np.where(rng.random(shape) < 0.5, rng.integers(50, 80, shape), 0)[..., None].astype(np.int32)
    batch = Batch(tokens, np.ones(shape, bool), np.full((20, 4, 2), 4, np.int32), np.arange(20))
    silent, higher = np.zeros_like(tokens), CODEC.transpose(tokens, 2)
    pitch = NAMES.index("mean_pitch")
    true = true_attributes(batch, CODEC)["window"][..., pitch]
    found = compare([tokens, higher, silent], batch, CODEC).attributes["window"][..., pitch]
    np.testing.assert_allclose(found[:, :2], np.stack([true, true + 2], 1), rtol=1e-5)
    assert np.isnan(found[:, 2]).all()
    none = compare([silent], batch, CODEC)
    assert np.isnan(none.attributes["window"][..., pitch]).all()
    assert none.sums["found"].sum() == 0
