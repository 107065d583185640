"""ELBO <= log p(x), where both are known: nine pieces of music in all, and latents that a quadrature integrates out."""

import dataclasses
import itertools
from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.types import Batch, Field
from tests.models.variants import THREE
from tests.tiny import SLOTS, make_vae

ONE = dataclasses.replace(THREE, global_dim=1, local_dim=0, fine_dim=0)
TWO = dataclasses.replace(ONE, local_dim=1)
MODELS = {
    "one level": ONE,
    "two levels": TWO,
    "two levels, ladder": dataclasses.replace(TWO, inference="ladder"),
    "two latents with memory": dataclasses.replace(ONE, global_dim=0, fine_dim=1, delta_levels=("fine",)),
}
WINDOWS = np.array(list(itertools.product(range(3), range(3))))  # one token in each of two measures
NUM_NODES = 32


@partial(jax.jit, static_argnums=0)
def forward(vae, variables, batch, given):
    output = vae.apply(variables, batch, given=given, rngs={"latent": jax.random.key(0)})
    return output.prior, output.posterior, elbo_terms(output, batch)


def quadrature(config):
    """Gauss-Hermite nodes of standard normal noise for every scalar latent: level -> [point, time, 1], and weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    sizes = {level: config.num_latents(level, 2) for level in config.widths}
    number = sum(sizes.values())
    points = np.array(list(itertools.product(nodes, repeat=number)))
    total = np.prod(list(itertools.product(weights / weights.sum(), repeat=number)), -1)
    splits = np.split(points, np.cumsum(list(sizes.values()))[:-1], 1)
    return {level: part[..., None] for level, part in zip(sizes, splits, strict=True)}, total


def integrate(vae, variables, batch, noise, which):
    """The terms of every window at every node, with latents from the priors (0) or the posteriors (1)."""
    config = vae.config
    given = {level: np.zeros((len(batch.index), *part.shape[1:]), np.float32) for level, part in noise.items()}
    for level in config.widths:
        gaussian = forward(vae, variables, batch, given)[which][level]
        drawn = noise[level]
        if level in config.delta_levels and which == 0:  # two latents of correlation alpha
            alpha = config.delta_alpha
            drawn = np.stack([drawn[:, 0], alpha * drawn[:, 0] + np.sqrt(1 - alpha**2) * drawn[:, 1]], 1)
        drawn = np.tile(drawn, (len(WINDOWS), 1, 1))
        given[level] = np.asarray(gaussian.loc + np.exp(gaussian.log_scale) * drawn, np.float32)
    terms = forward(vae, variables, batch, given)[2]
    shape = (len(WINDOWS), -1)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).reshape(shape), terms)


@pytest.mark.parametrize("name", MODELS)
def test_elbo_is_a_lower_bound(name):
    vae, variables = make_vae(MODELS[name], (Field("melody", 3),), scale=0.6)
    noise, weights = quadrature(vae.config)
    size = len(WINDOWS) * len(weights)
    tokens = np.zeros((size, 2, SLOTS, 1), np.int32)
    tokens[:, :, 0, 0] = np.repeat(WINDOWS, len(weights), 0)
    mask = np.broadcast_to(np.arange(SLOTS) == 0, (size, 2, SLOTS))
    batch = Batch(tokens, mask, np.full((size, 2, 2), 4, np.int32), np.arange(size))

    log_p = logsumexp(-integrate(vae, variables, batch, noise, 0).nll, axis=1, b=weights)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)  # it is a distribution over the nine pieces
    terms = integrate(vae, variables, batch, noise, 1)
    elbo = -(terms.nll + sum(terms.kl.values())) @ weights
    gap = log_p - elbo
    assert (gap > 0.01).all()  # far above what the quadrature leaves
    assert np.ptp(log_p) > 0.1  # the pieces differ
