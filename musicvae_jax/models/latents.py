"""Latent variables: the posterior, its reparameterised draw, and its divergence from the prior."""

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array, Gaussian

_INITIAL_LOG_SCALE = -1.0
_MAX_LOG_SCALE = 5.0  # far outside what training visits; keeps a stray activation from becoming infinite


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian, in at least float32: a KL is a difference of large numbers."""

    config: ModelConfig
    dim: int

    @nn.compact
    def __call__(self, features: Array) -> Gaussian:
        """float[..., time, feature] to a Gaussian over float[..., time, dim]."""
        types = dtypes(self.config)
        x = nn.RMSNorm(name="norm", **types)(features).astype(types["param_dtype"])
        loc = nn.Dense(self.dim, name="loc", param_dtype=types["param_dtype"])(x)
        # Starts with little noise, so that the decoder can learn to read the latents before it learns to ignore them.
        quiet = nn.initializers.constant(_INITIAL_LOG_SCALE)
        log_scale = nn.Dense(
            self.dim,
            name="log_scale",
            kernel_init=nn.initializers.zeros,
            bias_init=quiet,
            param_dtype=types["param_dtype"],
        )(x)
        return Gaussian(loc, jnp.clip(log_scale, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))


def distribution(gaussian: Gaussian) -> distrax.Distribution:
    """The distrax distribution of a `Gaussian`: one independent normal per latent and dim."""
    return distrax.Normal(gaussian.loc, jnp.exp(gaussian.log_scale))


def sample(gaussian: Gaussian, key: Array) -> Array:
    """A draw z = loc + scale * eps that gradients pass through (Kingma & Welling 2014, eq. 10)."""
    noise = jax.random.normal(key, gaussian.loc.shape, gaussian.loc.dtype)
    return gaussian.loc + jnp.exp(gaussian.log_scale) * noise


def kl_divergence(posterior: Gaussian, prior: distrax.Distribution) -> Array:
    """KL(posterior || prior) of each latent and dim, in nats: float[..., time, dim]."""
    return distribution(posterior).kl_divergence(prior)
