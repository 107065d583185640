"""Laws of the importance-weighted bound, on a model whose likelihood is known, with posteriors that are wrong."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.objectives.iwae import iwae_bound
from tests.validation.linear_gaussian import exact, generate, infer, initial_encoder

C = np.array([0.7, 0.4])


@pytest.fixture(scope="module")
def half_trained():
    """A posterior that knows something, not enough, and is too wide for any weight to be large."""
    encoder = initial_encoder("bottom_up")
    encoder["global"]["kernel"] += 0.2 * jnp.array([[1.0], [-0.5]] * 3)
    encoder["local"]["kernel"] += jnp.array([[0.7], [-0.35], [-1.3]])
    return {level: part | {"log_scale": part["log_scale"] - 0.3} for level, part in encoder.items()}


@partial(jax.jit, static_argnums=(1, 2))
def draws(encoder, num_draws, num, key):
    """x, and the terms of each draw, float[draw, batch]."""
    keys = jax.random.split(key)
    x = generate(C, num, keys[0])
    return x, infer(encoder, "bottom_up", C, jnp.broadcast_to(x, (num_draws, *x.shape)), keys[1])


def bound(terms, num_draws):
    return np.asarray(iwae_bound(*(leaf[:num_draws] for leaf in terms[:3])), np.float64)


def test_one_draw_is_the_elbo(half_trained):
    """With the KL in its place the mean is the same, within five standard errors."""
    _, terms = draws(half_trained, 1, 8192, jax.random.key(0))
    one = bound(terms, 1)
    np.testing.assert_allclose(one, (terms.log_p_x + terms.log_p_z - terms.log_q_z)[0], rtol=1e-6)
    difference = one - np.asarray(terms.log_p_x - sum(terms.kl.values()), np.float64)[0]
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(one))


def test_it_rises_with_the_draws_and_stays_a_bound(half_trained):
    """In expectation, by more than five standard errors at each step (Burda et al. 2016, theorem 1)."""
    x, terms = draws(half_trained, 64, 4096, jax.random.key(1))
    truth = exact(C, np.asarray(x)).log_p_x
    bounds = [bound(terms, num) for num in (1, 4, 16, 64)] + [truth]
    for looser, tighter in itertools.pairwise(bounds):
        difference = tighter - looser
        assert difference.mean() > 5 * difference.std() / np.sqrt(len(truth))


def test_it_converges_to_the_likelihood(half_trained):
    """Window by window: the mean weight is p(x) within five standard errors of itself."""
    num = 10_000
    x, terms = draws(half_trained, num, 16, jax.random.key(2))
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
