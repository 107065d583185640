"""The densities that the importance-weighted bound is made of, on priors of every kind."""

import jax
import numpy as np
import pytest

from musicvae_jax.evaluation.iwae import log_densities, make_iwae
from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.types import VAEOutput
from tests.models.variants import OF_LATENTS, apply, infer, make_features
from tests.tiny import make_batch, make_vae

NUM = 2000


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "delta, batch norm"])
def test_the_kl_is_the_mean_of_log_q_over_p(name):
    """Within five standard errors. The last measure is not there, nor are its latents."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * NUM)
    features = jax.tree.map(lambda leaf: np.repeat(leaf, NUM, 0), make_features(config, 1, scale=0.5))
    found = infer(vae, variables, features, metre)
    output = VAEOutput((), found.posterior, found.latents, found.kl, found.prior, {}, {}, {})
    log_p, log_q = (np.asarray(part, np.float64) for part in log_densities(output, metre, config))
    kl = np.sum([np.asarray(part, np.float64).sum((1, 2)) for part in found.kl.values()], 0)
    difference = log_q - log_p - kl
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(NUM)
    assert kl.mean() > 10 * difference.std() / np.sqrt(NUM)  # the test has power


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
