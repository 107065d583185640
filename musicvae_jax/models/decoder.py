"""Latents to music: a conductor across measures, then a causal transformer over slots."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import LevelsConfig, ModelConfig
from musicvae_jax.models.conditions import ConditionEmbedding, known_conditions
from musicvae_jax.models.embedding import HIDDEN, IMPOSSIBLE, PADDING, START, MetreEmbedding, SlotEmbedding, Table
from musicvae_jax.models.intervals import (
    IntervalLogits,
    PitchEmbedding,
    heard_before,
    latest,
    pitches_of,
    shown_pitches,
    voices_of,
)
from musicvae_jax.models.layers import KVCache, RMSNorm, dtypes, make_block, run_blocks
from musicvae_jax.models.spans import make_reader, read_measures
from musicvae_jax.types import Array, Batch, Field, Latents


class Past(NamedTuple):
    """What a slot is told of the music before it."""

    tokens: Array  # int[..., field], of the slot before
    special: Array  # int[...], -1 where that slot shows its tokens, else what it is instead (`models.embedding`)
    heard: Array  # int[..., voice], the last MIDI pitch of each voice that is shown, -1 for none

    @classmethod
    def start(cls, leading: tuple[int, ...], fields: Sequence[Field]) -> "Past":
        """Of the first slot."""
        tokens = jnp.zeros((*leading, len(fields)), jnp.int32)
        return cls(tokens, jnp.full(leading, START), jnp.full_like(pitches_of(tokens, fields), -1))

    def then(self, tokens: Array, shown: Array, fields: Sequence[Field]) -> "Past":
        """The past of the next slot, after tokens int[..., field] in slots of which some, bool[...], are shown."""
        pitches = shown_pitches(tokens, shown, fields)
        return Past(tokens, jnp.where(shown, -1, PADDING), latest(pitches, self.heard))


class MusicDecoder(nn.Module):
    """p(x | z): every slot sees the latents at every layer, and the part of its past that `ModelConfig.context` allows.

    With ``previous`` each layer sees one measure back, so n layers reach n measures back; with ``intervals``, the last
    pitch of a voice may be older. Teacher forcing (`__call__`) and sampling (`step`) share the same cell, `_hidden`.
    """

    config: ModelConfig
    levels: LevelsConfig
    fields: Sequence[Field]
    slots: int

    def setup(self) -> None:
        config, types = self.config, dtypes(self.config)
        self.embed = SlotEmbedding(config, self.fields)
        self.slot = Table(self.slots, config.dim, **types)
        self.metre = MetreEmbedding(config)
        self.read = {name: make_reader(config, level) for name, level in self.levels.on.items()}
        # Without dropout: what the latents say reaches the slots whole.
        self.conductor = [make_block(config, True, f"conductor_{layer}") for layer in range(config.conductor_layers)]
        self.condition = nn.DenseGeneral((config.decoder_layers, config.dim), use_bias=False, **types)
        if config.condition_decoder:
            self.told = ConditionEmbedding(config)
        if config.skip:
            self.gate = self.param("gate", nn.initializers.zeros, ())
            self.read_skip = nn.Dense(config.dim, use_bias=False, **types)  # no bias: hidden features add 0
        if config.slotwise:
            self.slot_condition = nn.DenseGeneral((self.slots, config.dim), use_bias=False, **types)
        self.norm = RMSNorm(**types)
        self.chain = [nn.Dense(config.dim, **types) for _ in self.fields[1:]]
        wide = types | {"dtype": jnp.promote_types(types["dtype"], jnp.float32)}  # in bfloat16 the largest logits tie
        self.heads = [nn.Dense(field.size, **wide) for field in self.fields]
        voices = voices_of(self.fields)
        self.voices = {number: voice for voice, number in enumerate(voices)}
        if config.intervals:
            self.last_pitches = PitchEmbedding(config, len(voices))
            self.intervals = [IntervalLogits(config, self.fields[number]) for number in voices]

    def __call__(
        self,
        latents: Latents,
        batch: Batch,
        deterministic: bool = True,
        skip: Array | None = None,
        conditions: Array | None = None,
    ) -> tuple[Array, ...]:
        """Teacher forcing: each slot is predicted from the true earlier slots in its context.

        Args:
            latents: level -> float[..., time, dim].
            batch: windows; leading axes are free.
            deterministic: False turns on dropout (rng stream ``dropout``) and hides past slots (``token_dropout``).
            skip: see `guide`.
            conditions: see `guide`.

        Returns:
            Per field, logits float[..., measure, slot, vocab]; field n of a slot depends on fields 0 to n - 1 of it.
        """
        *leading, measures, slots, num_fields = batch.tokens.shape
        flat = self.config.context == "flat"
        # The past runs through all measures, unless each measure is decoded by itself.
        row = (*leading, measures, slots) if self.config.context == "none" else (*leading, measures * slots)
        special = jnp.where(batch.mask, -1, PADDING).reshape(row)
        if not deterministic and self.config.token_dropout:
            hidden = jax.random.bernoulli(self.make_rng("token_dropout"), self.config.token_dropout, row)
            special = jnp.where(hidden & (special < 0), HIDDEN, special)
        tokens = batch.tokens.reshape(*row, num_fields)
        heard = heard_before(shown_pitches(tokens, special < 0, self.fields))
        special_before = jnp.where(jnp.arange(row[-1]) == 0, START, jnp.roll(special, 1, -1))
        past = Past(jnp.roll(tokens, 1, -2), special_before, heard)
        by_measure = Past(*(part.reshape(*batch.mask.shape, *part.shape[len(row) :]) for part in past))
        if not flat:
            past = by_measure

        guide = self.guide(latents, batch.metre, skip, conditions)
        if flat:
            per_slot = jnp.broadcast_to(guide, (*leading, measures, slots, *guide.shape[-2:]))
            guide = per_slot.reshape(*leading, measures * slots, *guide.shape[-2:])
        positions = np.arange(measures * slots if flat else slots)
        seen: Array = positions[:, None] >= positions
        if self.config.context == "previous":
            before = jnp.broadcast_to((jnp.arange(measures) > 0)[:, None, None], (measures, slots, slots))
            seen = jnp.concatenate([before, jnp.broadcast_to(seen, before.shape)], -1)
        x, _ = self._hidden(past, positions, guide, seen, None, 0, deterministic)
        x = x.reshape(*leading, measures, slots, self.config.dim)
        last, heard = jnp.arange(slots) == slots - 1, by_measure.heard
        return tuple(self.field_logits(x, batch.tokens[..., :number], last, heard) for number in range(num_fields))

    def guide(
        self, latents: Latents, metre: Array, skip: Array | None = None, conditions: Array | None = None
    ) -> Array:
        """The conductor: from latents to what each slot adds to its input, layer by layer.

        Args:
            latents: level -> float[..., time, dim].
            metre: int[..., measure, 2].
            skip: float[..., measure, dim], features of the encoder; None without skip connection.
            conditions: float[..., condition], NaN where unknown, None or () if all are; read with
                ``condition_decoder``.

        Returns:
            float[..., measure, slot, layer, dim]; one slot where all slots of a measure are guided alike.
        """
        measures = metre.shape[-2]
        x = self.metre(metre)
        for name, reader in self.read.items():
            x = x + read_measures(reader, latents[name].astype(x.dtype), self.config, self.levels[name], measures)
        if self.config.condition_decoder:
            x = x + self.told(known_conditions(self.config, conditions, metre.shape[:-2]))[..., None, :]
        if skip is not None:
            x = x + nn.sigmoid(self.gate).astype(x.dtype) * self.read_skip(skip)
        present = metre[..., 0] > 0
        for block in self.conductor:
            x, _ = block(x, np.arange(measures), present[..., None, :])
        guide = self.condition(x)[..., None, :, :]
        if self.config.slotwise:  # in the first layer only: the residual stream keeps it
            first = jnp.arange(self.config.decoder_layers)[:, None] == 0
            guide = guide + jnp.where(first, self.slot_condition(x)[..., None, :], 0)
        return guide

    def step(
        self,
        past: Past,
        position: Array,
        guide: Array,
        cache: list[KVCache],
        origin: Array | int = 0,
    ) -> tuple[Array, list[KVCache]]:
        """One slot of sampling.

        Args:
            past: of this slot.
            position: int, of this slot in its context.
            guide: float[..., layer, dim], of this slot.
            cache: keys and values of earlier slots.
            origin: int, position of the first entry of the cache; entries before position 0 are not seen.

        Returns:
            float[..., dim] for `field_logits`, and the updated cache.
        """
        held = origin + jnp.arange(cache[0].key.shape[-2])
        seen = (held >= 0) & (held <= position)
        position, index = position[None], position - origin
        guide = guide[..., None, :, :]
        past = Past(past.tokens[..., None, :], past.special[..., None], past.heard[..., None, :])
        x, cache = self._hidden(past, position, guide, seen[None], cache, index)
        return x[..., 0, :], cache

    def field_logits(self, x: Array, known: Array, last: Array, heard: Array) -> Array:
        """Logits of the next field of a slot.

        What the structure decides has probability 1 for any parameters: the last slot of a full measure ends it, and
        the other fields of an ending slot are 0. So absent fields cost nothing, and probabilities add up to 1.

        Args:
            x: float[..., dim], the slot's hidden state.
            known: int[..., n], the slot's first n fields.
            last: bool, broadcast over the leading axes: whether it is the last slot of its measure.
            heard: int[..., voice], the last pitches before the slot; read with `ModelConfig.intervals` only.

        Returns:
            float[..., vocab] of field n, at least float32.
        """
        number = known.shape[-1]
        if number:
            fields = self.embed.sum_fields(known)
            if self.config.intervals:
                started = pitches_of(known, self.fields)
                fields = fields + self.last_pitches(latest(started, heard[..., : started.shape[-1]]))
            x = x + nn.gelu(self.chain[number - 1](x + fields))
        logits = self.heads[number](x)
        if self.config.intervals and number in self.voices:
            voice = self.voices[number]
            logits = logits + self.intervals[voice](x, heard[..., voice])
        end = self.fields[0].end
        if end is None:
            return logits
        decided, only = (known[..., 0] == end, 0) if number else (last, end)
        sure = jnp.where(jnp.arange(logits.shape[-1]) == only, 0.0, IMPOSSIBLE)
        return jnp.where(decided[..., None], sure, logits)

    def empty_cache(self, leading: tuple[int, ...], length: int) -> list[KVCache]:
        """A cache for `length` positions and the given leading batch axes."""
        config = self.config
        shape = (*leading, config.num_heads, length, config.dim // config.num_heads)
        zeros = jnp.zeros(shape, config.dtype)
        return [KVCache(zeros, zeros) for _ in range(config.decoder_layers)]

    @nn.compact
    def _hidden(
        self,
        past: Past,
        positions: Array,
        guide: Array,
        mask: Array,
        caches: list[KVCache] | None,
        index: Array | int,
        deterministic: bool = True,
    ) -> tuple[Array, list[KVCache]]:
        x = self.embed(past.tokens, past.special) + self.slot(positions % self.slots)
        if self.config.intervals:
            x = x + self.last_pitches(past.heard)
        config, previous = self.config, self.config.context == "previous"
        if caches is None:
            x = run_blocks(
                config,
                self,
                "block",
                config.decoder_layers,
                x,
                positions,
                mask,
                deterministic=deterministic,
                previous=previous,
                added=guide,
            )
            return self.norm(x), []
        updated = []
        for layer in range(config.decoder_layers):
            block = make_block(config, deterministic, f"block_{layer}", previous)
            x, cache = block(x + guide[..., layer, :], positions, mask, caches[layer], index)
            updated.append(cache)
        return self.norm(x), updated
