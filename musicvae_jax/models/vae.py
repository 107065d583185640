"""The variational autoencoder: encoder, latent levels, decoder (Kingma & Welling 2014)."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.decoder import MusicDecoder
from musicvae_jax.models.encoder import MusicEncoder
from musicvae_jax.models.layers import KVCache
from musicvae_jax.models.levels import LatentLevels
from musicvae_jax.models.span_heads import SpanHead
from musicvae_jax.types import Array, Batch, Field, Gaussian, Latents, VAEOutput


class MusicVAE(nn.Module):
    """A VAE of windows of music. Leading batch axes are free.

    Variables hold only ``params``, and ``batch_stats`` where levels are normalised over the batch.

    Example:
        >>> from musicvae_jax import ModelConfig, MusicVAE, Field
        >>> model = MusicVAE(ModelConfig(), fields=(Field("melody", 130),), slots=18)
    """

    config: ModelConfig
    fields: Sequence[Field]
    slots: int

    def setup(self) -> None:
        self.encoder = MusicEncoder(self.config, self.fields, self.slots)
        self.levels = LatentLevels(self.config)
        nn.share_scope(self, self.levels)
        self.span_heads = {
            level: SpanHead(self.config, self.fields, self.slots, level) for level in self.config.span_heads
        }
        self.decoder = MusicDecoder(self.config, self.fields, self.slots)

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
            deterministic: False turns on everything that belongs to training alone: dropout of features, tokens, levels
                and the skip connection, the skip connection itself, and statistics of the batch.
            given: level -> latents to use instead of the level's draws; posterior and KL stay the level's own.
            skip: whether the decoder sees the encoder's features; in training only, if not said.
            batch_axes: names of mapped axes over which a batch is spread, for batch statistics.

        Needs the rng stream ``latent``, and in training ``dropout``, ``token_dropout``, ``level_dropout``, ``skip``
        where those are on.
        """
        features, measures = self.encoder(batch, deterministic)
        found = self.levels.infer(
            features, batch.metre, deterministic=deterministic, given=given, batch_axes=batch_axes
        )
        shown = self._skip(measures, deterministic, skip)
        logits = self.decoder(found.latents, batch, deterministic, shown)
        span_nll: dict[str, Array] = {level: head(found.latents, batch) for level, head in self.span_heads.items()}
        if found.kept:  # a draw from the prior knows nothing of this window
            span_nll = {level: jnp.where(found.kept[level], value, 0) for level, value in span_nll.items()}
        return VAEOutput(
            logits, found.posterior, found.latents, found.kl, found.prior, span_nll, found.moments, found.kept
        )

    def encode(self, batch: Batch, deterministic: bool = True) -> dict[str, Gaussian]:
        """The posterior q(z | x) of every level, given the means of the levels above."""
        features, _ = self.encoder(batch, deterministic)
        return self.levels.infer(features, batch.metre, draw=False).posterior

    def decode(self, latents: Latents, batch: Batch) -> tuple[Array, ...]:
        """Teacher-forced logits of a batch under given latents; see `MusicDecoder`."""
        return self.decoder(latents, batch)

    def sample_prior(
        self, metre: Array, given: Mapping[str, Array] | None = None, temperature: Mapping[str, float] | None = None
    ) -> Latents:
        """See `LatentLevels.sample`."""
        return self.levels.sample(metre, given, temperature)

    def conditions(self, latents: Latents, metre: Array) -> Array:
        """See `MusicDecoder.conditions`."""
        return self.decoder.conditions(latents, metre)

    def step(
        self,
        past: Array,
        special: Array,
        position: Array,
        condition: Array,
        cache: list[KVCache],
        origin: Array | int = 0,
    ) -> tuple[Array, list[KVCache]]:
        """See `MusicDecoder.step`."""
        return self.decoder.step(past, special, position, condition, cache, origin)

    def field_logits(self, x: Array, known: Array, last: Array | bool = False) -> Array:
        """See `MusicDecoder.field_logits`."""
        return self.decoder.field_logits(x, known, jnp.asarray(last))

    def empty_cache(self, leading: tuple[int, ...], length: int) -> list[KVCache]:
        """See `MusicDecoder.empty_cache`."""
        return self.decoder.empty_cache(leading, length)

    def _skip(self, measures: Array, deterministic: bool, wanted: bool | None) -> Array | None:
        """What the decoder sees of the encoder's features: float[..., measure, dim] or nothing."""
        wanted = not deterministic if wanted is None else wanted
        if not self.config.skip or not (wanted or self.is_initializing()):
            return None
        if deterministic or not self.config.skip_dropout:
            return measures
        kept = jax.random.bernoulli(self.make_rng("skip"), 1 - self.config.skip_dropout, measures.shape[:-2])
        return jnp.where(kept[..., None, None], measures, 0)
