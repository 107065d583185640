"""What a level must know of its span: a model of the music without order, read off the latents alone."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.models.spans import over_measures
from musicvae_jax.types import Array, Batch, Field, Latents, existing_fields

_IMPOSSIBLE = -1e9  # a logit of probability 0


class SpanHead(nn.Module):
    """Predicts the tokens of a level's spans, each by itself, from the level and those above it.

    Whether a token is class 0 (on a grid: nothing begins) depends on its slot, so that the head learns the span's
    rhythm; which other class it is does not, so that it learns the span's bag of pitches.
    """

    config: ModelConfig
    fields: Sequence[Field]
    slots: int
    level: str

    @nn.compact
    def __call__(self, latents: Latents, batch: Batch) -> Array:
        """-log p of the window's tokens, in nats: float[...]."""
        config, types, measures = self.config, dtypes(self.config), batch.mask.shape[-2]
        names = list(config.widths)
        x = jnp.concatenate(
            [
                over_measures(latents[level], config.span(level, measures), measures)
                for level in names[: names.index(self.level) + 1]
            ],
            -1,
        )  # every measure sees the span it lies in
        hidden = nn.gelu(nn.Dense(config.dim, name="hidden", **types)(x.astype(types["dtype"])))
        exists = existing_fields(batch.tokens, batch.mask, self.fields)
        total = jnp.zeros(batch.mask.shape[:-2])
        wide = types | {"dtype": jnp.promote_types(types["dtype"], jnp.float32)}
        for number, field in enumerate(self.fields):
            tokens = batch.tokens[..., number]
            if field.size == 1:  # nothing to say
                continue
            zero = nn.Dense(self.slots, name=f"zero_{number}", **wide)(hidden).astype(total.dtype)
            chosen = jax.nn.log_sigmoid(-zero)
            if field.size > 2:  # else there is one other class
                bag = nn.Dense(field.size, name=f"bag_{number}", **wide)(hidden).astype(total.dtype)
                bag = jax.nn.log_softmax(bag.at[..., 0].set(_IMPOSSIBLE))
                chosen = chosen + jnp.take_along_axis(bag, jnp.maximum(tokens, 1), -1)
            log_p = jnp.where(tokens == 0, jax.nn.log_sigmoid(zero), chosen)
            total -= jnp.where(exists[..., number], log_p, 0).sum((-2, -1))
        return total
