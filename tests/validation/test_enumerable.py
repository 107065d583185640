"""ELBO <= log p(x) where both are known: there are nine pieces of music, and a quadrature integrates over latents."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from musicvae_jax.models.latent import stack
from musicvae_jax.objectives.loss import elbo_terms, objective, token_nll
from musicvae_jax.objectives.rates import Weights
from musicvae_jax.types import LEVELS, Batch, Field
from tests.models.variants import SUBSETS, THREE, each, off
from tests.tiny import SLOTS, make_vae, replace

ONES = replace(THREE, **each(LEVELS, dim=1))
TWO = replace(ONES, **off(("fine",)))
MODELS = {
    "one level": replace(ONES, **off(("local", "fine"))),
    "two levels": TWO,
    "two levels, ladder": replace(TWO, model={"inference": "ladder"}),
    "two latents with memory": replace(SUBSETS["fine"], fine={"dim": 1, "base": "ar1"}),
    "three levels, causal prior, batch norm": replace(
        ONES, fine={"prior_context": "causal"}, **{"global": {"batch_norm": 0.6}}
    ),
}
WINDOWS = np.array(list(itertools.product(range(3), range(3))))  # one token in each of two measures
NUM_NODES = {1: 32, 2: 32, 4: 8}  # along each latent, by their number


@partial(jax.jit, static_argnums=(0, 1))
def integrands(config, vae, variables, batch, noise):
    """At every node: nll under the prior; under the posterior the objective, the terms of the ELBO, and log_ratio."""

    def call(*args, **settings):
        parts = (noise[level] for level in config.levels.on)  # in the order in which the levels draw
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack, "draw_noise", lambda _, shape, __: next(parts).reshape(shape))
            return vae.apply(variables, *args, rngs={"latent": jax.random.key(0)}, **settings)

    logits = vae.apply(variables, call(batch.metre, method="sample_prior"), batch, method="decode")
    output = call(batch)
    ones = dict.fromkeys(config.levels.on, 1.0)
    terms = objective(config, output, batch, Weights(ones, ones)).per_example
    ratio = sum(value.sum(-1) for value in output.log_ratio.values())
    return token_nll(logits, batch).sum((1, 2, 3)), sum(terms.values()), elbo_terms(output, batch), ratio


def quadrature(config):
    """Gauss-Hermite nodes of standard normal noise for every scalar latent: level -> [point, time, 1], and weights."""
    sizes = {name: level.num_latents(2) for name, level in config.levels.on.items()}
    number = sum(sizes.values())
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES[number])
    points = np.array(list(itertools.product(nodes, repeat=number)), np.float32)
    total = np.prod(list(itertools.product(weights / weights.sum(), repeat=number)), -1)
    splits = np.split(points, np.cumsum(list(sizes.values()))[:-1], 1)
    return {level: part[..., None] for level, part in zip(sizes, splits, strict=True)}, total


@pytest.mark.parametrize("name", MODELS)
def test_the_elbo_is_a_lower_bound(name):
    """The objective under weights of 1 is -ELBO; the mean of the log ratio is the KL."""
    vae, variables = make_vae(MODELS[name], (Field("melody", 3),), scale=0.6)
    noise, weights = quadrature(MODELS[name])
    size = len(WINDOWS) * len(weights)
    tokens = np.zeros((size, 2, SLOTS, 1), np.int32)
    tokens[:, :, 0, 0] = np.repeat(WINDOWS, len(weights), 0)
    mask = np.broadcast_to(np.arange(SLOTS) == 0, (size, 2, SLOTS))
    batch = Batch(tokens, mask, np.full((size, 2, 2), 4, np.int32), np.arange(size))

    noise = {level: np.tile(part, (len(WINDOWS), 1, 1)) for level, part in noise.items()}
    found = integrands(MODELS[name], vae, variables, batch, noise)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).reshape(len(WINDOWS), -1) @ weights, found[1:])
    loss, terms, ratio = wide
    log_p = logsumexp(-np.asarray(found[0], np.float64).reshape(len(WINDOWS), -1), axis=1, b=weights)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)  # a distribution over the nine pieces
    assert np.ptp(log_p) > 0.1  # which differ
    np.testing.assert_allclose(sum(terms.kl.values()), ratio, rtol=1e-4)
    np.testing.assert_allclose(loss, terms.nll + sum(terms.kl.values()), rtol=1e-6)
    assert (log_p + loss > 0.01).all()  # far above the error of the quadrature
