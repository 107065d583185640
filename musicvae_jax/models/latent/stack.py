"""The stack of latent levels: one loop, coarse to fine, for inference and for generation.

Generative model: p(z_global) p(z_local | z_global) p(z_fine | z_local, z_global). Inference: each posterior is also
given the features of the music. A level that is off conditions nothing; one level alone is the latent of a plain
VAE.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import LevelConfig, LevelsConfig, ModelConfig
from musicvae_jax.models.conditions import known_conditions
from musicvae_jax.models.latent.bases import draw_noise, log_ratio, mask_kl, noise_width
from musicvae_jax.models.latent.batch_norm import MeanNorm
from musicvae_jax.models.latent.context import ContextAbove, Frame, Memory, ancestral, draw_in_frame
from musicvae_jax.models.latent.gaussian import (
    GaussianHead,
    from_frame,
    gaussian_from_frame,
    gaussian_to_frame,
    guided,
    merge,
    standard_normal,
    to_frame,
)
from musicvae_jax.models.latent.learned_bases import OfModes, make_base
from musicvae_jax.models.spans import present_latents
from musicvae_jax.types import KL, Array, Gaussian, Latents, Moments


class Inferred(NamedTuple):
    """What a pass down the levels found, by level; see `VAEOutput`."""

    latents: Latents
    residual: dict[str, Gaussian]
    frame: dict[str, Gaussian]
    kl: dict[str, KL]
    log_ratio: dict[str, Array]
    present: dict[str, Array]
    moments: dict[str, Moments]
    kept: dict[str, Array]
    log_responsibilities: dict[str, Array]


class _Known(NamedTuple):
    """What is known of a level before its own latents."""

    present: Array  # bool[..., time], the latents that the window has
    context: Array | None  # float[..., time, feature], what is above; None for a top level without conditions
    # Both of the level's latents float[..., time, dim], on which they depend only if causal, or with a memory.
    frame: Callable[[Array], Gaussian]
    heard: Callable[[Array], Array | None]  # the context of the base, likewise


class LatentStack(nn.Module):
    """Frames, bases and posteriors of all levels that are on."""

    config: ModelConfig
    levels: LevelsConfig

    def setup(self) -> None:
        config, levels = self.config, self.levels.on
        # No bias before batch normalisation: its gradient is 0, and Adam would amplify the rounding.
        self.heads = {
            name: GaussianHead(config, level.dim, centred=bool(level.batch_norm)) for name, level in levels.items()
        }
        framed = {
            name: level
            for name, level in levels.items()
            if name != self.levels.top or level.is_causal or level.memory_layers or config.conditions
        }
        self.contexts = {name: ContextAbove(config, self.levels, name) for name in framed}
        self.priors = {name: Frame(config, level.dim, level.is_causal) for name, level in framed.items()}
        self.metres = {name: ContextAbove(config, self.levels, name) for name in levels if levels[name].metre_context}
        self.memories = {
            name: Memory(config, level.memory_layers) for name, level in levels.items() if level.memory_layers
        }
        self.bases = {name: make_base(config, level, self.heads[name]) for name, level in levels.items()}
        self.norms = {name: MeanNorm(level.dim, level.batch_norm) for name, level in levels.items() if level.batch_norm}

    def infer(
        self,
        features: dict[str, Array],
        metre: Array,
        *,
        deterministic: bool = True,
        draw: bool = True,
        given: Mapping[str, Array] | None = None,
        conditions: Array | None = None,
        batch_axes: Sequence[str] = (),
    ) -> Inferred:
        """Goes down the levels with the features of the music.

        Args:
            features: level -> float[..., time, feature].
            metre: int32[..., measure, 2].
            deterministic: False turns on level dropout (rng stream ``level_dropout``) and batch statistics.
            draw: False takes posterior means instead of draws (rng stream ``latent``).
            given: level -> latents that replace the level's own draw; its posterior and KL stay its own.
            conditions: float[..., condition], NaN where unknown; None or () if all are.
            batch_axes: see `MeanNorm`.
        """
        found = Inferred(*({} for _ in Inferred._fields))
        number_kept = self._number_kept(metre.shape[:-2]) if not deterministic and self.config.level_dropout else None
        for number, (name, level) in enumerate(self.levels.on.items()):
            base, known = self.bases[name], self._known(name, found.latents, metre, conditions)
            present = own = known.present
            if number_kept is not None:
                found.kept[name] = number_kept > number
                own = present & found.kept[name][..., None]
            shape = (*present.shape, level.dim)
            noise = self._noise("latent", shape) if draw else jnp.zeros(shape, _dtype(self.config))
            recognised = self._recognise(name, features[name], known.context)
            if level.batch_norm:
                loc, found.moments[name] = self.norms[name](recognised.loc, own, deterministic, batch_axes)
                recognised = recognised._replace(loc=loc)
            e, frame, residual = self._posterior(level, recognised, known, noise)
            z = from_frame(e, frame)
            heard = known.heard(z)
            ratio = log_ratio(base, residual, e, heard)
            if isinstance(base, OfModes):
                found.log_responsibilities[name] = base.log_responsibilities(e, heard)
            kl = base.kl(residual, heard) if level.kl_estimate == "exact" else KL(ratio, None)
            if number_kept is not None and number:
                own_noise = self._noise("level_dropout", (*present.shape, noise_width(level)))
                z = jnp.where(own[..., None], z, self._draw(name, known, own_noise, 1.0))
            if given and name in given:
                z = given[name]
            if level.is_causal and (number_kept is not None or given):  # the frame is that of z, which is another one
                moved = known.frame(z)
                frame, residual = moved, gaussian_to_frame(gaussian_from_frame(residual, frame), moved)
            found.latents[name] = jnp.where(present[..., None], z, 0)
            found.residual[name], found.frame[name], found.present[name] = residual, frame, present
            found.kl[name] = mask_kl(kl, own)  # what is drawn from the prior costs nothing
            found.log_ratio[name] = jnp.where(own, ratio, 0)
        return found

    def place(
        self, metre: Array, given: Mapping[str, Array], e: Mapping[str, Array], conditions: Array | None = None
    ) -> Latents:
        """Latents of all levels, z = loc(above) + scale(above) * e where they are not given.

        Args:
            metre: int32[..., measure, 2].
            given: level -> float[..., time, dim].
            e: level -> float[..., time, dim].
            conditions: as of `infer`.
        """
        latents: Latents = {}
        for name, level in self.levels.on.items():
            known = self._known(name, latents, metre, conditions)
            z = given[name] if name in given else draw_in_frame(known.frame, e[name], level.is_causal)
            latents[name] = jnp.where(known.present[..., None], z, 0)
        return latents

    def sample(
        self,
        metre: Array,
        given: Mapping[str, Array] | None = None,
        temperature: Mapping[str, float] | None = None,
        conditions: Array | None = None,
        guidance: Array | float | None = None,
        begun: Mapping[str, Array] | None = None,
    ) -> Latents:
        """Draws latents from the prior, top-down (rng stream ``latent``).

        Args:
            metre: int32[..., measure, 2].
            given: level -> float[..., time, dim], levels that are known; the others are drawn.
            temperature: level -> what multiplies the scale of its base; 1 for levels that are not named.
            conditions: as of `infer`.
            guidance: how strongly the frames follow the conditions, see `gaussian.guided`; None: as they were learned.
            begun: level -> float[..., n, dim], its first latents, if they are known; the others are drawn given them
                (under ``ar1`` without).
        """
        given, temperature, begun = given or {}, temperature or {}, begun or {}
        latents: Latents = {}
        for name, level in self.levels.on.items():
            known = self._known(name, latents, metre, conditions)
            if guidance is not None:
                untold = self._known(name, latents, metre, None)
                known = known._replace(frame=partial(_guided_frame, known.frame, untold.frame, guidance))
            # Drawn for a given level, too: the levels below then have the same noise.
            noise = self._noise("latent", (*known.present.shape, noise_width(level)))
            factor = temperature.get(name, 1.0)
            z = given[name] if name in given else self._draw(name, known, noise, factor, begun.get(name))
            latents[name] = jnp.where(known.present[..., None], z, 0)
        return latents

    def _known(self, name: str, above: Latents, metre: Array, conditions: Array | None) -> _Known:
        level = self.levels[name]
        present = present_latents(metre, level)
        played = self.metres[name]({}, metre) if level.metre_context else None
        if name not in self.priors:
            dtype = _dtype(self.config)
            return _Known(present, None, lambda z: standard_normal(z.shape, dtype), lambda _: played)
        context = self.contexts[name](above, metre, known_conditions(self.config, conditions, metre.shape[:-2]))
        if self.is_initializing():  # an unbound module makes no parameters
            z = jnp.zeros((*present.shape, level.dim))
            self.priors[name](context, z, present)
            if level.memory_layers:
                self.memories[name](context, z, present)
        frame = _unbound(self.priors[name])
        heard = context if played is None else context + played
        if not level.memory_layers:
            return _Known(present, context, lambda z: frame(context, z, present), lambda _: heard)
        memory = _unbound(self.memories[name])
        return _Known(present, context, lambda z: frame(context, z, present), lambda z: memory(heard, z, present))

    def _draw(
        self, name: str, known: _Known, noise: Array, temperature: Array | float, begun: Array | None = None
    ) -> Array:
        """Latents from the prior of a level, of the noise that its base takes."""
        level = self.levels[name]
        if not level.memory_layers:
            e = self.bases[name].sample(noise, known.heard(noise), temperature)
            return draw_in_frame(known.frame, e, level.is_causal, begun)
        sample = _unbound(self.bases[name], method="sample")

        def draw(z: Array) -> Array:
            return from_frame(sample(noise, known.heard(z), temperature), known.frame(z))

        return ancestral(draw, noise[..., : level.dim], begun)

    def _recognise(self, name: str, features: Array, context: Array | None) -> Gaussian:
        """What the music says of a level: the likelihood of a ladder, else the posterior in the units of the frame."""
        if self.config.inference != "ladder" and context is not None:
            features = jnp.concatenate([features, context], -1)
        return self.heads[name](features)

    def _posterior(
        self, level: LevelConfig, recognised: Gaussian, known: _Known, noise: Array
    ) -> tuple[Array, Gaussian, Gaussian]:
        """The draw e, the frame, and the posterior q(e | x) in the units of the frame."""
        ladder, causal = self.config.inference == "ladder", level.is_causal
        if not (ladder or causal or level.posterior == "absolute"):
            return from_frame(noise, recognised), known.frame(noise), recognised
        if not ladder:  # under a causal frame it is independent along time, so it cannot be stated in that frame
            z = from_frame(noise, recognised)
            frame = known.frame(z)
            return to_frame(z, frame), frame, gaussian_to_frame(recognised, frame)
        z = noise  # on which only a causal frame depends
        if causal:
            z = ancestral(lambda z: from_frame(noise, merge(recognised, known.frame(z))), noise)
        frame = known.frame(z)
        posterior = merge(recognised, frame)
        return to_frame(from_frame(noise, posterior), frame), frame, gaussian_to_frame(posterior, frame)

    def _noise(self, stream: str, shape: tuple[int, ...]) -> Array:
        return draw_noise(self.make_rng(stream), shape, _dtype(self.config))

    def _number_kept(self, leading: tuple[int, ...]) -> Array:
        """How many levels, from the top, keep their own latents in a window: int[...]."""
        number = len(self.levels.on)
        drop, keep = jax.random.split(self.make_rng("level_dropout"))
        dropped = jax.random.bernoulli(drop, self.config.level_dropout, leading)
        return jnp.where(dropped, jax.random.randint(keep, leading, 1, number), number)


def _guided_frame(
    told: Callable[[Array], Gaussian], untold: Callable[[Array], Gaussian], guidance: Array | float, z: Array
) -> Gaussian:
    return guided(told(z), untold(z), guidance)


def _unbound(module: nn.Module, **settings: Any) -> Callable[..., Any]:
    """A module as a function of its inputs, which can be called inside a scan."""
    alone, variables = module.unbind()
    return partial(alone.apply, variables, **settings)


def _dtype(config: ModelConfig) -> jnp.dtype:
    """What latents are computed in: float32 or wider."""
    return jnp.promote_types(config.dtype, jnp.float32)
