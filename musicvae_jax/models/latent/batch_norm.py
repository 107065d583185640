"""Batch normalisation of the posterior means (BN-VAE, Zhu et al. 2020)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from musicvae_jax.config import LevelsConfig
from musicvae_jax.types import Array, Moments, Variables

_DECAY = 0.95  # of the moving average of the moments
_EPSILON = 1e-8  # far below any variance that training visits, so the floor of the KL holds in practice
STATISTICS = "batch_stats"  # the one collection of variables beside params


def committed_rate(dim: int, gamma: float, bias: Array | float = 0.0) -> Array:
    """The smallest batch-mean KL of a latent, in nats: the sum of (gamma^2 + bias^2) / 2 (Zhu et al. 2020, eq. 9)."""
    return 0.5 * (dim * gamma**2 + jnp.sum(jnp.broadcast_to(jnp.asarray(bias), (dim,)) ** 2))


def initial_moments(levels: LevelsConfig) -> dict[str, Moments]:
    """The stored moments before the first step: level -> mean 0, variance 1."""
    normalised = {name: level.dim for name, level in levels.on.items() if level.batch_norm}
    return {name: Moments(jnp.zeros(dim), jnp.ones(dim)) for name, dim in normalised.items()}


def average_moments(stored: dict[str, Moments], found: dict[str, Moments], step: Array) -> dict[str, Moments]:
    """The moving average of the moments after a step: the mean of all batches at first, later an average over about 20.

    Args:
        stored: the average before.
        found: the moments of this batch.
        step: int[], batches in the average before.
    """
    return optax.incremental_update(found, stored, jnp.maximum(1 - _DECAY, 1 / (step + 1)))


def statistics(moments: dict[str, Moments]) -> Variables:
    """Stored moments as a collection of variables for the model; nothing without batch normalisation."""
    return {STATISTICS: {f"norms_{level}": {"moments": value} for level, value in moments.items()}} if moments else {}


class MeanNorm(nn.Module):
    """Gives posterior means, in units of the prior, the standard deviation gamma and a learned bias over a batch."""

    dim: int
    gamma: float

    @nn.compact
    def __call__(
        self, loc: Array, present: Array, deterministic: bool, batch_axes: Sequence[str] = ()
    ) -> tuple[Array, Moments]:
        """Normalises posterior means.

        Args:
            loc: float[..., time, dim].
            present: bool[..., time]; only these latents count in the moments.
            deterministic: True uses the moving averages of the collection ``batch_stats`` instead of this batch, so
                that the result for a window does not depend on the others.
            batch_axes: names of mapped axes over which the batch is spread, beside the leading axes of ``loc``.

        Returns:
            float[..., time, dim], and the moments to store. Their variance is the unbiased estimate.
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
    """Moments over the present latents of all devices, and their number. Two passes keep the variance exact."""

    def total(value: Array) -> Array:
        return jax.lax.psum(value, tuple(batch_axes)) if batch_axes else value

    number = total(present.sum())

    def mean(values: Array) -> Array:
        return total(jnp.where(present[..., None], values, 0).sum(range(loc.ndim - 1))) / jnp.maximum(number, 1)

    centre = mean(loc)
    return Moments(centre, mean((loc - centre) ** 2)), number
