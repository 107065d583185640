"""What of a level's KL is charged: the rules that the literature calls free bits, which are four different things."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from musicvae_jax.config import LevelObjective
from musicvae_jax.types import Array

Mean = Callable[[Array], Array]  # the mean of a number over all devices


def rate(config: LevelObjective, kl: Array, present: Array, capacity: Array | float, mean: Mean = lambda x: x) -> Array:
    """The charge of every example in nats: float[batch].

    none: the KL itself. total: max(KL - nats, 0) (Roberts et al. 2018, as in their code). per_dim: each dim at least
    ``nats`` per latent in the mean over the batch (Kingma et al. 2016, eq. 15; Wu & Yang 2023). per_dim_per_example:
    each dim of each latent at least nats / dims (Li et al. 2019, eq. 5). capacity: abs(KL - C), C rising to nats
    (Burgess et al. 2018, eq. 8).

    Args:
        config: the level's.
        kl: float[batch, time, dim], 0 where masked.
        present: bool[batch, time], the latents that are there and are the level's own.
        capacity: C of now, in nats per window.
        mean: over devices; under gradient accumulation the batch is the microbatch.
    """
    total = kl.sum((-2, -1))
    if config.free_bits == "total":
        return jax.nn.relu(total - config.nats)
    if config.free_bits == "per_dim":
        of_dim, latents = kl.sum(-2), present.sum(-1)  # [batch, dim], [batch]
        batch_mean = mean(of_dim.mean(0)) / jnp.maximum(mean(latents.mean(dtype=kl.dtype)), 1e-9)
        # On every device the clamp of the mean over all: below it the charge is the floor, without a gradient.
        charged = jax.lax.stop_gradient(batch_mean) > config.nats
        return jnp.where(charged, of_dim, config.nats * latents[:, None]).sum(-1)
    if config.free_bits == "per_dim_per_example":
        return jnp.where(present[..., None], jnp.maximum(kl, config.nats / kl.shape[-1]), 0).sum((-2, -1))
    if config.free_bits == "capacity":
        return jnp.where(present.any(-1), jnp.abs(total - capacity), 0)
    return total
