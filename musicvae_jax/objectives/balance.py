"""Charging levels by how much they carry, so that none starves in the warm-up."""

import jax
import jax.numpy as jnp

from musicvae_jax.types import Array


def balance(kl: dict[str, Array], sizes: dict[str, int]) -> dict[str, Array]:
    """Factors of the levels' KLs, with mean 1 and without a gradient (Vahdat & Kautz 2020, appendix A).

    A level's factor is in proportion to its KL per latent number, so that a level with little is charged little, and is
    encouraged to carry more.

    Args:
        kl: level -> float[], the batch's mean KL in nats per window, over all devices.
        sizes: level -> latent numbers of a window, latents x dims.
    """
    density = {level: jax.lax.stop_gradient(jnp.abs(kl[level])) / sizes[level] + 1e-6 for level in sizes}
    mean = sum(density.values()) / len(density)
    return {level: value / mean for level, value in density.items()}
