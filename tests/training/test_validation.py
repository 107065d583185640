"""The bound on held-out windows."""

import dataclasses

import jax
import numpy as np
import pytest

from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.validation import make_validator
from tests.tiny import CONFIG, make_batch, make_vae


def test_every_way_to_spread_gives_the_same_numbers_and_padding_does_not_count():
    model, variables = make_vae()
    batch = make_batch(8)
    padding = make_batch(8, seed=1)._replace(index=np.full(8, -1, np.int32))
    one = dataclasses.replace(CONFIG.train, num_devices=1)
    four = dataclasses.replace(CONFIG.train, num_devices=4)
    results = []
    for train, batches in (
        (one, [batch]),
        (four, [batch, padding]),
        (dataclasses.replace(four, parallel="pmap"), [batch]),
    ):
        parallel = make_parallel(train)
        placed = jax.device_put(variables, parallel.replicated)
        results.append(make_validator(model, parallel, seed=0)(placed, batches))
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-5)
    assert results[0]["perplexity_elbo"] > results[0]["perplexity"] > 1
