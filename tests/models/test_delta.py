"""Laws of the delta-VAE: the KL of an AR(1) prior, and the floor that no posterior without memory gets under."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize

from musicvae_jax.models.delta import ar1_kl, ar1_sample, committed_rate
from musicvae_jax.types import Gaussian
from tests.models.variants import OF_LATENTS, WIDTHS, infer, make_features, presence
from tests.tiny import make_vae

ALPHAS = (0.05, 0.6, 0.99)
TIME = 6


def covariance(num: int, alpha: float) -> np.ndarray:
    return alpha ** np.abs(np.subtract.outer(np.arange(num), np.arange(num)))


def full_kl(loc: np.ndarray, log_scale: np.ndarray, alpha: float) -> float:
    """KL of one dim's factorised posterior from the process, by matrices, in float64."""
    num = len(loc)
    precision = np.linalg.inv(covariance(num, alpha))
    variance = np.exp(2 * log_scale)
    log_determinants = np.linalg.slogdet(covariance(num, alpha))[1] - 2 * log_scale.sum()
    return 0.5 * ((precision.diagonal() * variance).sum() + loc @ precision @ loc - num + log_determinants)


def values(bound: float):
    return hnp.arrays(np.float32, (TIME, 2), elements=st.floats(-bound, bound, width=32))


@settings(max_examples=100)
@given(values(100), values(6), st.sampled_from(ALPHAS), st.integers(1, TIME))
def test_kl_is_that_of_full_gaussians_and_over_its_floor(loc, log_scale, alpha, num):
    """For any posterior and any number of latents: those that are not there, at the end, have no say in the others."""
    kl = np.asarray(jax.jit(ar1_kl, static_argnums=1)(Gaussian(loc, log_scale), alpha), np.float64)[:num]
    loc, log_scale = loc[:num].astype(np.float64), log_scale[:num].astype(np.float64)
    for dim in range(2):
        np.testing.assert_allclose(
            kl[:, dim].sum(), full_kl(loc[:, dim], log_scale[:, dim], alpha), rtol=1e-4, atol=1e-4
        )
    assert kl.sum() >= committed_rate(num, 2, alpha) - 1e-4


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("num", [1, 2, 5])
def test_the_floor_is_the_least_that_there_is(alpha, num):
    """An optimiser that knows only matrices finds the floor, and where it is attained."""
    found = minimize(lambda free: full_kl(free[:num], free[num:], alpha), np.linspace(-1, 1, 2 * num), tol=1e-10)
    np.testing.assert_allclose(committed_rate(num, 3, alpha), 3 * found.fun, rtol=1e-5, atol=1e-6)
    noise = 1 - alpha**2
    variance = np.full(num, noise / (1 + alpha**2))
    variance[[0, -1]] = 1.0 if num == 1 else noise
    np.testing.assert_allclose(np.exp(2 * found.x[num:]), variance, rtol=1e-4)
    np.testing.assert_allclose(found.x[:num], 0, atol=1e-4)
    best = Gaussian(np.zeros((num, 3)), np.repeat(0.5 * np.log(variance), 3).reshape(num, 3))
    np.testing.assert_allclose(ar1_kl(best, alpha).sum(), committed_rate(num, 3, alpha), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_no_encoder_gets_under_the_floor(scale):
    """Whatever the parameters, the features and the length of a window: n latents cost what n latents must."""
    config = OF_LATENTS["delta"]
    metre = np.zeros((10, 5, 2), np.int32)
    lengths = np.arange(10) % 5 + 1
    metre[np.arange(5) < lengths[:, None]] = 4
    features = make_features(config, 10, 5, scale=10 * scale)
    for seed in range(3):
        vae, variables = make_vae(config, seed=seed, scale=scale)
        found = infer(vae, variables, features, metre)
        for level in ("local", "fine"):
            num = presence(config, metre)[level].sum(-1)
            floor = np.asarray(committed_rate(num, WIDTHS[level], config.delta_alpha))
            assert set(num) == set(range(1, 4 if level == "local" else 6))
            assert ((floor > 0) == (num > 1)).all()
            assert (np.asarray(found.kl[level]).sum((1, 2)) >= floor * (1 - 1e-5)).all()


def test_the_process_has_its_covariance():
    """alpha^|t - s|, within five standard errors; dims and windows are independent."""
    alpha, num = 0.7, 20_000
    drawn = np.asarray(jax.jit(partial(ar1_sample, (num, 4, 2), alpha))(jax.random.key(0)), np.float64)
    sampled = np.einsum("nti,nsj->itjs", drawn, drawn) / num
    expected = np.einsum("ij,ts->itjs", np.eye(2), covariance(4, alpha))
    # Isserlis: the variance of a product of two standard normals is 1 + covariance^2.
    assert (np.abs(sampled - expected) < 5 * np.sqrt((1 + expected**2) / num)).all()
    assert (np.abs(drawn.mean(0)) < 5 / np.sqrt(num)).all()


def test_a_level_is_drawn_from_the_process():
    """Given the levels above, what `sample_prior` draws has the prior's mean, scale and memory."""
    config, num = OF_LATENTS["delta"], 20_000
    vae, variables = make_vae(config)
    metre = np.full((num, 3, 2), 4, np.int32)
    given = {"global": np.ones((num, 1, 6), np.float32), "local": np.ones((num, 2, 4), np.float32)}
    sample = jax.jit(partial(vae.apply, method="sample_prior"))
    drawn = sample(variables, metre, given, rngs={"latent": jax.random.key(0)})["fine"]
    one = {level: value[:1] for level, value in given.items()}
    prior = infer(vae, variables, make_features(config, 1), metre[:1], given=one | {"fine": drawn[:1]}).prior["fine"]
    residual = np.asarray((drawn - prior.loc) / np.exp(prior.log_scale), np.float64)
    sampled = np.einsum("ntd,nsd->dts", residual, residual) / num
    expected = covariance(3, config.delta_alpha)
    assert (np.abs(sampled - expected) < 5 * np.sqrt((1 + expected**2) / num)).all()
    assert (np.abs(residual.mean(0)) < 5 / np.sqrt(num)).all()
