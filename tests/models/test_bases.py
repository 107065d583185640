"""Laws of all bases: the density, the draws, the KL in closed form and by draws, and its floor."""

import dataclasses
from functools import partial

import distrax
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.optimize import minimize

from musicvae_jax.config import LevelConfig
from musicvae_jax.models.latent.bases import AR1, Base, Normal, committed_rate, log_ratio
from musicvae_jax.models.latent.gaussian import from_frame, gaussian_from_frame
from musicvae_jax.types import Gaussian
from tests.models.variants import OF_LATENTS, covariance, infer, make_features, presence
from tests.tiny import make_vae

LEVELS = {
    "normal": LevelConfig(dim=2),
    **{f"ar1, {alpha}": LevelConfig(dim=2, base="ar1", alpha=alpha) for alpha in (0.05, 0.6, 0.99)},
}
all_bases = pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
TIME = 6
NUM = 20_000
Q = Gaussian(*np.random.default_rng(0).normal(0, 0.5, (2, TIME, 2)).astype(np.float32))


def make_base(level: LevelConfig) -> Base:
    return AR1(level.alpha) if level.base == "ar1" else Normal()


def matrix_kl(loc: np.ndarray, log_scale: np.ndarray, mean: np.ndarray, prior: np.ndarray) -> float:
    """KL(N(loc, scale^2) || N(mean, prior)) of one dim along time by matrices, in float64."""
    precision, distance = np.linalg.inv(prior), loc - mean
    log_determinants = np.linalg.slogdet(prior)[1] - 2 * log_scale.sum()
    trace = (precision.diagonal() * np.exp(2 * log_scale)).sum()
    return 0.5 * (trace + distance @ precision @ distance - len(loc) + log_determinants)


def within_five_errors(values: np.ndarray, expected: np.ndarray) -> None:
    """Means over the first axis are as expected, within five standard errors."""
    error = values.std(0) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - expected) < 5 * error).all()


@partial(jax.jit, static_argnums=0)
def closed_kl(level, q):
    return make_base(level).kl(q, None)


@partial(jax.jit, static_argnums=0)
def draws(level, q, key):
    """Draws of a base, float[draw, time, dim], and the log ratio of draws of q, float[draw, time]."""
    own, posterior = jax.random.normal(key, (2, NUM, *q.loc.shape))
    base = make_base(level)
    return base.sample(own, None, 1.0), log_ratio(base, q, from_frame(posterior, q), None)


@all_bases
def test_log_prob_is_the_density_of_every_prefix(level):
    """The latents that a window lacks are at the end, so the first n must have the density of n latents."""
    e = np.random.default_rng(0).normal(0, 2, (9, TIME, 2)).astype(np.float32)
    found = make_base(level).log_prob(e, None).cumsum(-1)
    for num in range(1, TIME + 1):
        process = stats.multivariate_normal(cov=covariance(level, num))
        expected = sum(process.logpdf(e[:, :num, dim].astype(np.float64)) for dim in range(2))
        np.testing.assert_allclose(found[:, num - 1], expected, rtol=1e-4, atol=1e-4)


@all_bases
def test_draws_have_the_covariance_of_the_base(level):
    """Along time; dims are independent. The temperature multiplies a draw."""
    drawn = np.asarray(draws(level, Q, jax.random.key(0))[0], np.float64)
    products = np.einsum("nti,nsj->nitjs", drawn, drawn)
    within_five_errors(products, np.einsum("ij,ts->itjs", np.eye(2), covariance(level, TIME)))
    within_five_errors(drawn, np.zeros((TIME, 2)))
    noise = np.random.default_rng(0).normal(size=(3, TIME, 2)).astype(np.float32)
    sample = partial(make_base(level).sample, noise, None)
    np.testing.assert_allclose(sample(0.5), 0.5 * sample(1.0), rtol=1e-5, atol=1e-6)


@all_bases
def test_the_kl_is_the_mean_of_the_log_ratio_of_draws(level):
    """Of every latent, within five standard errors: the estimate of ``kl_estimate="draw"`` is unbiased."""
    ratio = np.asarray(draws(level, Q, jax.random.key(1))[1], np.float64)
    kl = make_base(level).kl(Q, None)
    within_five_errors(ratio, np.asarray(kl.total))
    assert (kl.total > 20 * ratio.std(0) / np.sqrt(NUM)).sum() >= TIME / 2  # the test has power
    if level.base == "normal":
        standard = distrax.MultivariateNormalDiag(np.zeros(2), np.ones(2))
        closed = distrax.MultivariateNormalDiag(Q.loc, np.exp(Q.log_scale)).kl_divergence(standard)
        np.testing.assert_allclose(kl.total, closed, rtol=1e-5)


def arrays(bound: float):
    return hnp.arrays(np.float32, (TIME, 2), elements=st.floats(-bound, bound, width=32))


@all_bases
@settings(max_examples=50)
@given(arrays(100), arrays(6), arrays(3), arrays(3), st.integers(1, TIME))
def test_the_kl_is_that_of_full_gaussians_in_any_frame_and_above_its_floor(
    level, loc, log_scale, mean, frame_scale, num
):
    """An affine map z = loc + scale * e changes no KL; latents at the end have no say in those before them."""
    q, frame = Gaussian(loc, log_scale), Gaussian(mean, frame_scale)
    kl = closed_kl(level, q)
    wide = lambda gaussian: (np.asarray(leaf, np.float64)[:num] for leaf in gaussian)  # noqa: E731
    z_loc, z_scale = wide(gaussian_from_frame(Gaussian(*wide(q)), Gaussian(*wide(frame))))
    for dim in range(2):
        scale = np.exp(frame_scale[:num, dim].astype(np.float64))
        prior = scale[:, None] * covariance(level, num) * scale
        expected = matrix_kl(z_loc[:, dim], z_scale[:, dim], mean[:num, dim].astype(np.float64), prior)
        np.testing.assert_allclose(kl.per_dim[:num, dim].sum(dtype=float), expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(kl.total, kl.per_dim.sum(-1), rtol=1e-5, atol=1e-6)
    assert kl.total[:num].sum() >= committed_rate(level, num) - 1e-4


@all_bases
@pytest.mark.parametrize("num", [1, 2, 5])
def test_the_committed_rate_is_the_smallest_kl(level, num):
    """An optimiser that knows only matrices finds it, and the base's own KL attains it there."""
    base, prior = make_base(level), covariance(level, num)
    found = minimize(
        lambda free: matrix_kl(free[:num], free[num:], np.zeros(num), prior), np.linspace(-1, 1, 2 * num), tol=1e-10
    )
    floor = committed_rate(dataclasses.replace(level, dim=3), num)
    np.testing.assert_allclose(floor, 3 * found.fun, rtol=1e-5, atol=1e-6)
    best = Gaussian(*np.repeat(found.x.reshape(2, num, 1), 3, -1))
    np.testing.assert_allclose(base.kl(best, None).total.sum(), floor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_no_encoder_gets_below_the_committed_rate(scale):
    """Whatever the parameters, the features and the number of measures in a window."""
    config = OF_LATENTS["ar1"]
    metre = np.zeros((10, 5, 2), np.int32)
    metre[np.arange(5) < np.arange(10)[:, None] % 5 + 1] = 4
    features = make_features(config, 10, 5, scale=10 * scale)
    for seed in range(3):
        vae, variables = make_vae(config, seed=seed, scale=scale)
        found = infer(vae, variables, features, metre)
        for name in ("local", "fine"):
            level = config.levels[name]
            num = presence(config, metre)[name].sum(-1)
            floor = np.array([committed_rate(level, int(latents)) for latents in num])
            assert set(num) == set(range(1, 4 if name == "local" else 6))
            assert ((floor > 0) == (num > 1)).all()
            assert (np.asarray(found.kl[name].total).sum(-1) >= floor * (1 - 1e-5)).all()


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "ar1, batch norm"])
def test_the_kl_of_a_model_is_the_mean_of_log_q_over_p(name):
    """log_ratio is log q(z | x) - log p(z | above) of the draw, by scipy; its mean is the KL, within five errors.

    The difference of the two has mean 0 under any draws of the levels above, so its own deviation is the error.
    """
    config, num = OF_LATENTS[name], 2000
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * num)  # the last measure, and its latents, are absent
    features = jax.tree.map(lambda leaf: np.repeat(leaf, num, 0), make_features(config, 1, scale=0.5))
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), infer(vae, variables, features, metre))
    for level, present in presence(config, metre).items():
        there = slice(0, present[0].sum())
        e = (found.latents[level] - found.frame[level].loc)[:, there] / np.exp(found.frame[level].log_scale[:, there])
        q = Gaussian(*(leaf[:, there] for leaf in found.residual[level]))
        process = stats.multivariate_normal(cov=covariance(config.levels[level], e.shape[1]))
        log_p = sum(process.logpdf(e[..., dim]).reshape(num) for dim in range(e.shape[2]))
        ratio = stats.norm.logpdf(e, q.loc, np.exp(q.log_scale)).sum((1, 2)) - log_p
        np.testing.assert_allclose(found.log_ratio[level].sum(-1), ratio, rtol=1e-4, atol=1e-4)
        kl = found.kl[level].total.sum(-1)
        within_five_errors(ratio - kl, np.zeros(()))
        assert kl.mean() > 10 * (ratio - kl).std() / np.sqrt(num)  # the test has power
