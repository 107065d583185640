"""Laws of diagonal Gaussians: the merge of a ladder, divergences, and the units of a prior."""

from functools import partial

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from musicvae_jax.models.latents import from_relative, kl_divergence, merge, relative_to
from musicvae_jax.types import Gaussian

NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
merged = jax.jit(merge)
divergence = jax.jit(kl_divergence)


def pair(scale: float = 1.0, size: int = 6) -> tuple[Gaussian, Gaussian]:
    rng = np.random.default_rng(0)
    first, second = (Gaussian(*rng.normal(0, scale, (2, size)).astype(np.float32)) for _ in range(2))
    return first, second


def densities(gaussian: Gaussian, x: np.ndarray) -> np.ndarray:
    """float64[point, latent]."""
    loc, log_scale = (np.asarray(leaf, np.float64) for leaf in gaussian)
    return stats.norm.pdf(x[:, None], loc, np.exp(log_scale))


def test_a_merge_is_the_normalised_product_of_the_densities():
    """Against the product of the densities themselves, normalised on a grid (Sonderby et al. 2016, eq. 17-19)."""
    likelihood, prior = pair()
    x = np.linspace(-40, 40, 40_001)
    product = densities(likelihood, x) * densities(prior, x)
    product /= np.trapezoid(product, x, axis=0)
    np.testing.assert_allclose(densities(merged(likelihood, prior), x), product, rtol=1e-4, atol=1e-5)


WIDE = st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-60, 60, width=32))


@settings(max_examples=200)
@given(WIDE, WIDE)
def test_a_merge_at_any_scales(likelihood, prior):
    """Scales from e^-60 to e^60 lie outside float32, and their precisions outside its square."""
    (first, log_first), (second, log_second) = likelihood, prior
    precisions = np.exp(-2.0 * np.array([log_first, log_second]))  # in float64
    result = merged(*(Gaussian(np.float32(loc), np.float32(log_scale)) for loc, log_scale in (likelihood, prior)))
    loc = (precisions * [first, second]).sum() / precisions.sum()
    np.testing.assert_allclose(result.loc, loc, rtol=1e-5, atol=1e-6 * max(abs(first), abs(second)) + 1e-30)
    np.testing.assert_allclose(result.log_scale, -0.5 * np.log(precisions.sum()), rtol=1e-5, atol=1e-6)


def test_a_likelihood_that_says_nothing_leaves_the_prior():
    likelihood, prior = pair()
    silent = likelihood._replace(log_scale=np.full_like(likelihood.log_scale, 40))
    jax.tree.map(partial(np.testing.assert_array_equal), merged(silent, prior), prior)
    jax.tree.map(NEAR, merged(likelihood, prior), merged(prior, likelihood))


def test_kl_is_the_integral_of_its_definition():
    posterior, prior = pair(0.5)
    x = np.linspace(-60, 60, 60_001)
    q, p = densities(posterior, x), densities(prior, x)
    integrand = np.where(q > 1e-280, q * (np.log(np.maximum(q, 1e-300)) - np.log(np.maximum(p, 1e-300))), 0)
    NEAR(divergence(posterior, prior), np.trapezoid(integrand, x, axis=0))


def test_the_units_of_a_prior():
    """There and back is the identity, and no divergence depends on units."""
    posterior, prior = pair()
    residual = relative_to(posterior, prior)
    jax.tree.map(NEAR, from_relative(residual, prior), posterior)
    standard = Gaussian(np.zeros_like(prior.loc), np.zeros_like(prior.loc))
    NEAR(divergence(posterior, prior), divergence(residual, standard))
