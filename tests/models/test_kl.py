"""The KL that the model reports is the one that Monte Carlo finds, with latents from the posterior."""

import jax
import numpy as np
import pytest
from scipy import stats

from tests.models.test_delta import covariance
from tests.models.variants import OF_LATENTS, infer, make_features, presence
from tests.tiny import make_vae

NUM = 2000


def log_prior(config, level, z, prior):
    """log p(z | above) of a level's latents: float64[draw]."""
    if level not in config.delta_levels:
        return stats.norm.logpdf(z, prior.loc, np.exp(prior.log_scale)).sum((1, 2))
    residual = (z - prior.loc) * np.exp(-prior.log_scale)
    process = stats.multivariate_normal(cov=covariance(z.shape[1], config.delta_alpha))
    return sum(process.logpdf(residual[..., dim]) for dim in range(z.shape[2])) - prior.log_scale.sum((1, 2))


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "delta, batch norm"])
def test_kl_is_the_mean_of_log_q_over_p(name):
    """Per level, within five standard errors: draws of the level and of those above it, of which the KL is a mean.

    The difference of the two has mean 0 whatever the KL does, so that its own spread is the error.
    """
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * NUM)  # the last measure is not there, nor are its latents
    features = jax.tree.map(lambda leaf: np.repeat(leaf, NUM, 0), make_features(config, 1, scale=0.5))
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), infer(vae, variables, features, metre))
    for level, present in presence(config, metre).items():
        there = slice(0, present[0].sum())
        z, prior, posterior = jax.tree.map(
            lambda leaf, there=there: leaf[:, there],
            (found.latents[level], found.prior[level], found.posterior[level]),
        )
        log_q = stats.norm.logpdf(z, posterior.loc, np.exp(posterior.log_scale)).sum((1, 2))
        difference = log_q - log_prior(config, level, z, prior) - found.kl[level].sum((1, 2))
        assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(NUM)
        assert found.kl[level].sum((1, 2)).mean() > 10 * difference.std() / np.sqrt(NUM)  # the test has power
