"""Laws of the importance-weighted bound, on a model whose likelihood is known, with posteriors that are wrong."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.models.latents import from_relative, kl_divergence, sample, standard_normal
from musicvae_jax.objectives.iwae import iwae_bound
from musicvae_jax.types import Gaussian, Latents
from tests.validation.linear_gaussian import Terms, exact, generate, likelihood, log_density, priors

C = np.array([0.7, 0.4])


# Affine in what they see: a posterior that knows something, not enough, and is too wide for any weight to be large.
KERNELS = {
    "global": 0.2 * np.array([[1.0], [-0.5]] * 3),
    "local": np.array([[0.7], [-0.35], [-1.3]]),
}
LOG_SCALE = -0.3


def infer(x, key):
    """Goes down the levels, drawing from their posteriors in the units of their priors; x is float[..., time, dim]."""
    keys = dict(zip(KERNELS, jax.random.split(key), strict=True))
    prior = {"global": standard_normal((*x.shape[:-2], 1, 1))}
    z: Latents = {}
    posterior: dict[str, Gaussian] = {}
    for level, kernel in KERNELS.items():
        seen = x.reshape(*x.shape[:-2], 1, -1)
        if level == "local":
            prior |= priors(z["global"])
            seen = jnp.concatenate([x, jnp.repeat(z["global"], x.shape[-2], -2)], -1)
        loc = seen @ kernel
        posterior[level] = from_relative(Gaussian(loc, jnp.full_like(loc, LOG_SCALE)), prior[level])
        z[level] = sample(posterior[level], keys[level])
    return Terms(
        log_density(likelihood(z, C), x),
        sum(log_density(prior[level], z[level]) for level in z),
        sum(log_density(posterior[level], z[level]) for level in z),
        {level: kl_divergence(posterior[level], prior[level]).sum((-2, -1)) for level in z},
    )


@partial(jax.jit, static_argnums=(0, 1))
def draws(num_draws, num, key):
    """x, and the terms of each draw, float[draw, batch]."""
    keys = jax.random.split(key)
    x = generate(C, num, keys[0])
    return x, infer(jnp.broadcast_to(x, (num_draws, *x.shape)), keys[1])


def bound(terms, num_draws):
    return np.asarray(iwae_bound(*(leaf[:num_draws] for leaf in terms[:3])), np.float64)


def test_one_draw_is_the_elbo():
    """With the KL in its place the mean is the same, within five standard errors."""
    _, terms = draws(1, 8192, jax.random.key(0))
    one = bound(terms, 1)
    np.testing.assert_allclose(one, (terms.log_p_x + terms.log_p_z - terms.log_q_z)[0], rtol=1e-6)
    difference = one - np.asarray(terms.log_p_x - sum(terms.kl.values()), np.float64)[0]
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(one))


def test_it_rises_with_the_draws_and_stays_a_bound():
    """In expectation, by more than five standard errors at each step (Burda et al. 2016, theorem 1)."""
    x, terms = draws(64, 4096, jax.random.key(1))
    truth = exact(C, np.asarray(x)).log_p_x
    bounds = [bound(terms, num) for num in (1, 4, 16, 64)] + [truth]
    for looser, tighter in itertools.pairwise(bounds):
        difference = tighter - looser
        assert difference.mean() > 5 * difference.std() / np.sqrt(len(truth))


def test_it_converges_to_the_likelihood():
    """Window by window: the mean weight is p(x) within five standard errors of itself."""
    num = 10_000
    x, terms = draws(num, 16, jax.random.key(2))
    truth = exact(C, np.asarray(x)).log_p_x
    weights = np.exp(np.asarray(terms.log_p_x + terms.log_p_z - terms.log_q_z, np.float64) - truth)
    error = weights.std(0) / np.sqrt(num)
    assert error.max() < 0.05
    assert (np.abs(np.exp(bound(terms, num) - truth) - 1) < 5 * error).all()


def test_it_works_far_from_one():
    """Densities of music are e^-1000 and less."""
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(3, 5, 4)).astype(np.float32)
    shifted = iwae_bound(terms[0] - 5000, *terms[1:])
    np.testing.assert_allclose(shifted + 5000, iwae_bound(*terms), atol=1e-3)
