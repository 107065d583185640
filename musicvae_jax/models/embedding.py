"""Classes, slots and metres as vectors."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.layers import dtypes, sinusoids
from musicvae_jax.types import Array, Field

IMPOSSIBLE = -1e9  # a logit of probability 0; finite, so gradients stay finite
PADDING, START, HIDDEN = range(3)  # what a slot can show instead of its tokens
_NUMERATORS, _LOG2_DENOMINATORS = 65, 7  # metres up to 64/64, as in MIDI


def of_class(values: Array, classes: Array) -> Array:
    """The value of a class: float[..., vocab] and int[...] to float[...]; NaN of a class that does not exist.

    A lookup on a CPU and a sum elsewhere, see `Table`.
    """
    size = values.shape[-1]

    def look_up(values: Array, classes: Array) -> Array:
        return jnp.take_along_axis(values, classes[..., None], -1, mode="clip")[..., 0]

    def add_up(values: Array, classes: Array) -> Array:
        return jnp.where(jnp.arange(size) == classes[..., None], values, 0).sum(-1)

    chosen = jax.lax.platform_dependent(values, classes, cpu=look_up, default=add_up)
    return jnp.where((classes >= 0) & (classes < size), chosen, jnp.nan)


class Table(nn.Embed):
    """An embedding: a lookup on a CPU, and elsewhere a matrix product with one-hot vectors.

    The gradient of a lookup is a scatter: thousands of additions to the same few rows, one after another on an
    accelerator. The gradient of a product is a product. The rows are the same, bit by bit; that of a number without a
    row is 0.
    """

    def __call__(self, inputs: Array) -> Array:
        """int[...] to float[..., features]."""
        (table,) = self.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)

        def look_up(table: Array, rows: Array) -> Array:
            return table.at[rows].get(mode="fill", fill_value=0, wrap_negative_indices=False)

        def multiply(table: Array, rows: Array) -> Array:
            one_hot = jax.nn.one_hot(rows, self.num_embeddings, dtype=table.dtype)
            return jnp.einsum("...v,vd->...d", one_hot, table, precision=jax.lax.Precision.HIGHEST)

        return jax.lax.platform_dependent(table, inputs, cpu=look_up, default=multiply)


class SlotEmbedding(nn.Module):
    """A slot is the sum of its fields' embeddings, or one of three special vectors."""

    config: ModelConfig
    fields: Sequence[Field]

    def setup(self) -> None:
        types = dtypes(self.config)
        self.tables = [Table(field.size, self.config.dim, **types) for field in self.fields]
        self.specials = Table(3, self.config.dim, **types)

    def __call__(self, tokens: Array, special: Array) -> Array:
        """Embeds slots.

        Args:
            tokens: int[..., field].
            special: int[...], -1 for a slot that shows its tokens, else PADDING, START or HIDDEN.

        Returns:
            float[..., dim].
        """
        return jnp.where((special < 0)[..., None], self.sum_fields(tokens), self.specials(jnp.maximum(special, 0)))

    def sum_fields(self, tokens: Array) -> Array:
        """The sum of the embeddings of a slot's first n fields: int[..., n] to float[..., dim]."""
        return sum(self.tables[number](tokens[..., number]) for number in range(tokens.shape[-1]))


class MetreEmbedding(nn.Module):
    """Each measure's metre, its number from the start, and its number from the end of the window."""

    config: ModelConfig

    @nn.compact
    def __call__(self, metre: Array) -> Array:
        """int[..., measure, 2] to float[..., measure, dim]; metre (0, 0) is a padding measure."""
        types, dim = dtypes(self.config), self.config.dim
        numerator = jnp.clip(metre[..., 0], 0, _NUMERATORS - 1)
        exponent = jnp.round(jnp.log2(jnp.maximum(metre[..., 1], 1).astype(jnp.float32))).astype(jnp.int32)
        count = (metre[..., 0] > 0).sum(-1, keepdims=True)
        number = np.arange(metre.shape[-2])
        frame = jnp.concatenate(jnp.broadcast_arrays(sinusoids(number, dim), sinusoids(count - number, dim)), -1)
        return (
            Table(_NUMERATORS, dim, name="numerator", **types)(numerator)
            + Table(_LOG2_DENOMINATORS, dim, name="denominator", **types)(exponent)
            + nn.Dense(dim, name="position", **types)(frame)
        )
