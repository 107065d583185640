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
    guided,
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


@settings(max_examples=100)
@given(st.floats(-5, 5), st.floats(-2, 2), st.floats(0, 3), st.floats(1, 9))
def test_guidance_is_a_ratio_of_densities(loc, log_scale, wider, guidance):
    """told^w untold^(1 - w) up to a constant, in float64, where untold is at least as wide."""
    told = Gaussian(np.float32(0.5), np.float32(log_scale))
    untold = Gaussian(np.float32(loc), np.float32(log_scale + wider))
    found = guided(told, untold, guidance)
    z = np.linspace(-3, 3, 7)
    density = {
        name: stats.norm.logpdf(z, np.float64(one.loc), np.exp(np.float64(one.log_scale)))
        for name, one in {"told": told, "untold": untold, "found": found}.items()
    }
    constant = density["found"] - guidance * density["told"] - (1 - guidance) * density["untold"]
    np.testing.assert_allclose(constant - constant[0], 0, atol=1e-3 * (1 + np.abs(density["found"]).max()))


def test_guidance_of_one_changes_nothing_and_no_guidance_widens():
    rng = np.random.default_rng(0)
    told, untold = (Gaussian(*rng.normal(0, 2, (2, 200)).astype(np.float32)) for _ in range(2))
    jax.tree.map(NEAR, guided(told, untold, 1.0), told)
    strong = guided(told, untold, 30.0)
    assert (strong.log_scale <= told.log_scale + 1e-6).all() and np.isfinite(strong.loc).all()
    further = (strong.loc - told.loc) * (told.loc - untold.loc)
    assert (further >= 0).all() and (further > 0).any()


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
