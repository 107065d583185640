"""The variational autoencoder: encoder, latent levels, decoder (Kingma & Welling 2014)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import LevelsConfig, ModelConfig
from musicvae_jax.models.conditions import hide_conditions
from musicvae_jax.models.decoder import MusicDecoder
from musicvae_jax.models.encoder import MusicEncoder
from musicvae_jax.models.group_heads import GroupHeads
from musicvae_jax.models.latent.gaussian import gaussian_from_frame
from musicvae_jax.models.latent.stack import Inferred, LatentStack
from musicvae_jax.models.span_heads import SpanHead
from musicvae_jax.types import Array, Batch, Field, Gaussian, Latents, VAEOutput


class MusicVAE(nn.Module):
    """A VAE of windows of music. Leading batch axes are free.

    With every level off it is a language model: the decoder alone, which is told the metres.

    Variables hold only ``params``, and ``batch_stats`` where levels are normalised over the batch.

    Example:
        >>> from musicvae_jax import Field, LevelsConfig, ModelConfig, MusicVAE
        >>> model = MusicVAE(ModelConfig(), LevelsConfig(), fields=(Field("melody", 130),), slots=18)
    """

    config: ModelConfig
    levels: LevelsConfig
    fields: Sequence[Field]
    slots: int

    def setup(self) -> None:
        shape = (self.config, self.levels, self.fields, self.slots)
        self.encoder = MusicEncoder(*shape) if self.levels.on else None
        self.stack = LatentStack(self.config, self.levels)
        nn.share_scope(self, self.stack)
        self.span_heads = {name: SpanHead(*shape, name) for name, level in self.levels.on.items() if level.span_head}
        self.group_heads = {
            name: GroupHeads(self.config, level) for name, level in self.levels.on.items() if level.group_heads
        }
        self.decoder = MusicDecoder(*shape)

    def __call__(
        self,
        batch: Batch,
        deterministic: bool = True,
        *,
        given: Mapping[str, Array] | None = None,
        skip: bool | None = None,
        batch_axes: Sequence[str] = (),
    ) -> VAEOutput:
        """Encodes, draws the latents and decodes under teacher forcing.

        Args:
            batch: windows of music.
            deterministic: False turns on what belongs to training alone: dropout of features, tokens, levels and the
                skip connection, the skip connection itself, and the statistics of the batch.
            given: level -> latents that replace the level's draw; its posterior and KL stay its own.
            skip: whether the decoder sees the encoder's features; only in training if not given.
            batch_axes: names of mapped axes over which a batch is spread, for the statistics of the batch.

        Needs the rng stream ``latent``, and in training ``dropout``, ``token_dropout``, ``level_dropout``, ``skip``,
        ``conditions`` where those are on.
        """
        features, measures = self._features(batch, deterministic)
        conditions = batch.conditions
        if self.config.conditions and len(conditions) and not deterministic:
            conditions = hide_conditions(conditions, self.make_rng("conditions"), self.config.condition_dropout)
        found = self.stack.infer(
            features,
            batch.metre,
            deterministic=deterministic,
            given=given,
            conditions=conditions,
            batch_axes=batch_axes,
        )
        shown = self._skip(measures, deterministic, skip)
        logits = self.decoder(found.latents, batch, deterministic, shown, conditions)
        span_nll: dict[str, Array] = {level: head(found.latents, batch) for level, head in self.span_heads.items()}
        if found.kept:  # a draw from the prior knows nothing of this window
            span_nll = {level: jnp.where(found.kept[level], value, 0) for level, value in span_nll.items()}
        predicted = {level: heads(found.latents[level]) for level, heads in self.group_heads.items()} or ()
        return VAEOutput(
            logits=logits, span_nll=span_nll, predicted=predicted, conditions=conditions, **found._asdict()
        )

    def encode(self, batch: Batch, deterministic: bool = True) -> dict[str, Gaussian]:
        """The posterior q(z | x) of every level, given the means of the levels above."""
        features, _ = self._features(batch, deterministic)
        found = self.stack.infer(features, batch.metre, draw=False, conditions=batch.conditions)
        return {level: gaussian_from_frame(found.residual[level], frame) for level, frame in found.frame.items()}

    def features(self, batch: Batch) -> dict[str, Array]:
        """What the encoder finds for each level; see `MusicEncoder`."""
        return self._features(batch, True)[0]

    def infer(
        self, batch: Batch, given: Mapping[str, Array] | None = None, features: Mapping[str, Array] | None = None
    ) -> Inferred:
        """Draws from the posterior, coarse to fine, and KLs, without decoding (rng stream ``latent``).

        Args:
            batch: windows; of metres and conditions alone, if their features are given.
            given: level -> latents that replace the level's draw.
            features: what `features` found before.
        """
        features = self.features(batch) if features is None else dict(features)
        return self.stack.infer(features, batch.metre, given=given, conditions=batch.conditions)

    def responsibilities(self, batch: Batch) -> dict[str, Array]:
        """p(mode | e, above) at the posterior means, of levels with a mixture: level -> float[..., time, mode]."""
        found = self.stack.infer(self.features(batch), batch.metre, draw=False, conditions=batch.conditions)
        return {level: jnp.exp(log_share) for level, log_share in found.log_responsibilities.items()}

    def decode(self, latents: Latents, batch: Batch) -> tuple[Array, ...]:
        """Teacher-forced logits of a batch under given latents; see `MusicDecoder`."""
        return self.decoder(latents, batch, conditions=batch.conditions)

    def place(self, batch: Batch, given: Mapping[str, Array], e: Mapping[str, Array]) -> Latents:
        """Latents for the metres and the conditions of a batch; see `LatentStack.place`."""
        return self.stack.place(batch.metre, given, e, batch.conditions)

    def sample_prior(
        self,
        metre: Array,
        given: Mapping[str, Array] | None = None,
        temperature: Mapping[str, float] | None = None,
        conditions: Array | None = None,
        guidance: Array | float | None = None,
        begun: Mapping[str, Array] | None = None,
    ) -> Latents:
        """See `LatentStack.sample`; None for conditions that are all unknown."""
        return self.stack.sample(metre, given, temperature, conditions, guidance, begun)

    def _features(self, batch: Batch, deterministic: bool) -> tuple[dict[str, Array], Array | None]:
        """See `MusicEncoder`; nothing without a level."""
        return self.encoder(batch, deterministic) if self.encoder else ({}, None)

    def _skip(self, measures: Array | None, deterministic: bool, wanted: bool | None) -> Array | None:
        """The features that the decoder sees, float[..., measure, dim], or None."""
        wanted = not deterministic if wanted is None else wanted
        if measures is None or not self.config.skip or not (wanted or self.is_initializing()):
            return None
        if deterministic or not self.config.skip_dropout:
            return measures
        kept = jax.random.bernoulli(self.make_rng("skip"), 1 - self.config.skip_dropout, measures.shape[:-2])
        return jnp.where(kept[..., None, None], measures, 0)


def decoder_method(name: str) -> Callable[..., Any]:
    """A method of the decoder for ``model.apply(variables, *arguments, method=decoder_method("step"))``."""
    return lambda vae, *arguments: getattr(vae.decoder, name)(*arguments)
