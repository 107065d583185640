"""The time axes of the levels: measures into spans, and spans back over measures. The last span may be shorter."""

import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.types import Array


def into_spans(x: Array, span: int, axis: int) -> Array:
    """Measures grouped into spans: [..., measure, ...] to [..., time, span, ...], the last span padded with zeros.

    Args:
        x: of any type, False or 0 in padding.
        span: measures in a span.
        axis: of the measures, counted from the end, negative.
    """
    missing = -x.shape[axis] % span
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, missing)
    x = jnp.pad(x, padding)
    axis += x.ndim
    return x.reshape(*x.shape[:axis], -1, span, *x.shape[axis + 1 :])


def present_spans(present: Array, span: int) -> Array:
    """The spans that hold a measure: bool[..., measure] to bool[..., time]."""
    return into_spans(present, span, -1).any(-1)


def present_latents(metre: Array, config: ModelConfig, level: str) -> Array:
    """The latents of a level that windows have: int[..., measure, 2] to bool[..., time]."""
    return present_spans(metre[..., 0] > 0, config.span(level, metre.shape[-2]))


def over_measures(x: Array, span: int, num_measures: int) -> Array:
    """Every measure gets what its span has: [..., time, dim] to [..., measure, dim]."""
    return jnp.repeat(x, span, axis=-2)[..., :num_measures, :]


def mean_over_spans(x: Array, present: Array, span: int) -> Array:
    """Means over measures that are there: float[..., measure, dim] to float[..., time, dim], 0 for an empty span."""
    inside = into_spans(present, span, -1)[..., None]
    values = into_spans(x, span, -2)
    return jnp.where(inside, values, 0).sum(-2) / jnp.maximum(inside.sum(-2), 1)
