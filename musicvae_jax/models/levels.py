"""The hierarchy of latents: one loop over the levels, coarse to fine, for inference, generation and all between.

Generative: p(z_global) p(z_local | z_global) p(z_fine | z_local, z_global); inference: q with the music's features in
each condition. A level that is off is left out of every condition; one level alone is the latent of a plain VAE.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models import latents as latent
from musicvae_jax.models.batch_norm import MeanNorm
from musicvae_jax.models.delta import ar1_kl, ar1_sample
from musicvae_jax.models.priors import ContextAbove, LevelPrior, ancestral
from musicvae_jax.models.spans import present_latents
from musicvae_jax.types import Array, Gaussian, Latents, Moments


class Inferred(NamedTuple):
    """What a pass down the levels found; each field by level."""

    posterior: dict[str, Gaussian]
    prior: dict[str, Gaussian]
    latents: Latents
    kl: dict[str, Array]  # float[..., time, dim]
    moments: dict[str, Moments]
    kept: dict[str, Array]  # bool[...], see `VAEOutput`


class LatentLevels(nn.Module):
    """Priors and posteriors of all levels that a config turns on."""

    config: ModelConfig

    def setup(self) -> None:
        config = self.config
        # A bias before batch normalisation has no gradient, and Adam amplifies its rounding.
        self.heads = {
            level: latent.GaussianHead(config, width, centred=level in config.batch_norm_levels)
            for level, width in config.widths.items()
        }
        names = list(config.widths)
        self.contexts = {level: ContextAbove(config, level) for level in names if self._has_prior(level)}
        self.priors = {
            level: LevelPrior(config, config.widths[level], config.is_causal(level))
            for level in names
            if self._has_prior(level)
        }
        self.norms = {
            level: MeanNorm(config.widths[level], config.batch_norm_gamma) for level in config.batch_norm_levels
        }

    def infer(
        self,
        features: dict[str, Array],
        metre: Array,
        *,
        deterministic: bool = True,
        draw: bool = True,
        given: Mapping[str, Array] | None = None,
        batch_axes: Sequence[str] = (),
    ) -> Inferred:
        """Goes down the levels with the music's features in hand.

        Args:
            features: level -> float[..., time, dim].
            metre: int32[..., measure, 2].
            deterministic: False turns on level dropout (rng stream ``level_dropout``) and batch statistics.
            draw: False takes the means instead of draws (rng stream ``latent``).
            given: level -> latents to go on with instead of the level's own; posterior and KL stay the level's own.
            batch_axes: see `MeanNorm`.
        """
        found = Inferred({}, {}, {}, {}, {}, {})
        number_kept = self._number_kept(metre.shape[:-2]) if not deterministic and self.config.level_dropout else None
        for number, (level, width) in enumerate(self.config.widths.items()):
            present, context, prior_of = self._conditions(level, found.latents, metre)
            shape = (*features[level].shape[:-1], width)
            own = present
            if number_kept is not None:
                found.kept[level] = number_kept > number
                own = present & found.kept[level][..., None]
            noise = jnp.zeros(shape, _dtype(self.config))
            if draw:
                noise = jax.random.normal(self.make_rng("latent"), shape, _dtype(self.config))
            recognised = self._recognise(level, features[level], context)
            if level in self.norms:
                loc, found.moments[level] = self.norms[level](recognised.loc, own, deterministic, batch_axes)
                recognised = recognised._replace(loc=loc)
            z, prior, posterior = self._posterior(level, recognised, own, prior_of, noise)
            if number_kept is not None and number:
                drawn = self._draw(level, prior_of, shape, self.make_rng("level_dropout"), 1.0)
                z = jnp.where(own[..., None], z, drawn)
            if given and level in given:
                z = given[level]
            if level in self.config.delta_levels:
                kl = ar1_kl(latent.relative_to(posterior, prior), self.config.delta_alpha)
            else:
                kl = latent.kl_divergence(posterior, prior)
            found.posterior[level], found.prior[level] = posterior, prior
            found.latents[level] = jnp.where(present[..., None], z, 0)
            found.kl[level] = jnp.where(own[..., None], kl, 0)  # what is drawn from the prior costs nothing
        return found

    def sample(
        self, metre: Array, given: Mapping[str, Array] | None = None, temperature: Mapping[str, float] | None = None
    ) -> Latents:
        """Draws latents from the prior, top-down (rng stream ``latent``).

        Args:
            metre: int32[..., measure, 2].
            given: levels that are known already, level -> float[..., time, dim]; the others are drawn.
            temperature: level -> what the prior's scales are multiplied by; 1 for levels that are not named.
        """
        given, temperature = given or {}, temperature or {}
        latents: Latents = {}
        for level, width in self.config.widths.items():
            present, _, prior_of = self._conditions(level, latents, metre)
            key = self.make_rng("latent")  # of a given level, too: what is drawn below has the same noise
            if level in given:
                z = given[level]
            else:
                z = self._draw(level, prior_of, (*present.shape, width), key, temperature.get(level, 1.0))
            latents[level] = jnp.where(present[..., None], z, 0)
        return latents

    def _has_prior(self, level: str) -> bool:
        """Whether the level's prior is learned: the top level's is N(0, 1), unless it is causal."""
        return level != next(iter(self.config.widths)) or self.config.is_causal(level)

    def _conditions(
        self, level: str, above: Latents, metre: Array
    ) -> tuple[Array, Array | None, Callable[[Array], Gaussian]]:
        """Which latents are there, what the levels above say, the prior as a function of the level's own latents."""
        present = present_latents(metre, self.config, level)
        if not self._has_prior(level):
            dtype = _dtype(self.config)
            return present, None, lambda z: latent.standard_normal(z.shape, dtype)
        context = self.contexts[level](above, metre)
        if self.is_initializing():  # an unbound module makes no parameters
            self.priors[level](context, jnp.zeros((*present.shape, self.config.widths[level])), present)
        # Unbound, so that it may be called inside a scan.
        module, variables = self.priors[level].unbind()
        return present, context, lambda z: module.apply(variables, context, z, present)

    def _recognise(self, level: str, features: Array, context: Array | None) -> Gaussian:
        """What the music says of a level's latents: the likelihood of a ladder, else the posterior in prior units."""
        if self.config.inference != "ladder" and context is not None:
            features = jnp.concatenate([features, context], -1)
        return self.heads[level](features)

    def _posterior(
        self, level: str, recognised: Gaussian, present: Array, prior_of: Callable[[Array], Gaussian], noise: Array
    ) -> tuple[Array, Gaussian, Gaussian]:
        """The level's latents, their prior and their posterior."""
        ladder, causal = self.config.inference == "ladder", self.config.is_causal(level)
        if ladder and causal:
            return ancestral(prior_of, lambda prior: latent.merge(recognised, prior), noise)
        if causal:  # factorised along time, so that it cannot be relative to such a prior
            z = jnp.where(present[..., None], latent.place(noise, recognised), 0)
            return z, prior_of(z), recognised
        prior = prior_of(noise)
        posterior = latent.merge(recognised, prior) if ladder else latent.from_relative(recognised, prior)
        return latent.place(noise, posterior), prior, posterior

    def _draw(
        self,
        level: str,
        prior_of: Callable[[Array], Gaussian],
        shape: tuple[int, ...],
        key: Array,
        temperature: float,
    ) -> Array:
        """Latents from a level's prior."""
        if level in self.config.delta_levels:
            process = ar1_sample(shape, self.config.delta_alpha, key)
            return latent.place(temperature * process, prior_of(process))
        noise = temperature * jax.random.normal(key, shape, _dtype(self.config))
        if self.config.is_causal(level):
            return ancestral(prior_of, lambda prior: prior, noise)[0]
        return latent.place(noise, prior_of(noise))

    def _number_kept(self, leading: tuple[int, ...]) -> Array:
        """How many levels, from the top, keep their own latents in a window: int[...]."""
        number = len(self.config.widths)
        drop, keep = jax.random.split(self.make_rng("level_dropout"))
        dropped = jax.random.bernoulli(drop, self.config.level_dropout, leading)
        return jnp.where(dropped, jax.random.randint(keep, leading, 1, number), number)


def _dtype(config: ModelConfig) -> jnp.dtype:
    """What latents are computed in: float32 or wider."""
    return jnp.promote_types(config.dtype, jnp.float32)
