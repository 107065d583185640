"""What a level's latents say to each measure that they span."""

import flax.linen as nn

from musicvae_jax.config import ModelConfig
from musicvae_jax.models import spans
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array


def make_reader(config: ModelConfig, level: str, name: str | None = None) -> nn.Module:
    """A linear map of a latent; with `ModelConfig.slotwise` one for each measure of the span.

    The window has any number of measures, so that what spans it says the same to all of them.
    """
    span, types = config.span(level, 1), dtypes(config)
    if config.slotwise and span > 1:
        return nn.DenseGeneral((span, config.dim), name=name, **types)
    return nn.Dense(config.dim, name=name, **types)


def over_measures(read: Array, config: ModelConfig, level: str, num_measures: int) -> Array:
    """What `make_reader`'s map gave, measure by measure: float[..., time, (span,) dim] to float[..., measure, dim]."""
    span = config.span(level, num_measures)
    if config.slotwise and config.span(level, 1) > 1:
        return read.reshape(*read.shape[:-3], -1, read.shape[-1])[..., :num_measures, :]
    return spans.over_measures(read, span, num_measures)
