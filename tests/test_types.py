"""Laws of the axes that everything shares."""

import numpy as np

from musicvae_jax.models.spans import present_spans
from musicvae_jax.types import MEASURES_PER_PHRASE, num_phrases


def test_phrases_begin_every_four_measures():
    """As many as spans of four measures that hold one; of a window without a measure, one."""
    lengths = np.arange(10)
    here = np.arange(9) < lengths[:, None]
    phrases = num_phrases(np.repeat(here[..., None], 2, -1))
    np.testing.assert_array_equal(phrases, [max(len(range(0, length, 4)), 1) for length in lengths])
    np.testing.assert_array_equal(phrases[1:], present_spans(here, MEASURES_PER_PHRASE).sum(-1)[1:])
