"""The frame of a level's latents, z = loc + scale * e: a function of the levels above and of the metre."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import LevelsConfig, ModelConfig
from musicvae_jax.models.conditions import ConditionEmbedding
from musicvae_jax.models.embedding import MetreEmbedding
from musicvae_jax.models.latent.gaussian import GaussianHead, from_frame
from musicvae_jax.models.layers import RMSNorm, dtypes, make_block
from musicvae_jax.models.spans import make_reader, mean_over_spans, read_measures
from musicvae_jax.types import Array, Gaussian, Latents


class ContextAbove(nn.Module):
    """What the levels above a level, and the metre, say to each of its latents; to a top level, conditions or metre."""

    config: ModelConfig
    levels: LevelsConfig
    level: str

    @nn.compact
    def __call__(self, above: Latents, metre: Array, conditions: Array | None = None) -> Array:
        """What is above, as a feature of each latent.

        Args:
            above: the latents of the levels above.
            metre: int[..., measure, 2].
            conditions: float[..., condition], NaN where unknown; None if the model has none. A top level is told them
                in place of the metre; levels below see them in the latents above, and by themselves with
                ``condition_levels``.

        Returns:
            float[..., time, feature].
        """
        config, types, measures = self.config, dtypes(self.config), metre.shape[-2]
        x = jnp.zeros((*metre.shape[:-1], config.dim), types["dtype"])
        if above or conditions is None:
            x = MetreEmbedding(config, name="metre")(metre)
        if conditions is not None and (config.condition_levels or not above):
            x = x + ConditionEmbedding(config, name="conditions")(conditions)[..., None, :]
        for name, z in above.items():
            level = self.levels[name]
            reader = make_reader(config, level, f"read_{name}")
            x = x + read_measures(reader, z.astype(x.dtype), config, level, measures)
        span = self.levels[self.level].span_in(measures)
        x = mean_over_spans(x, metre[..., 0] > 0, span).astype(x.dtype)
        for layer in range(config.prior_layers):
            hidden = nn.Dense(2 * config.dim, name=f"widen_{layer}", **types)(RMSNorm(name=f"norm_{layer}", **types)(x))
            x = x + nn.Dense(config.dim, name=f"narrow_{layer}", **types)(nn.gelu(hidden))
        return x


class Frame(nn.Module):
    """loc and scale of every latent; with ``causal`` they also depend on the earlier latents. Starts at 0 and 1."""

    config: ModelConfig
    dim: int
    causal: bool

    @nn.compact
    def __call__(self, context: Array, z: Array, present: Array) -> Gaussian:
        """The frame.

        Args:
            context: float[..., time, feature], of `ContextAbove`.
            z: float[..., time, dim], the level's latents; if causal, the frame of latent t depends on those before t.
            present: bool[..., time].
        """
        if self.causal:
            context = _read_earlier(self.config, max(self.config.prior_layers, 1), context, z, present)
        return GaussianHead(self.config, self.dim, standard=True, name="head")(context)


class Memory(nn.Module):
    """What the levels above and the earlier latents of a level say to each latent: the context of a base."""

    config: ModelConfig
    layers: int

    @nn.compact
    def __call__(self, context: Array, z: Array, present: Array) -> Array:
        """float[..., time, feature]; arguments as of `Frame`."""
        return _read_earlier(self.config, self.layers, context, z, present)


def _read_earlier(config: ModelConfig, layers: int, context: Array, z: Array, present: Array) -> Array:
    """A causal transformer over the latents, whose parameters are those of the module that calls it."""
    types, positions = dtypes(config), np.arange(z.shape[-2])
    before = jnp.where(positions[:, None] == 0, 0, jnp.roll(z, 1, -2)).astype(context.dtype)
    x = context + nn.Dense(config.dim, name="read_before", **types)(before)
    mask = (positions[:, None] >= positions) & present[..., None, :]
    for layer in range(layers):
        x, _ = make_block(config, True, f"block_{layer}")(x, positions, mask)
    return x


def ancestral(draw: Callable[[Array], Array], shape_like: Array, begun: Array | None = None) -> Array:
    """Draws latents one after the other, where each depends on those before it.

    Args:
        draw: from latents float[..., time, dim] to a draw of each; that of latent t depends on latents before t only.
        shape_like: float[..., time, dim].
        begun: float[..., n, dim], the first latents, where they are known.

    Returns:
        float[..., time, dim], the latents.
    """
    start = _begin(jnp.zeros_like(shape_like), begun)
    first = 0 if begun is None else begun.shape[-2]

    def next_latent(z: Array, t: Array) -> tuple[Array, None]:
        return jnp.where((jnp.arange(z.shape[-2]) == t)[:, None], draw(z), z), None

    z, _ = jax.lax.scan(next_latent, start, jnp.arange(first, shape_like.shape[-2]))
    return z


def draw_in_frame(frame: Callable[[Array], Gaussian], e: Array, causal: bool, begun: Array | None = None) -> Array:
    """z = loc + scale * e for given e; one latent after the other if the frame depends on earlier latents.

    Args:
        frame: of latents float[..., time, dim].
        e: float[..., time, dim].
        causal: whether the frame depends on earlier latents.
        begun: as of `ancestral`.
    """
    if causal:
        return ancestral(lambda z: from_frame(e, frame(z)), e, begun)
    return _begin(from_frame(e, frame(e)), begun)


def _begin(z: Array, begun: Array | None) -> Array:
    """Latents float[..., time, dim] whose first are replaced."""
    return z if begun is None else z.at[..., : begun.shape[-2], :].set(begun)
