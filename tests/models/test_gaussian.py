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
)  # fmt: skip
from musicvae_jax.types import Gaussian

NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
WIDE = st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-60, 60, width=32))
merged = jax.jit(merge)


@settings(max_examples=200)
@given(WIDE, WIDE)
def test_a_merge_is_the_normalised_product_at_any_scales(likelihood, prior):
    """Precisions add up, and means are weighted by them (Sonderby et al. 2016, eq. 17-19), in float64.

    float32 holds neither scale squared, so the merge must work in logarithms.
    """
    (first, log_first), (second, log_second) = likelihood, prior
    precisions = np.exp(-2.0 * np.array([log_first, log_second]))
    result = merged(*(Gaussian(np.float32(loc), np.float32(log_scale)) for loc, log_scale in (likelihood, prior)))
    loc = (precisions * [first, second]).sum() / precisions.sum()
    np.testing.assert_allclose(result.loc, loc, rtol=1e-5, atol=1e-6 * max(abs(first), abs(second)) + 1e-30)
    np.testing.assert_allclose(result.log_scale, -0.5 * np.log(precisions.sum()), rtol=1e-5, atol=1e-6)


def test_a_frame_is_an_affine_map_of_values_and_of_gaussians():
    """to_frame inverts from_frame; log q(z) = log q(e) - log scale."""
    rng = np.random.default_rng(0)
    residual, frame = (Gaussian(*rng.normal(size=(2, 6)).astype(np.float32)) for _ in range(2))
    e = np.linspace(-2, 2, 6, dtype=np.float32)
    z, q = from_frame(e, frame), gaussian_from_frame(residual, frame)
    NEAR(z, frame.loc + np.exp(frame.log_scale) * e)
    NEAR(to_frame(z, frame), e)
    jax.tree.map(NEAR, gaussian_to_frame(q, frame), residual)
    NEAR(distribution(q).log_prob(z), distribution(residual).log_prob(e) - frame.log_scale)
    NEAR(distribution(residual).log_prob(e), stats.norm.logpdf(e, residual.loc, np.exp(residual.log_scale)))
