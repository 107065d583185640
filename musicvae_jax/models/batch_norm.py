"""Batch normalisation of the posterior means (BN-VAE, Zhu et al. 2020)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from musicvae_jax.config import ModelConfig
from musicvae_jax.types import Array, Moments, Variables

_DECAY = 0.95  # of the moving average of the moments
_EPSILON = 1e-8  # far below any spread that training visits, so that the bound holds in effect
STATISTICS = "batch_stats"  # the one collection of variables beside params


def committed_rate(dim: int, gamma: float, bias: Array | float = 0.0) -> Array:
    """The least batch-mean KL of a latent in nats, sum over dims of (gamma^2 + bias^2) / 2 (Zhu et al. 2020, eq. 9)."""
    return 0.5 * (dim * gamma**2 + jnp.sum(jnp.broadcast_to(jnp.asarray(bias), (dim,)) ** 2))


def initial_moments(config: ModelConfig) -> dict[str, Moments]:
    """The stored moments before the first step: level -> mean 0, variance 1."""
    widths = config.widths
    return {level: Moments(jnp.zeros(widths[level]), jnp.ones(widths[level])) for level in config.batch_norm_levels}


def average_moments(stored: dict[str, Moments], found: dict[str, Moments], step: Array) -> dict[str, Moments]:
    """The moving average after a step: the mean of all batches at first, then of the last twenty or so.

    Args:
        stored: the average so far.
        found: of this step's batch.
        step: int[], how many batches the average has seen.
    """
    return optax.incremental_update(found, stored, jnp.maximum(1 - _DECAY, 1 / (step + 1)))


def statistics(moments: dict[str, Moments]) -> Variables:
    """Stored moments as the model's collection of variables; nothing without batch normalisation."""
    return {STATISTICS: {f"norms_{level}": {"moments": value} for level, value in moments.items()}} if moments else {}


class MeanNorm(nn.Module):
    """Gives the means of a level, in units of their prior, a fixed spread gamma and a learned bias over the batch."""

    dim: int
    gamma: float

    @nn.compact
    def __call__(
        self, loc: Array, present: Array, deterministic: bool, batch_axes: Sequence[str] = ()
    ) -> tuple[Array, Moments]:
        """Normalises.

        Args:
            loc: float[..., time, dim].
            present: bool[..., time]; latents that are not there do not count.
            deterministic: True uses the moving averages in the collection ``batch_stats`` and not this batch, so that
                a row's result does not depend on its neighbours.
            batch_axes: names of mapped axes over which the batch is spread, beside the leading axes of ``loc``.

        Returns:
            float[..., time, dim], and the moments to store: those that were used, but of the variance the unbiased
            estimate, since a batch of few latents is narrower than the music.
        """
        bias = self.param("bias", nn.initializers.zeros, (self.dim,))
        stored = self.variable(STATISTICS, "moments", lambda: Moments(jnp.zeros(self.dim), jnp.ones(self.dim)))
        used, found = stored.value, stored.value
        if not deterministic:
            used, number = _moments(loc, present, batch_axes)
            found = used._replace(variance=used.variance * number / jnp.maximum(number - 1, 1))
        scale = self.gamma * jax.lax.rsqrt(used.variance + _EPSILON)
        return (loc - used.mean) * scale + bias, found


def _moments(loc: Array, present: Array, batch_axes: Sequence[str]) -> tuple[Moments, Array]:
    """Over all unmasked latents of all devices, and how many these are; the variance in a second pass, which rounding
    does not spoil.
    """

    def total(value: Array) -> Array:
        return jax.lax.psum(value, tuple(batch_axes)) if batch_axes else value

    number = total(present.sum())

    def mean(values: Array) -> Array:
        return total(jnp.where(present[..., None], values, 0).sum(range(loc.ndim - 1))) / jnp.maximum(number, 1)

    centre = mean(loc)
    return Moments(centre, mean((loc - centre) ** 2)), number
