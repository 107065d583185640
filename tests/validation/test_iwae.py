"""Laws of the importance-weighted bound, on a model whose likelihood is known, with wrong posteriors."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.models.latent.bases import Normal, log_ratio
from musicvae_jax.models.latent.gaussian import from_frame, standard_normal
from musicvae_jax.objectives.loss import iwae_bound
from musicvae_jax.types import Gaussian, Latents
from tests.validation.linear_gaussian import Pass, exact, generate, likelihood, local_prior, log_density

C = np.array([0.7, 0.4])
# Posteriors are affine, informative, wrong, and too wide for any weight to be large.
KERNELS = {
    "global": 0.2 * np.array([[1.0], [-0.5]] * 3),
    "local": np.array([[0.7], [-0.35], [-1.3]]),
}
LOG_SCALE = -0.3


def infer(x, key):
    """Goes down the levels with draws from posteriors in the units of a frame; x is float[..., time, dim]."""
    z: Latents = {}
    ratio, kl = jnp.zeros(()), {}
    for (level, kernel), noise_key in zip(KERNELS.items(), jax.random.split(key), strict=True):
        if level == "global":
            frame, seen = standard_normal((*x.shape[:-2], 1, 1)), x.reshape(*x.shape[:-2], 1, -1)
        else:
            frame = local_prior(z["global"])
            seen = jnp.concatenate([x, jnp.repeat(z["global"], x.shape[-2], -2)], -1)
        q = Gaussian(seen @ kernel, jnp.full((*seen.shape[:-1], 1), LOG_SCALE))
        e = from_frame(jax.random.normal(noise_key, q.loc.shape), q)
        z[level] = from_frame(e, frame)
        ratio += log_ratio(Normal(), q, e, None).sum(-1)
        kl[level] = Normal().kl(q, None).total.sum(-1)
    return Pass(log_density(likelihood(z, C), x), ratio, kl)


@partial(jax.jit, static_argnums=(0, 1))
def draws(num_draws, num, key):
    """x, and a pass for each draw: float[draw, batch]."""
    keys = jax.random.split(key)
    x = generate(C, num, keys[0])
    return x, infer(jnp.broadcast_to(x, (num_draws, *x.shape)), keys[1])


def bound(found, num_draws):
    return np.asarray(iwae_bound(found.log_p_x[:num_draws], found.log_ratio[:num_draws]), np.float64)


def test_one_draw_is_the_elbo():
    """With the exact KL in place of its draw, the mean is the same within five standard errors."""
    _, found = draws(1, 8192, jax.random.key(0))
    one = bound(found, 1)
    np.testing.assert_allclose(one, (found.log_p_x - found.log_ratio)[0], rtol=1e-6)
    difference = one - np.asarray(found.log_p_x - sum(found.kl.values()), np.float64)[0]
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(one))


def test_it_rises_with_the_number_of_draws_and_stays_a_bound():
    """In expectation, by more than five standard errors at each step (Burda et al. 2016, theorem 1)."""
    x, found = draws(64, 4096, jax.random.key(1))
    truth = exact(C, np.asarray(x)).log_p_x
    bounds = [bound(found, num) for num in (1, 4, 16, 64)] + [truth]
    for looser, tighter in itertools.pairwise(bounds):
        difference = tighter - looser
        assert difference.mean() > 5 * difference.std() / np.sqrt(len(truth))


def test_it_converges_to_the_likelihood():
    """The mean weight of every window is p(x), within five standard errors; the same far from 1.

    Densities of music are e^-1000 and less.
    """
    num = 10_000
    x, found = draws(num, 16, jax.random.key(2))
    truth = exact(C, np.asarray(x)).log_p_x
    weights = np.exp(np.asarray(found.log_p_x - found.log_ratio, np.float64) - truth)
    error = weights.std(0) / np.sqrt(num)
    assert error.max() < 0.05
    assert (np.abs(np.exp(bound(found, num) - truth) - 1) < 5 * error).all()
    shifted = iwae_bound(found.log_p_x - 5000, found.log_ratio)
    np.testing.assert_allclose(shifted + 5000, bound(found, num), atol=2e-3)
