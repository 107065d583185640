"""Drawing music from the decoder: one compiled loop with a key-value cache."""

import dataclasses
import math
from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from musicvae_jax.config import ConfigError
from musicvae_jax.models.decoder import Past
from musicvae_jax.models.layers import KVCache
from musicvae_jax.models.vae import MusicVAE, decoder_method
from musicvae_jax.rng import row_keys
from musicvae_jax.types import Array, Latents, Variables

_NUM_SEGMENTS = 4  # the cache grows so many times: attention reads 5/8 of a full cache on average


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
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"SamplingConfig.temperature = {self.temperature}: allowed is 0 or more")
        if self.top_k < 0:
            raise ConfigError(f"SamplingConfig.top_k = {self.top_k}: allowed is 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"SamplingConfig.top_p = {self.top_p}: allowed is 0 < value <= 1")


class Choice(NamedTuple):
    """A `SamplingConfig` for compiled code. Another number does not compile it anew; None does."""

    temperature: Array | float | None
    top_p: Array | float | None

    @classmethod
    def of(cls, sampling: SamplingConfig) -> Self:
        return cls(sampling.temperature or None, sampling.top_p if sampling.top_p < 1 else None)


def sample_categorical(logits: Array, gumbel: Array, choice: Choice, top_k: int = 0) -> Array:
    """Draws one class per row: the largest of logits + noise (Gumbel 1954), as `jax.random.categorical` does.

    Args:
        logits: float[batch, vocab].
        gumbel: float[batch, vocab], standard Gumbel noise; at temperature 0 (None) it is not read.
        choice: the temperature and the nucleus.
        top_k: 0 keeps all.

    Returns:
        int32[batch].
    """
    if choice.temperature is not None:
        logits = restrict(logits / choice.temperature, top_k, choice.top_p) + gumbel
    return logits.argmax(-1).astype(jnp.int32)


def restrict(logits: Array, top_k: int, top_p: Array | float | None) -> Array:
    """Sets the logits of classes outside the top k or the nucleus to -inf; at least one class stays.

    Args:
        logits: float[..., vocab].
        top_k: 0 keeps all.
        top_p: None keeps all.
    """
    if top_k:
        floor = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < floor, -jnp.inf, logits)
    if top_p is not None:
        order = jnp.argsort(-logits, -1)
        probabilities = jnp.take_along_axis(jax.nn.softmax(logits), order, -1)
        before = jnp.cumsum(probabilities, -1) - probabilities  # the probability of all more probable classes
        outside = jnp.put_along_axis(jnp.zeros(logits.shape, bool), order, before >= top_p, -1, inplace=False)
        logits = jnp.where(outside, -jnp.inf, logits)
    return logits


def sample_tokens(
    model: MusicVAE,
    variables: Variables,
    latents: Latents,
    metre: Array,
    mask: Array,
    key: Array,
    sampling: SamplingConfig,
    known: Array | None = None,
    conditions: Array | None = None,
    guidance: Array | float | None = None,
) -> Array:
    """Decodes latents slot by slot, on all devices that hold the variables.

    Args:
        model: the VAE.
        variables: its ``params``, and ``batch_stats`` where it has them.
        latents: level -> float[batch, time, dim].
        metre: int32[batch, measure, 2].
        mask: bool[batch, measure, slot], the slots that each metre has, as `codec.slot_mask` gives them.
        key: the tokens of a row depend on the key, the number of the row, its latents and its metre only.
        sampling: how tokens are chosen.
        known: int32[batch, measure, slot, field], the tokens of measures that are not drawn, as far as the decoder sees
            the past; -1 in the measures that are drawn. All are drawn if not given.
        conditions: float[batch, condition], NaN where unknown; read with ``condition_decoder``.
        guidance: w of the logits w told + (1 - w) untold, of a decoder with conditions and without (classifier-free
            guidance, Ho & Salimans 2021); it then runs twice. None: those with conditions. Read with
            ``condition_decoder``.

    Returns:
        int32[batch, measure, slot, field], 0 where masked and after the end of a measure.
    """
    # Measures that are decoded in parallel take as long as the longest.
    length = int(np.flatnonzero(np.any(mask, (0, 1))).max(initial=0)) + 1
    length = length if model.config.context == "none" else mask.shape[-1]
    choice, mesh = Choice.of(sampling), _mesh(variables)
    guidance = guidance if model.config.condition_decoder else None
    return _sample_tokens(
        model, variables, latents, metre, mask, key, choice, sampling.top_k, length, mesh, known, conditions, guidance
    )


def _mesh(variables: Variables) -> Mesh | None:
    """The devices that variables are replicated over, None for one."""
    sharding = getattr(jax.tree.leaves(variables)[0], "sharding", None)
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) and mesh.size > 1 else None


@partial(jax.jit, static_argnames=("model", "top_k", "length", "mesh"))
def _sample_tokens(
    model: MusicVAE,
    variables: Variables,
    latents: Latents,
    metre: Array,
    mask: Array,
    key: Array,
    choice: Choice,
    top_k: int,
    length: int,
    mesh: Mesh | None,
    known: Array | None,
    conditions: Array | None,
    guidance: Array | float | None,
) -> Array:
    rows, (batch, measures, slots) = jnp.arange(len(mask)), mask.shape
    fields, context = model.fields, model.config.context
    apply = partial(model.apply, variables)
    mask = mask[..., :length]
    # Axes: batch, measure, slot or 1, layer, dim.
    guide = apply(latents, metre, None, conditions, method=decoder_method("guide"))
    if guidance is not None:  # each row twice, with conditions and without; both get the same tokens
        untold = apply(latents, metre, None, None, method=decoder_method("guide"))
        guide = jnp.stack([guide, untold], 1).reshape(2 * batch, *guide.shape[1:])
        rows, mask, known = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, 0), (rows, mask, known))
        batch *= 2
    # A lane is decoded slot by slot: a window, or a measure where measures are independent given the latents.
    lanes, positions = (batch * measures, length) if context == "none" else (batch, measures * slots)
    # Then: measure, slot or 1, lane, layer, dim.
    guide = jnp.moveaxis(guide.reshape(lanes, -1, *guide.shape[2:]), 0, 2)
    allowed = jnp.moveaxis(mask.reshape(lanes, positions), 1, 0)  # [position, lane]
    if known is not None:  # then [position, lane, field]
        known = jnp.moveaxis(jnp.asarray(known)[:, :, :length].reshape(lanes, positions, -1), 1, 0)
    keys = jnp.repeat(row_keys(key, rows), lanes // batch)
    first = jnp.arange(lanes) % (lanes // batch) * slots  # the slot of the window that a lane begins with
    if mesh is not None and lanes % mesh.size == 0:
        over_lanes = [NamedSharding(mesh, PartitionSpec(*(None,) * axis, mesh.axis_names)) for axis in range(3)]
        guide, allowed, keys, first = jax.lax.with_sharding_constraint(
            (guide, allowed, keys, first), (over_lanes[2], over_lanes[1], over_lanes[0], over_lanes[0])
        )

    def body(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        past, ended, cache = carry
        position, present, noise, given = inputs
        slot = position % slots
        ended = ended & (slot > 0)
        present = present & ~ended
        origin = 0
        if context == "previous":  # the cache holds this measure and the one before
            origin = (position // slots - 1) * slots
            cache = jax.tree.map(lambda leaf: jnp.where(slot == 0, _next_measure(leaf, slots), leaf), cache)
        here = guide[position // slots, slot % guide.shape[1]]
        x, cache = apply(past, position, here, cache, origin, method=decoder_method("step"))
        tokens = jnp.zeros((lanes, 0), jnp.int32)
        for number, gumbel in enumerate(noise):
            logits = apply(x, tokens, slot == slots - 1, past.heard, method=decoder_method("field_logits"))
            if guidance is not None:
                told, untold = jnp.moveaxis(logits.reshape(batch // 2, 2, -1, logits.shape[-1]), 1, 0)
                mixed = untold + guidance * (told - untold)
                logits = jnp.stack([mixed, mixed], 1).reshape(logits.shape)
            drawn = sample_categorical(logits, gumbel, choice, top_k)[:, None]
            if given is not None:
                drawn = jnp.where(given[:, number, None] < 0, drawn, given[:, number, None])
            tokens = jnp.concatenate([tokens, drawn], -1)
        tokens = jnp.where(present[:, None], tokens, 0)
        if fields[0].end is not None:
            ended = ended | (present & (tokens[:, 0] == fields[0].end))
        return (past.then(tokens, present, fields), ended, cache), tokens

    windowed = context == "previous"
    segment = -(-positions // (_NUM_SEGMENTS if context == "flat" else 1))  # other caches are short
    carry = (
        Past.start((lanes,), fields),
        jnp.zeros(lanes, bool),
        apply((lanes,), 2 * slots if windowed else 0, method=decoder_method("empty_cache")),
    )
    pieces = []
    for start in range(0, positions, segment):
        part = jnp.arange(start, min(start + segment, positions))
        if not windowed:
            carry = (*carry[:2], [_grow(cache, len(part)) for cache in carry[2]])
        noise = tuple(
            _gumbel(
                keys, (first + part[:, None]) * len(fields) + number, 0 if choice.temperature is None else field.size
            )
            for number, field in enumerate(fields)
        )
        carry, tokens = jax.lax.scan(body, carry, (part, allowed[part], noise, None if known is None else known[part]))
        pieces.append(tokens)
    tokens = jnp.moveaxis(jnp.concatenate(pieces), 0, 1).reshape(batch, measures, -1, len(fields))
    tokens = tokens if guidance is None else tokens[::2]
    return jnp.pad(tokens, ((0, 0), (0, 0), (0, slots - tokens.shape[2]), (0, 0)))


def _gumbel(keys: Array, numbers: Array, size: int) -> Array:
    """Gumbel noise float[position, lane, size] from key[lane] and the numbers int[position, lane] of the draws."""
    draw = jax.vmap(lambda key, number: jax.random.gumbel(jax.random.fold_in(key, number), (size,)))
    return jax.vmap(draw, in_axes=(None, 0))(keys, numbers)


def _next_measure(entries: Array, slots: int) -> Array:
    """Moves a cache of two measures on by one: float[..., position, dim]."""
    return jnp.concatenate([entries[..., slots:, :], jnp.zeros_like(entries[..., :slots, :])], -2)


def _grow(cache: KVCache, length: int) -> KVCache:
    padding = [(0, 0)] * (cache.key.ndim - 2) + [(0, length), (0, 0)]
    return KVCache(jnp.pad(cache.key, padding), jnp.pad(cache.value, padding))
