"""From measures to the spans of a level's latents, and back. The last span of a window may be shorter.

The axis ``time`` counts the latents of a level, ``measure`` the measures of a window.
"""

import flax.linen as nn
import jax.numpy as jnp

from musicvae_jax.config import LevelConfig, ModelConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array


def into_spans(x: Array, span: int, axis: int) -> Array:
    """Groups measures into spans: [..., measure, ...] to [..., time, span, ...]; the last span is padded with zeros.

    Args:
        x: array of any dtype.
        span: measures in a span.
        axis: the axis of the measures, counted from the end.
    """
    missing = -x.shape[axis] % span
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, missing)
    x = jnp.pad(x, padding)
    axis += x.ndim
    return x.reshape(*x.shape[:axis], -1, span, *x.shape[axis + 1 :])


def present_spans(present: Array, span: int) -> Array:
    """Which spans hold a measure: bool[..., measure] to bool[..., time]."""
    return into_spans(present, span, -1).any(-1)


def present_latents(metre: Array, level: LevelConfig) -> Array:
    """Which latents of a level a window has: int[..., measure, 2] to bool[..., time]."""
    return present_spans(metre[..., 0] > 0, level.span_in(metre.shape[-2]))


def to_measures(x: Array, span: int, num_measures: int) -> Array:
    """Repeats the value of a span for each of its measures: [..., time, dim] to [..., measure, dim]."""
    return jnp.repeat(x, span, axis=-2)[..., :num_measures, :]


def mean_over_spans(x: Array, present: Array, span: int) -> Array:
    """Means over present measures: float[..., measure, dim] to float[..., time, dim], 0 for an empty span."""
    inside = into_spans(present, span, -1)[..., None]
    values = into_spans(x, span, -2)
    return jnp.where(inside, values, 0).sum(-2) / jnp.maximum(inside.sum(-2), 1)


def make_reader(config: ModelConfig, level: LevelConfig, name: str | None = None) -> nn.Module:
    """The linear map from a latent to what it says to its measures.

    With `ModelConfig.slotwise` each measure of a span has its own map. A latent of the whole window has one map for all
    measures, because windows differ in length.
    """
    if config.slotwise and level.span > 1:
        return nn.DenseGeneral((level.span, config.dim), name=name, **dtypes(config))
    return nn.Dense(config.dim, name=name, **dtypes(config))


def read_measures(reader: nn.Module, z: Array, config: ModelConfig, level: LevelConfig, num_measures: int) -> Array:
    """A vector of the model's width for each measure, from the latent that spans it.

    Args:
        reader: of `make_reader`.
        z: float[..., time, level.dim].
        config: of the model.
        level: of the latents.
        num_measures: of the window.

    Returns:
        float[..., measure, config.dim].
    """
    read = reader(z)
    if config.slotwise and level.span > 1:
        return read.reshape(*read.shape[:-3], -1, read.shape[-1])[..., :num_measures, :]
    return to_measures(read, level.span_in(num_measures), num_measures)
