"""What the latents of a level are before any music is seen: p(z | levels above, metre)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.embedding import MetreEmbedding
from musicvae_jax.models.latents import GaussianHead, place
from musicvae_jax.models.layers import dtypes, make_block
from musicvae_jax.models.reading import make_reader, over_measures
from musicvae_jax.models.spans import mean_over_spans
from musicvae_jax.types import Array, Gaussian, Latents


class ContextAbove(nn.Module):
    """What the levels above a level, and the metre, say to each of its latents."""

    config: ModelConfig
    level: str

    @nn.compact
    def __call__(self, above: Latents, metre: Array) -> Array:
        """Latents of the levels above and int[..., measure, 2] to float[..., time, dim]."""
        config, types, measures = self.config, dtypes(self.config), metre.shape[-2]
        x = MetreEmbedding(config, name="metre")(metre)
        for level, z in above.items():
            x = x + over_measures(
                make_reader(config, level, f"read_{level}")(z.astype(x.dtype)), config, level, measures
            )
        x = mean_over_spans(x, metre[..., 0] > 0, config.span(self.level, measures)).astype(x.dtype)
        for layer in range(config.prior_layers):
            hidden = nn.Dense(2 * config.dim, name=f"widen_{layer}", **types)(
                nn.RMSNorm(name=f"norm_{layer}", **types)(x)
            )
            x = x + nn.Dense(config.dim, name=f"narrow_{layer}", **types)(nn.gelu(hidden))
        return x


class LevelPrior(nn.Module):
    """The Gaussian prior of a level's latents; where it is causal, given the latents before them, too."""

    config: ModelConfig
    dim: int
    causal: bool

    @nn.compact
    def __call__(self, context: Array, z: Array, present: Array) -> Gaussian:
        """The prior of every latent.

        Args:
            context: float[..., time, dim], of `ContextAbove`.
            z: float[..., time, dim], the level's own latents; latent t sees those before t, if causal.
            present: bool[..., time].
        """
        if self.causal:
            config, types = self.config, dtypes(self.config)
            before = jnp.roll(z, 1, -2).at[..., 0, :].set(0).astype(context.dtype)
            x = context + nn.Dense(config.dim, name="read_before", **types)(before)
            positions = jnp.arange(z.shape[-2])
            mask = (positions[:, None] >= positions) & present[..., None, :]
            for layer in range(max(config.prior_layers, 1)):
                x, _ = make_block(config, True, f"block_{layer}")(x, positions, mask)
            context = x
        return GaussianHead(self.config, self.dim, standard=True, name="head")(context)


def ancestral(
    prior: Callable[[Array], Gaussian], posterior: Callable[[Gaussian], Gaussian], noise: Array
) -> tuple[Array, Gaussian, Gaussian]:
    """Draws latents one after the other, where each one's distribution depends on those before it.

    Args:
        prior: latents float[..., time, dim] to the prior of each; that of latent t may depend on latents before t.
        posterior: from the prior of all latents to what they are drawn from; latent by latent.
        noise: float[..., time, dim], standard normal.

    Returns:
        The latents, the prior given them, and what they were drawn from.
    """

    def draw(z: Array, t: Array) -> tuple[Array, None]:
        drawn = place(noise, posterior(prior(z)))
        return jnp.where((jnp.arange(z.shape[-2]) == t)[:, None], drawn, z), None

    z, _ = jax.lax.scan(draw, jnp.zeros_like(noise), jnp.arange(noise.shape[-2]))
    final = prior(z)
    return z, final, posterior(final)
