"""What a level must predict of its span: a model of the music without order, from the latents alone."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import LevelsConfig, ModelConfig
from musicvae_jax.models.embedding import IMPOSSIBLE, of_class
from musicvae_jax.models.layers import dtypes
from musicvae_jax.models.spans import to_measures
from musicvae_jax.types import Array, Batch, Field, Latents, existing_fields


class SpanHead(nn.Module):
    """Predicts the tokens of the spans of a level, each token by itself, from the level and those above it.

    Whether a token is class 0 (on a grid: no onset) depends on its slot, so the head learns the rhythm of the span.
    Which other class it is does not, so the head learns the bag of pitches.
    """

    config: ModelConfig
    levels: LevelsConfig
    fields: Sequence[Field]
    slots: int
    level: str

    @nn.compact
    def __call__(self, latents: Latents, batch: Batch) -> Array:
        """-log p of the tokens of the window, in nats: float[...]."""
        config, types, measures = self.config, dtypes(self.config), batch.mask.shape[-2]
        names = list(self.levels.on)
        seen = names[: names.index(self.level) + 1]
        spans = {name: self.levels[name].span_in(measures) for name in seen}
        x = jnp.concatenate([to_measures(latents[name], spans[name], measures) for name in seen], -1)
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
                bag = jax.nn.log_softmax(jnp.where(jnp.arange(field.size) == 0, IMPOSSIBLE, bag))
                chosen = chosen + of_class(bag[..., None, :], jnp.maximum(tokens, 1))
            log_p = jnp.where(tokens == 0, jax.nn.log_sigmoid(zero), chosen)
            total -= jnp.where(exists[..., number], log_p, 0).sum((-2, -1))
        return total
