"""What is known of a window beside its notes, such as its key or style, as a vector."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.embedding import Table
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import NOMINAL, Array


def known_conditions(config: ModelConfig, conditions: Array | None, leading: tuple[int, ...]) -> Array | None:
    """The conditions of windows, NaN where nothing is known; None for a model without conditions.

    Args:
        config: of the model.
        conditions: float[..., condition]; None, or () as in a batch, if all are unknown.
        leading: axes of the windows.
    """
    if not config.conditions:
        return None
    if conditions is None or isinstance(conditions, tuple):
        return jnp.full((*leading, len(config.conditions)), jnp.nan, jnp.float32)
    return conditions


def hide_conditions(conditions: Array, key: Array, probability: float) -> Array:
    """Conditions of which a random part is NaN, so that a model learns to do without.

    With the given probability all conditions of a window are hidden, and otherwise each with that probability, as in
    classifier-free guidance (Ho & Salimans 2021), where all are.

    Args:
        conditions: float[..., condition].
        key: of the draws.
        probability: between 0 and 1.
    """
    whole, each = jax.random.split(key)
    hidden = jax.random.bernoulli(whole, probability, (*conditions.shape[:-1], 1))
    return jnp.where(hidden | jax.random.bernoulli(each, probability, conditions.shape), jnp.nan, conditions)


class ConditionEmbedding(nn.Module):
    """The sum of one vector for each condition; a condition that is unknown has a learned vector of its own."""

    config: ModelConfig

    @nn.compact
    def __call__(self, conditions: Array) -> Array:
        """float[..., condition], as `data.conditions` gives them, NaN where unknown, to float[..., feature]."""
        types, dim = dtypes(self.config), self.config.dim
        total: Array = 0.0
        for number, name in enumerate(self.config.conditions):
            value = conditions[..., number]
            unknown = jnp.isnan(value)
            value = jnp.where(unknown, 0, value)
            if name in NOMINAL:
                row = jnp.where(unknown, NOMINAL[name], value.astype(jnp.int32))
                total = total + Table(NOMINAL[name] + 1, dim, name=name, **types)(row)
            else:
                inputs = jnp.stack([value, value**2, unknown], -1).astype(types["dtype"])
                total = total + nn.Dense(dim, name=name, **types)(inputs)
        return total
