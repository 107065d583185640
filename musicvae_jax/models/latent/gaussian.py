"""Diagonal Gaussians of latents: made from features, drawn, and stated in the units of a frame."""

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.layers import RMSNorm, dtypes
from musicvae_jax.types import Array, Gaussian

_INITIAL_LOG_SCALE = -1.0
_MAX_LOG_SCALE = 5.0  # far outside what training visits: no activation becomes infinite


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian, in float32 or wider: a KL is a difference of large numbers."""

    config: ModelConfig
    dim: int
    standard: bool = False  # starts as N(0, 1) for any features, as a prior should
    centred: bool = False  # the mean has no bias, because batch normalisation follows

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        """float[..., time, feature] to a Gaussian over float[..., time, dim]."""
        types = dtypes(self.config)
        x = RMSNorm(name="norm", **types)(features).astype(types["param_dtype"])
        zeros = nn.initializers.zeros
        start = {"kernel_init": zeros} if self.standard else {}
        loc = nn.Dense(self.dim, use_bias=not self.centred, name="loc", param_dtype=types["param_dtype"], **start)(x)
        # A posterior starts with little noise: the decoder then learns to read the latents before it can ignore them.
        quiet = nn.initializers.constant(0.0 if self.standard else _INITIAL_LOG_SCALE)
        log_scale = nn.Dense(
            self.dim, name="log_scale", kernel_init=zeros, bias_init=quiet, param_dtype=types["param_dtype"]
        )(x)
        return Gaussian(loc, jnp.clip(log_scale, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))


def standard_normal(shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Gaussian:
    """N(0, 1) for every latent and dim."""
    return Gaussian(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def distribution(gaussian: Gaussian) -> distrax.Normal:
    """The distrax distribution of a `Gaussian`: an independent normal for every latent and dim."""
    return distrax.Normal(gaussian.loc, jnp.exp(gaussian.log_scale))


def from_frame(e: Array, frame: Gaussian) -> Array:
    """z = loc + scale * e. With standard normal e, a reparameterised draw (Kingma & Welling 2014, eq. 10)."""
    return frame.loc + jnp.exp(frame.log_scale) * e


def to_frame(z: Array, frame: Gaussian) -> Array:
    """e = (z - loc) / scale, the inverse of `from_frame`."""
    return (z - frame.loc) * jnp.exp(-frame.log_scale)


def gaussian_from_frame(residual: Gaussian, frame: Gaussian) -> Gaussian:
    """The distribution of z = loc + scale * e for a Gaussian e."""
    return Gaussian(from_frame(residual.loc, frame), frame.log_scale + residual.log_scale)


def gaussian_to_frame(gaussian: Gaussian, frame: Gaussian) -> Gaussian:
    """The distribution of e = (z - loc) / scale for a Gaussian z, the inverse of `gaussian_from_frame`."""
    return Gaussian(to_frame(gaussian.loc, frame), gaussian.log_scale - frame.log_scale)


def guided(told: Gaussian, untold: Gaussian, guidance: Array | float) -> Gaussian:
    """The normalised density told^w untold^(1 - w): for w > 1 further from what is expected without being told.

    It is classifier-free guidance (Ho & Salimans 2021) of a Gaussian. Where ``untold`` is the narrower one, it counts
    with the scale of ``told``, so that the result is never wider than that.

    Args:
        told: p(z | conditions).
        untold: p(z).
        guidance: w, 1 or more; 1 gives ``told``.
    """
    share = jnp.minimum(jnp.exp(2 * (told.log_scale - untold.log_scale)), 1)  # of the precisions
    precision = guidance - (guidance - 1) * share  # in units of that of told
    loc = told.loc + (guidance - 1) * share / precision * (told.loc - untold.loc)
    return Gaussian(loc, told.log_scale - 0.5 * jnp.log(precision))


def merge(likelihood: Gaussian, prior: Gaussian) -> Gaussian:
    """The normalised product of two Gaussians, by precision weighting (Sonderby et al. 2016, eq. 17-19)."""
    # In logarithms: scales differ by orders of magnitude, and precisions by twice as many.
    log_ratio = 2 * (prior.log_scale - likelihood.log_scale)
    loc = jax.nn.sigmoid(log_ratio) * likelihood.loc + jax.nn.sigmoid(-log_ratio) * prior.loc
    return Gaussian(loc, -0.5 * jnp.logaddexp(-2 * likelihood.log_scale, -2 * prior.log_scale))
