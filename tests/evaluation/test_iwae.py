"""The importance-weighted bound of a model: its density ratio against SciPy, and what draws do to it."""

from operator import itemgetter

import jax
import numpy as np
import pytest
from scipy import stats

from musicvae_jax.evaluation.reconstruction import make_iwae
from musicvae_jax.objectives.loss import elbo_terms
from tests.models.variants import OF_LATENTS, apply, infer, make_features, presence
from tests.tiny import make_batch, make_vae

NUM = 50


def log_prior(level, z, frame):
    """log p(z | above) of the latents of a window: float64[window]."""
    scale = np.exp(frame.log_scale)
    if level.base == "normal":
        return stats.norm.logpdf(z, frame.loc, scale).sum((1, 2))
    steps = np.arange(z.shape[1])
    process = stats.multivariate_normal(cov=level.alpha ** np.abs(steps[:, None] - steps))
    e = (z - frame.loc) / scale
    return sum(process.logpdf(e[..., dim]) for dim in range(z.shape[2])) - frame.log_scale.sum((1, 2))


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "ar1, batch norm", "draw"])
def test_log_ratio_is_log_q_minus_log_p(name):
    """In the units of z, over the latents that the window has: it lacks the last measure."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * NUM)
    features = jax.tree.map(lambda leaf: np.repeat(leaf, NUM, 0), make_features(config, 1, scale=0.5))
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), infer(vae, variables, features, metre))
    for level, present in presence(config, metre).items():
        parts = (found.latents[level], found.frame[level], found.residual[level])
        z, frame, residual = jax.tree.map(itemgetter(np.s_[:, : present[0].sum()]), parts)
        scale = np.exp(frame.log_scale)
        log_q = stats.norm.logpdf(z, frame.loc + scale * residual.loc, scale * np.exp(residual.log_scale)).sum((1, 2))
        expected = log_q - log_prior(config.levels[level], z, frame)
        np.testing.assert_allclose(found.log_ratio[level].sum(1), expected, rtol=1e-4, atol=1e-4)
        assert (found.log_ratio[level][~present] == 0).all()


def test_draws_tighten_the_bound():
    """One draw is the ELBO but for its noise; 16 draws are above it by more than that noise."""
    vae, variables = make_vae(OF_LATENTS["global+local+fine"])
    batch = make_batch(64)
    bound = make_iwae(vae, 0)
    one, many = (np.asarray(bound(variables, batch, num_draws), np.float64) for num_draws in (1, 16))
    terms = elbo_terms(apply(vae, variables, batch), batch)
    elbo = -np.asarray(terms.nll + sum(terms.kl.values()), np.float64)
    noise = 5 * (one - elbo).std() / np.sqrt(64)
    assert abs((one - elbo).mean()) < noise
    assert (many - elbo).mean() > noise
