"""Latent variables: the posterior, its reparameterised draw, and its divergence from the prior."""

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array, Gaussian

_INITIAL_LOG_SCALE = -1.0
_MAX_LOG_SCALE = 5.0  # far outside what training visits; keeps a stray activation from becoming infinite


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian, in at least float32: a KL is a difference of large numbers."""

    config: ModelConfig
    dim: int
    standard: bool = False  # starts as N(0, 1) whatever the features, as a prior should
    centred: bool = False  # without a bias of the mean, for one that is normalised over the batch afterwards

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        """float[..., time, feature] to a Gaussian over float[..., time, dim]."""
        types = dtypes(self.config)
        x = nn.RMSNorm(name="norm", **types)(features).astype(types["param_dtype"])
        zeros = nn.initializers.zeros
        start = {"kernel_init": zeros} if self.standard else {}
        loc = nn.Dense(self.dim, use_bias=not self.centred, name="loc", param_dtype=types["param_dtype"], **start)(x)
        # Starts with little noise, so that the decoder can learn to read the latents before it learns to ignore them.
        quiet = nn.initializers.constant(0.0 if self.standard else _INITIAL_LOG_SCALE)
        log_scale = nn.Dense(
            self.dim, name="log_scale", kernel_init=zeros, bias_init=quiet, param_dtype=types["param_dtype"]
        )(x)
        return Gaussian(loc, jnp.clip(log_scale, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))


def standard_normal(shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Gaussian:
    """N(0, 1) for every latent and dim: the prior of Kingma & Welling (2014)."""
    return Gaussian(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def distribution(gaussian: Gaussian) -> distrax.Distribution:
    """The distrax distribution of a `Gaussian`: one independent normal per latent and dim."""
    return distrax.Normal(gaussian.loc, jnp.exp(gaussian.log_scale))


def sample(gaussian: Gaussian, key: Array, temperature: float = 1.0) -> Array:
    """A draw z = loc + scale * eps that gradients pass through (Kingma & Welling 2014, eq. 10).

    Args:
        gaussian: float[..., time, dim].
        key: of the draw.
        temperature: the scale is multiplied by it.
    """
    noise = jax.random.normal(key, gaussian.loc.shape, gaussian.loc.dtype)
    return gaussian.loc + temperature * jnp.exp(gaussian.log_scale) * noise


def place(noise: Array, gaussian: Gaussian) -> Array:
    """Standard normal noise in the units of a Gaussian, loc + scale * noise: a draw from it."""
    return gaussian.loc + jnp.exp(gaussian.log_scale) * noise


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Array:
    """KL(posterior || prior) of each latent and dim, in nats: float[..., time, dim]."""
    return distribution(posterior).kl_divergence(distribution(prior))


def relative_to(gaussian: Gaussian, prior: Gaussian) -> Gaussian:
    """A Gaussian in the units of a prior: what it is where the prior is N(0, 1)."""
    return Gaussian((gaussian.loc - prior.loc) * jnp.exp(-prior.log_scale), gaussian.log_scale - prior.log_scale)


def from_relative(residual: Gaussian, prior: Gaussian) -> Gaussian:
    """The inverse of `relative_to`."""
    return Gaussian(prior.loc + jnp.exp(prior.log_scale) * residual.loc, prior.log_scale + residual.log_scale)


def merge(likelihood: Gaussian, prior: Gaussian) -> Gaussian:
    """The normalised product of two Gaussians, by precision weighting (Sonderby et al. 2016, eq. 17-19)."""
    # Without leaving the logarithm: scales differ by orders of magnitude, and precisions by twice as many.
    log_ratio = 2 * (prior.log_scale - likelihood.log_scale)
    loc = jax.nn.sigmoid(log_ratio) * likelihood.loc + jax.nn.sigmoid(-log_ratio) * prior.loc
    return Gaussian(loc, -0.5 * jnp.logaddexp(-2 * likelihood.log_scale, -2 * prior.log_scale))
