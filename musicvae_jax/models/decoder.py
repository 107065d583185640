"""Latents to music: a conductor across measures, then a causal transformer over slots."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.embedding import HIDDEN, PADDING, START, MetreEmbedding, SlotEmbedding
from musicvae_jax.models.layers import KVCache, dtypes, make_block
from musicvae_jax.types import Array, Batch, Field, Latents

_IMPOSSIBLE = -1e9  # a logit whose probability is 0, and which no gradient turns into no number


class MusicDecoder(nn.Module):
    """p(x | z): every slot sees the whole past of the window, and the latents at every layer.

    Teacher forcing (`__call__`) and sampling (`step`) run the same cell, `_hidden`.
    """

    config: ModelConfig
    fields: Sequence[Field]
    slots: int

    def setup(self) -> None:
        config, types = self.config, dtypes(self.config)
        self.embed = SlotEmbedding(config, self.fields)
        self.slot = nn.Embed(self.slots, config.dim, **types)
        self.metre = MetreEmbedding(config)
        self.read = {level: nn.Dense(config.dim, **types) for level in config.widths}
        # Dropout belongs to the slot transformer: the conductor hands over what the latents say, whole.
        self.conductor = [make_block(config, True, f"conductor_{layer}") for layer in range(config.conductor_layers)]
        self.condition = nn.DenseGeneral((config.decoder_layers, config.dim), use_bias=False, **types)
        self.norm = nn.RMSNorm(**types)
        self.chain = [nn.Dense(config.dim, **types) for _ in self.fields[1:]]
        self.heads = [nn.Dense(field.size, **types) for field in self.fields]

    def __call__(self, latents: Latents, batch: Batch, deterministic: bool = True) -> tuple[Array, ...]:
        """Teacher forcing: each slot is predicted from the true slots before it.

        Args:
            latents: level -> float[..., time, dim].
            batch: windows, leading axes free.
            deterministic: False turns on dropout (rng stream ``dropout``) and hides past slots (``token_dropout``).

        Returns:
            Per field, logits float[..., measure, slot, vocab]; field n is given fields 0..n-1 of its own slot.
        """
        *leading, measures, slots, num_fields = batch.tokens.shape
        flat = (*leading, measures * slots)
        special = jnp.where(batch.mask, -1, PADDING).reshape(flat)
        if not deterministic and self.config.token_dropout:
            hidden = jax.random.bernoulli(self.make_rng("token_dropout"), self.config.token_dropout, flat)
            special = jnp.where(hidden & (special < 0), HIDDEN, special)
        past = jnp.roll(batch.tokens.reshape(*flat, num_fields), 1, -2)
        special = jnp.roll(special, 1, -1).at[..., 0].set(START)

        conditions = self.conditions(latents, batch.metre)
        conditions = jnp.repeat(conditions, slots, axis=-3)
        positions = jnp.arange(measures * slots)
        causal = positions[:, None] >= positions
        x, _ = self._hidden(past, special, positions, conditions, causal, None, deterministic)
        x = x.reshape(*leading, measures, slots, self.config.dim)
        last = jnp.arange(slots) == slots - 1
        return tuple(self.field_logits(x, batch.tokens[..., :number], last) for number in range(num_fields))

    def conditions(self, latents: Latents, metre: Array) -> Array:
        """The conductor: what each measure's slots are told, per layer.

        Args:
            latents: level -> float[..., time, dim].
            metre: int[..., measure, 2].

        Returns:
            float[..., measure, layer, dim].
        """
        x = self.metre(metre)
        for level, z in latents.items():
            x = x + self.read[level](z.astype(x.dtype))
        present = metre[..., 0] > 0
        for block in self.conductor:
            x, _ = block(x, jnp.arange(metre.shape[-2]), present[..., None, :])
        return self.condition(x)

    def step(
        self, past: Array, special: Array, position: Array, condition: Array, cache: list[KVCache]
    ) -> tuple[Array, list[KVCache]]:
        """One slot of sampling.

        Args:
            past: int[..., field], the slot before.
            special: int[...], what else that slot was, as in `SlotEmbedding`.
            position: int[], the slot's number in the window.
            condition: float[..., layer, dim] of the slot's measure.
            cache: one per layer, from `empty_cache` or the step before.

        Returns:
            float[..., dim] for `field_logits`, and the updated cache.
        """
        seen = jnp.arange(cache[0].key.shape[-3]) <= position
        x, cache = self._hidden(
            past[..., None, :], special[..., None], position[None], condition[..., None, :, :], seen[None], cache, True
        )
        return x[..., 0, :], cache

    def field_logits(self, x: Array, known: Array, last: Array) -> Array:
        """Logits of the next field of a slot.

        What the structure decides is certain, whatever the parameters: the last slot of a full row ends the measure,
        and of a slot that ends it all other fields are 0. So the fields that do not exist cost nothing, and the
        probabilities of all slots, and of all rows, add up to one.

        Args:
            x: float[..., dim], the slot's hidden state.
            known: int[..., n], the slot's first n fields.
            last: bool, broadcast over the leading axes: is it the last slot of its row?

        Returns:
            float[..., vocab] of field n, at least float32.
        """
        number = known.shape[-1]
        if number:
            fields = self.embed.sum_fields(known)
            x = x + nn.gelu(self.chain[number - 1](x + fields))
        logits = self.heads[number](x)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        end = self.fields[0].end
        if end is None:
            return logits
        decided, only = (known[..., 0] == end, 0) if number else (last, end)
        sure = jnp.where(jnp.arange(logits.shape[-1]) == only, 0.0, _IMPOSSIBLE)
        return jnp.where(decided[..., None], sure, logits)

    def empty_cache(self, leading: tuple[int, ...], length: int) -> list[KVCache]:
        """A cache for `length` positions and the given leading batch axes."""
        config = self.config
        shape = (*leading, length, config.num_heads, config.dim // config.num_heads)
        zeros = jnp.zeros(shape, config.dtype)
        return [KVCache(zeros, zeros) for _ in range(config.decoder_layers)]

    @nn.compact
    def _hidden(
        self,
        past: Array,
        special: Array,
        positions: Array,
        conditions: Array,
        mask: Array,
        caches: list[KVCache] | None,
        deterministic: bool,
    ) -> tuple[Array, list[KVCache]]:
        x = self.embed(past, special) + self.slot(positions % self.slots)
        updated = []
        for layer in range(self.config.decoder_layers):
            block = make_block(self.config, deterministic, f"block_{layer}")
            cache = caches[layer] if caches else None
            x, cache = block(x + conditions[..., layer, :], positions, mask, cache)
            updated.append(cache)
        return self.norm(x), updated
