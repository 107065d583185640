"""ELBO <= log p(x), where both are known: nine pieces of music in all, and latents that a quadrature integrates out."""

import dataclasses
import itertools
from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from musicvae_jax.evaluation.iwae import log_densities
from musicvae_jax.objectives.elbo import elbo_terms, token_nll
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
    "three levels, causal prior, batch norm": dataclasses.replace(
        TWO, fine_dim=1, prior_context="causal", batch_norm_levels=("global",)
    ),
}
WINDOWS = np.array(list(itertools.product(range(3), range(3))))  # one token in each of two measures
NUM_NODES = {1: 32, 2: 32, 4: 8}  # along each latent, by their number


@partial(jax.jit, static_argnums=0)
def integrands(vae, variables, batch, noise):
    """-log p(x | z) with z from the priors; with z from the posteriors the terms and log q(z) / p(z): at every node."""

    def call(*args, **settings):
        parts = (noise[level] for level in vae.config.widths)  # what the levels draw, in their order
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax.random, "normal", lambda _, shape, *__: next(parts).reshape(shape))
            return vae.apply(variables, *args, rngs={"latent": jax.random.key(0)}, **settings)

    logits = vae.apply(variables, call(batch.metre, method="sample_prior"), batch, method="decode")
    output = call(batch)
    log_p, log_q = log_densities(output, batch.metre, vae.config)
    return token_nll(logits, batch).sum((1, 2, 3)), elbo_terms(output, batch), log_q - log_p


def quadrature(config):
    """Gauss-Hermite nodes of standard normal noise for every scalar latent: level -> [point, time, 1], and weights."""
    sizes = {level: config.num_latents(level, 2) for level in config.widths}
    number = sum(sizes.values())
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES[number])
    points = np.array(list(itertools.product(nodes, repeat=number)), np.float32)
    total = np.prod(list(itertools.product(weights / weights.sum(), repeat=number)), -1)
    splits = np.split(points, np.cumsum(list(sizes.values()))[:-1], 1)
    return {level: part[..., None] for level, part in zip(sizes, splits, strict=True)}, total


@pytest.mark.parametrize("name", MODELS)
def test_elbo_is_a_lower_bound(name):
    vae, variables = make_vae(MODELS[name], (Field("melody", 3),), scale=0.6)
    noise, weights = quadrature(vae.config)
    size = len(WINDOWS) * len(weights)
    tokens = np.zeros((size, 2, SLOTS, 1), np.int32)
    tokens[:, :, 0, 0] = np.repeat(WINDOWS, len(weights), 0)
    mask = np.broadcast_to(np.arange(SLOTS) == 0, (size, 2, SLOTS))
    batch = Batch(tokens, mask, np.full((size, 2, 2), 4, np.int32), np.arange(size))

    noise = {level: np.tile(part, (len(WINDOWS), 1, 1)) for level, part in noise.items()}
    found = integrands(vae, variables, batch, noise)
    nll, terms, log_ratio = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64).reshape(len(WINDOWS), -1), found)
    log_p = logsumexp(-nll, axis=1, b=weights)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)  # it is a distribution over the nine pieces
    kl = sum(terms.kl.values()) @ weights
    np.testing.assert_allclose(kl, log_ratio @ weights, rtol=1e-4)
    elbo = -(terms.nll @ weights + kl)
    gap = log_p - elbo
    assert (gap > 0.01).all()  # far above what the quadrature leaves
    assert np.ptp(log_p) > 0.1  # the pieces differ
