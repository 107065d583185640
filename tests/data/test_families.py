"""Which windows are of the same music."""

import dataclasses

import numpy as np
from musicvae_jax.data.families import Families

from musicvae_jax.codec import VoicesCodec
from musicvae_jax.codec.score import PITCH, TRACK
from musicvae_jax.data.windows import WindowSource
from tests.data.melodies import random_melody

MEASURES = 4


def changed(score, column, by):
    notes = score.notes.copy()
    notes[:, column] += by
    return dataclasses.replace(score, notes=notes)


def test_a_transposed_version_is_of_the_family_and_nothing_else_is():
    """Two windows a piece; the third piece is the first one in another key, the last two have no first track."""
    one, other, third = (random_melody(seed, 8) for seed in range(3))
    version, silent = changed(one, PITCH, 3), changed(third, TRACK, 1)
    source = WindowSource([one, other, version, silent, silent], VoicesCodec(), MEASURES, MEASURES)
    assert len(source) == 10
    families = Families(source)
    np.testing.assert_array_equal(families(np.arange(10)), [0, 0, 1, 1, 0, 0, 3, 3, 4, 4])
    np.testing.assert_array_equal(families(np.array([4, 2, 9, -1])), [0, 1, 4, 0])  # of what is given
    np.testing.assert_array_equal(families(np.array([4, 2])), [2, 1])
