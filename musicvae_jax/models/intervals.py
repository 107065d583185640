"""The last pitch of each voice, and what a slot says of the interval from it to the next pitch.

A voice is a field of a slot that has pitches. Pitches are MIDI numbers, -1 for none.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.embedding import Table
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array, Field, existing_fields

REACH = 24
"""Semitones: the largest interval that has a logit of its own."""


def voices_of(fields: Sequence[Field]) -> list[int]:
    """The numbers of the fields that have pitches."""
    return [number for number, field in enumerate(fields) if field.first_pitch is not None]


def pitches_of(tokens: Array, fields: Sequence[Field]) -> Array:
    """The pitches that start in a slot, of which the first n fields are given: int[..., n] to int[..., voice]."""
    found = [
        jnp.maximum(tokens[..., number] - field.first_pitch, -1)
        for number, field in enumerate(fields[: tokens.shape[-1]])
        if field.first_pitch is not None
    ]
    return jnp.stack(found, -1) if found else jnp.zeros((*tokens.shape[:-1], 0), jnp.int32)


def latest(pitches: Array, heard: Array) -> Array:
    """`pitches` where a note starts, and else `heard`: int[..., voice]."""
    return jnp.where(pitches < 0, heard, pitches)


def shown_pitches(tokens: Array, shown: Array, fields: Sequence[Field]) -> Array:
    """The pitches that start in slots, of those that are shown.

    Args:
        tokens: int[..., slot, field].
        shown: bool[..., slot].
        fields: of a slot.

    Returns:
        int[..., slot, voice].
    """
    exists = existing_fields(tokens, shown, fields)
    return jnp.where(exists[..., np.array(voices_of(fields), int)], pitches_of(tokens, fields), -1)


def heard_before(pitches: Array) -> Array:
    """The last pitch of each voice before each slot, however long ago: int[..., slot, voice] to the same shape."""
    slots = jnp.arange(pitches.shape[-2])[:, None]
    # Of two numbers the one of the later slot is larger, and a slot without a pitch has none.
    numbered = jnp.where(pitches < 0, -1, 128 * slots + pitches)
    last = jax.lax.cummax(numbered, numbered.ndim - 2)
    last = jnp.where(last < 0, -1, last % 128)
    return jnp.concatenate([jnp.full_like(last[..., :1, :], -1), last[..., :-1, :]], -2)


def move(x: Array, pitches: Array, num_pitches: int) -> Array:
    """From weights of intervals to weights of pitches: y[p] = x[REACH + p - pitch], 0 if that is out of reach.

    It is done by 1, 2, 4, ... places, because a gather would make the gradient a scatter.

    Args:
        x: float[..., 2 REACH + 1].
        pitches: int[...], from 0 to num_pitches - 1; the result is 0 where it is -1.
        num_pitches: length of the result.

    Returns:
        float[..., num_pitches].
    """
    x = jnp.where(pitches[..., None] < 0, 0, x)
    for bit in range((num_pitches - 1).bit_length()):
        places = [(0, 0)] * (x.ndim - 1)
        moved, kept = jnp.pad(x, [*places, (2**bit, 0)]), jnp.pad(x, [*places, (0, 2**bit)])
        x = jnp.where((pitches[..., None] >> bit) & 1 == 1, moved, kept)
    x = jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, num_pitches)])  # where num_pitches is larger than what can be reached
    return x[..., REACH : REACH + num_pitches]


class IntervalLogits(nn.Module):
    """Terms of the logits of a field: a weight for each interval to the last pitch of its voice, linear in x.

    So an interval is learnt once, not anew for every pitch that it starts from: a viewpoint beside that of absolute
    pitches (Conklin & Witten 1995).
    """

    config: ModelConfig
    field: Field

    @nn.compact
    def __call__(self, x: Array, heard: Array) -> Array:
        """float[..., dim] and the voice's last pitch int[...] to float[..., vocab], at least float32."""
        types = dtypes(self.config)
        wide = types | {"dtype": jnp.promote_types(types["dtype"], jnp.float32)}
        first = self.field.first_pitch or 0
        by_interval = nn.Dense(2 * REACH + 1, use_bias=False, **wide)(x)
        logits = move(by_interval, heard, self.field.size - first)
        return jnp.pad(logits, [*[(0, 0)] * (logits.ndim - 1), (first, 0)])


class PitchEmbedding(nn.Module):
    """The last pitches of the voices as one vector: the sum of an embedding for each."""

    config: ModelConfig
    num_voices: int

    def setup(self) -> None:
        self.tables = [Table(129, self.config.dim, **dtypes(self.config)) for _ in range(self.num_voices)]

    def __call__(self, pitches: Array) -> Array:
        """The first n voices: int[..., n], to float[..., dim]."""
        return sum(self.tables[voice](pitches[..., voice] + 1) for voice in range(pitches.shape[-1]))
