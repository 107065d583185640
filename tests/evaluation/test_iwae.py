"""The densities that the importance-weighted bound is made of, on priors of every kind."""

import jax
import numpy as np
import pytest
from scipy import stats

from musicvae_jax.evaluation.iwae import log_densities, make_iwae
from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.types import VAEOutput
from tests.models.test_kl import NUM, log_prior
from tests.models.variants import OF_LATENTS, apply, infer, make_features, presence
from tests.tiny import make_batch, make_vae


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "delta, batch norm"])
def test_densities_are_those_of_scipy(name):
    """Window by window, over the latents that are there: the last measure is not. The KL has a test of its own."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * NUM)
    features = jax.tree.map(lambda leaf: np.repeat(leaf, NUM, 0), make_features(config, 1, scale=0.5))
    found = infer(vae, variables, features, metre)
    log_p, log_q = log_densities(
        VAEOutput((), found.posterior, found.latents, found.kl, found.prior, {}, {}, {}), metre, config
    )
    expected_p, expected_q = np.zeros((2, NUM))
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)
    for level, present in presence(config, metre).items():
        there = slice(0, present[0].sum())
        parts = (exact.latents[level], exact.prior[level], exact.posterior[level])
        z, prior, posterior = jax.tree.map(lambda leaf, there=there: leaf[:, there], parts)
        expected_p += log_prior(config, level, z, prior)
        expected_q += stats.norm.logpdf(z, posterior.loc, np.exp(posterior.log_scale)).sum((1, 2))
    np.testing.assert_allclose(log_p, expected_p, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_q, expected_q, rtol=1e-4, atol=1e-4)


def test_draws_tighten_the_bound_of_a_model():
    """One draw is the ELBO but for its noise; 16 of them are above it by more than that noise, window by window."""
    vae, variables = make_vae(OF_LATENTS["global+local+fine"])
    batch = make_batch(64)
    bound = make_iwae(vae, 0)
    one, many = (np.asarray(bound(variables, batch, num_draws), np.float64) for num_draws in (1, 16))
    terms = elbo_terms(apply(vae, variables, batch), batch)
    elbo = -np.asarray(terms.nll + sum(terms.kl.values()), np.float64)
    noise = 5 * (one - elbo).std() / np.sqrt(64)
    assert abs((one - elbo).mean()) < noise
    assert (many - elbo).mean() > noise
