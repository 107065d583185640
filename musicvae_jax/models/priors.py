"""What the latents are before any music is seen."""

import distrax
import jax.numpy as jnp

from musicvae_jax.types import Array


def standard_normal(loc_like: Array) -> distrax.Distribution:
    """N(0, 1) for every latent and dim of an array: the prior of Kingma & Welling (2014)."""
    return distrax.Normal(jnp.zeros_like(loc_like), jnp.ones_like(loc_like))
