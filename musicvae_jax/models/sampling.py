"""Drawing music from the decoder: one compiled loop with a key-value cache."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from musicvae_jax.config import ConfigError
from musicvae_jax.models.embedding import PADDING, START
from musicvae_jax.models.layers import KVCache
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.rng import row_keys
from musicvae_jax.types import Array, Latents, Variables

_NUM_SEGMENTS = 4  # the cache grows this often: attention then reads 5/8 of a full masked cache on average


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How a token is chosen from its logits."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most probable token."""
    top_k: int = 0
    """Only the k most probable tokens; 0 keeps all (Fan et al. 2018)."""
    top_p: float = 1.0
    """Only the most probable tokens that together reach this probability (nucleus, Holtzman et al. 2020)."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ConfigError(f"SamplingConfig.temperature = {self.temperature}: allowed is 0 or more")
        if self.top_k < 0:
            raise ConfigError(f"SamplingConfig.top_k = {self.top_k}: allowed is 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"SamplingConfig.top_p = {self.top_p}: allowed is 0 < value <= 1")


def sample_categorical(logits: Array, keys: Array, sampling: SamplingConfig) -> Array:
    """Draws one class per row.

    Args:
        logits: float[batch, vocab].
        keys: key[batch], one per row, so that a row's draw does not depend on its neighbours.
        sampling: how to choose.

    Returns:
        int32[batch].
    """
    if sampling.temperature == 0:
        return logits.argmax(-1).astype(jnp.int32)
    logits = restrict(logits / sampling.temperature, sampling.top_k, sampling.top_p)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def restrict(logits: Array, top_k: int, top_p: float) -> Array:
    """Sets the logits of classes outside the top k or the nucleus to -inf; at least one class stays.

    Args:
        logits: float[..., vocab].
        top_k: 0 keeps all.
        top_p: 1 keeps all.
    """
    if top_k:
        floor = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < floor, -jnp.inf, logits)
    if top_p < 1:
        order = jnp.argsort(-logits, -1)
        probabilities = jnp.take_along_axis(jax.nn.softmax(logits), order, -1)
        before = jnp.cumsum(probabilities, -1) - probabilities  # the probability of all more probable classes
        outside = jnp.put_along_axis(jnp.zeros(logits.shape, bool), order, before >= top_p, -1, inplace=False)
        logits = jnp.where(outside, -jnp.inf, logits)
    return logits


@partial(jax.jit, static_argnames=("model", "sampling"))
def sample_tokens(
    model: MusicVAE,
    variables: Variables,
    latents: Latents,
    metre: Array,
    mask: Array,
    key: Array,
    sampling: SamplingConfig,
) -> Array:
    """Decodes latents slot by slot.

    Args:
        model: the VAE.
        variables: its ``params``, and ``batch_stats`` where it has them.
        latents: level -> float[batch, time, dim].
        metre: int32[batch, measure, 2].
        mask: bool[batch, measure, slot], the slots that each metre has, as `codec.slot_mask` gives them.
        key: a row's music depends on the key, its row number, its latents and its metre alone.
        sampling: how tokens are chosen.

    Returns:
        int32[batch, measure, slot, field], 0 where masked and after the end of a measure.
    """
    batch, measures, slots = mask.shape
    num_fields, end, context = len(model.fields), model.fields[0].end, model.config.context
    apply = partial(model.apply, variables)
    # A lane is decoded slot after slot: a window, or a measure where measures are independent given the latents.
    lanes = (batch * measures, slots) if context == "none" else (batch, measures * slots)
    conditions = apply(latents, metre, method="conditions")  # [batch, measure, slot or 1, layer, dim]
    # Then [measure, slot or 1, lane, layer, dim].
    conditions = jnp.moveaxis(conditions.reshape(lanes[0], -1, *conditions.shape[2:]), 0, 2)
    allowed = jnp.moveaxis(mask.reshape(lanes), 1, 0)  # [position, lane]
    keys = jnp.repeat(row_keys(key, jnp.arange(batch)), lanes[0] // batch)
    first = jnp.arange(lanes[0]) * lanes[1] % (measures * slots)  # the slot of the window that a lane begins with

    def body(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        past, special, ended, cache = carry
        position, present = inputs
        slot = position % slots
        ended = ended & (slot > 0)
        present = present & ~ended
        origin = 0
        if context == "previous":  # the cache holds this measure and the one before
            origin = (position // slots - 1) * slots
            cache = jax.tree.map(lambda leaf: jnp.where(slot == 0, _next_measure(leaf, slots), leaf), cache)
        x, cache = apply(
            past,
            special,
            position,
            conditions[position // slots, slot % conditions.shape[1]],
            cache,
            origin,
            method="step",
        )
        tokens = jnp.zeros((lanes[0], 0), jnp.int32)
        for field in range(num_fields):
            draw = jax.vmap(jax.random.fold_in)(keys, (first + position) * num_fields + field)
            logits = apply(x, tokens, slot == slots - 1, method="field_logits")
            token = sample_categorical(logits, draw, sampling)
            tokens = jnp.concatenate([tokens, token[:, None]], -1)
        tokens = jnp.where(present[:, None], tokens, 0)
        if end is not None:
            ended = ended | (present & (tokens[:, 0] == end))
        return (tokens, jnp.where(present, -1, PADDING), ended, cache), tokens

    windowed = context == "previous"
    segment = lanes[1] if windowed else -(-lanes[1] // _NUM_SEGMENTS)
    carry = (
        jnp.zeros((lanes[0], num_fields), jnp.int32),
        jnp.full(lanes[0], START),
        jnp.zeros(lanes[0], bool),
        apply((lanes[0],), 2 * slots if windowed else 0, method="empty_cache"),
    )
    pieces = []
    for start in range(0, lanes[1], segment):
        positions = jnp.arange(start, min(start + segment, lanes[1]))
        if not windowed:
            carry = (*carry[:3], [_grow(cache, len(positions)) for cache in carry[3]])
        carry, tokens = jax.lax.scan(body, carry, (positions, allowed[positions]))
        pieces.append(tokens)
    return jnp.moveaxis(jnp.concatenate(pieces), 0, 1).reshape(batch, measures, slots, num_fields)


def _next_measure(entries: Array, slots: int) -> Array:
    """A cache of two measures moves on by one: float[..., position, head, dim]."""
    return jnp.concatenate([entries[..., slots:, :, :], jnp.zeros_like(entries[..., :slots, :, :])], -3)


def _grow(cache: KVCache, length: int) -> KVCache:
    padding = [(0, 0)] * (cache.key.ndim - 3) + [(0, length), (0, 0), (0, 0)]
    return KVCache(jnp.pad(cache.key, padding), jnp.pad(cache.value, padding))
