"""Charging levels by how much they carry, so that none starves in the warm-up."""

import jax
import jax.numpy as jnp

from musicvae_jax.types import Array


def balance(kl: dict[str, Array], sizes: dict[str, Array | float]) -> dict[str, Array]:
    """Factors of the levels' KLs, with mean 1 and without a gradient (Vahdat & Kautz 2020, appendix A).

    A level's factor is in proportion to its KL per latent number, so that a level with little is charged little, and is
    encouraged to carry more. A level that no window of the batch has says nothing: its factor is 1, and the others'
    have mean 1 without it.

    Args:
        kl: level -> float[], the batch's mean KL in nats per window, over all devices.
        sizes: level -> the mean number of latent numbers of a window, latents x dims, over all devices.
    """
    there = {level: jnp.asarray(size > 0) for level, size in sizes.items()}
    density = {
        level: jax.lax.stop_gradient(jnp.abs(kl[level])) / jnp.where(there[level], size, 1) + 1e-6
        for level, size in sizes.items()
    }
    total = sum(jnp.where(there[level], value, 0) for level, value in density.items())
    mean = total / jnp.maximum(sum(there.values()), 1)
    return {level: jnp.where(there[level], value / mean, 1) for level, value in density.items()}
