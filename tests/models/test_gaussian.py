"""Laws of diagonal Gaussians: the product of a ladder, and the units of a frame."""

from functools import partial

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from musicvae_jax.models.latent.gaussian import (
    distribution,
    from_frame,
    gaussian_from_frame,
    gaussian_to_frame,
    merge,
    to_frame,
)
from musicvae_jax.types import Gaussian

NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
merged = jax.jit(merge)


def pair() -> tuple[Gaussian, Gaussian]:
    rng = np.random.default_rng(0)
    first, second = (Gaussian(*rng.normal(size=(2, 6)).astype(np.float32)) for _ in range(2))
    return first, second


def densities(gaussian: Gaussian, x: np.ndarray) -> np.ndarray:
    """float64[point, latent]."""
    loc, log_scale = (np.asarray(leaf, np.float64) for leaf in gaussian)
    return stats.norm.pdf(x[:, None], loc, np.exp(log_scale))


def test_a_merge_is_the_normalised_product_of_the_densities():
    """Against the product of the densities, normalised on a grid (Sonderby et al. 2016, eq. 17-19)."""
    likelihood, prior = pair()
    x = np.linspace(-40, 40, 40_001)
    product = densities(likelihood, x) * densities(prior, x)
    product /= np.trapezoid(product, x, axis=0)
    np.testing.assert_allclose(densities(merged(likelihood, prior), x), product, rtol=1e-4, atol=1e-5)


WIDE = st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-60, 60, width=32))


@settings(max_examples=200)
@given(WIDE, WIDE)
def test_a_merge_is_exact_at_any_scales(likelihood, prior):
    """float32 holds no scale of e^-60 squared; the expected values are computed in float64."""
    (first, log_first), (second, log_second) = likelihood, prior
    precisions = np.exp(-2.0 * np.array([log_first, log_second]))
    result = merged(*(Gaussian(np.float32(loc), np.float32(log_scale)) for loc, log_scale in (likelihood, prior)))
    loc = (precisions * [first, second]).sum() / precisions.sum()
    np.testing.assert_allclose(result.loc, loc, rtol=1e-5, atol=1e-6 * max(abs(first), abs(second)) + 1e-30)
    np.testing.assert_allclose(result.log_scale, -0.5 * np.log(precisions.sum()), rtol=1e-5, atol=1e-6)


def test_a_merge_is_symmetric_and_a_flat_likelihood_leaves_the_prior():
    likelihood, prior = pair()
    flat = likelihood._replace(log_scale=np.full_like(likelihood.log_scale, 40))
    jax.tree.map(np.testing.assert_array_equal, merged(flat, prior), prior)
    jax.tree.map(NEAR, merged(likelihood, prior), merged(prior, likelihood))


def test_a_frame_is_an_affine_map_of_values_and_of_gaussians():
    """to_frame inverts from_frame; log q(z) = log q(e) - log scale."""
    residual, frame = pair()
    e = np.linspace(-2, 2, 6, dtype=np.float32)
    z, q = from_frame(e, frame), gaussian_from_frame(residual, frame)
    NEAR(z, frame.loc + np.exp(frame.log_scale) * e)
    NEAR(to_frame(z, frame), e)
    jax.tree.map(NEAR, gaussian_to_frame(q, frame), residual)
    NEAR(distribution(q).log_prob(z), distribution(residual).log_prob(e) - frame.log_scale)
    NEAR(np.exp(distribution(residual).log_prob(e)), densities(residual, e).diagonal())
