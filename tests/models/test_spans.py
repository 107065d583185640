"""Laws of spans: of any length, also longer than the window, with a shorter one at the end."""

from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.models.spans import mean_over_spans
from tests.models.variants import SUBSETS, make_latents, presence
from tests.tiny import make_batch, make_vae, replace

MEASURES = 9


@pytest.mark.parametrize("slotwise", [False, True])
@pytest.mark.parametrize("span", [1, 2, 3, 8, 20])
def test_a_latent_knows_and_moves_the_measures_of_its_span_alone(span, slotwise):
    """Without layers across measures, in the encoder and in the decoder."""
    config = replace(SUBSETS["fine"], fine={"span": span}, model={"slotwise": slotwise, "context": "none"})
    vae, variables = make_vae(config)
    batch, latents = make_batch(4, measures=MEASURES), make_latents(config, 4, MEASURES)["fine"]
    encode, decode = (jax.jit(partial(vae.apply, variables, method=method)) for method in ("encode", "decode"))
    here, there = batch.mask.any(-1), presence(config, batch.metre)["fine"]
    assert there.shape == latents.shape[:2] == (4, -(-MEASURES // span))
    posterior, logits = encode(batch)["fine"], decode({"fine": latents}, batch)
    for measure in range(MEASURES):
        other = batch.tokens.copy()
        other[:, measure] = (other[:, measure] + 1) % [5, 3]
        moved = (encode(batch._replace(tokens=other))["fine"].loc != posterior.loc).any(-1)
        own = np.arange(there.shape[1]) == measure // span
        np.testing.assert_array_equal(moved[there], (own & here[:, measure, None])[there])
    for time in range(there.shape[1]):
        other = np.where(np.arange(there.shape[1])[:, None] == time, latents + 1, latents)
        moved = (decode({"fine": other}, batch)[0] != logits[0]).any((-2, -1))
        own = np.broadcast_to(np.arange(MEASURES) // span == time, here.shape)
        np.testing.assert_array_equal(moved[here], own[here])


@pytest.mark.parametrize("span", [1, 2, 3, 8, 20])
def test_a_mean_over_a_span_is_that_of_its_present_measures(span):
    rng = np.random.default_rng(0)
    x, present = rng.normal(size=(2, MEASURES, 3)).astype(np.float32), rng.random((2, MEASURES)) < 0.5
    found = mean_over_spans(x, present, span)
    for row in range(2):
        for time, start in enumerate(range(0, MEASURES, span)):
            inside = x[row, start : start + span][present[row, start : start + span]]
            expected = inside.mean(0) if len(inside) else np.zeros(3)
            np.testing.assert_allclose(found[row, time], expected, rtol=1e-5, atol=1e-6)
