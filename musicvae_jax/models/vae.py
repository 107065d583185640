"""The variational autoencoder: encoder, latents, decoder (Kingma & Welling 2014)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from musicvae_jax.config import ModelConfig
from musicvae_jax.models import latents as latent
from musicvae_jax.models.decoder import MusicDecoder
from musicvae_jax.models.encoder import MusicEncoder
from musicvae_jax.models.layers import KVCache
from musicvae_jax.models.priors import standard_normal
from musicvae_jax.types import Array, Batch, Field, Gaussian, Latents, VAEOutput


class MusicVAE(nn.Module):
    """A VAE of windows of music. Leading batch axes are free; variables hold only ``params``.

    Example:
        >>> from musicvae_jax import ModelConfig, MusicVAE, Field
        >>> model = MusicVAE(ModelConfig(), fields=(Field("melody", 130),), slots=18)
    """

    config: ModelConfig
    fields: Sequence[Field]
    slots: int

    def setup(self) -> None:
        self.encoder = MusicEncoder(self.config, self.fields, self.slots)
        self.heads = {level: latent.GaussianHead(self.config, width) for level, width in self.config.widths.items()}
        self.decoder = MusicDecoder(self.config, self.fields, self.slots)

    def __call__(self, batch: Batch, deterministic: bool = True) -> VAEOutput:
        """Encodes, draws the latents and decodes under teacher forcing.

        Args:
            batch: windows of music.
            deterministic: False turns on dropout and token dropout.

        Needs the rng stream ``latent``, and ``dropout`` and ``token_dropout`` where those are on.
        """
        posterior = self.encode(batch, deterministic)
        latents = {level: latent.sample(gaussian, self.make_rng("latent")) for level, gaussian in posterior.items()}
        kl = {
            level: latent.kl_divergence(gaussian, standard_normal(gaussian.loc))
            for level, gaussian in posterior.items()
        }
        return VAEOutput(self.decoder(latents, batch, deterministic), posterior, latents, kl)

    def encode(self, batch: Batch, deterministic: bool = True) -> dict[str, Gaussian]:
        """The posterior q(z | x) of every level."""
        features = self.encoder(batch, deterministic)
        return {level: head(features[level]) for level, head in self.heads.items()}

    def decode(self, latents: Latents, batch: Batch) -> tuple[Array, ...]:
        """Teacher-forced logits of a batch under given latents; see `MusicDecoder`."""
        return self.decoder(latents, batch)

    def sample_prior(self, num: int) -> Latents:
        """Draws from the prior: level -> float[num, time, dim]. Needs the rng stream ``latent``."""
        return {
            level: standard_normal(jnp.zeros((num, 1, width))).sample(seed=self.make_rng("latent"))
            for level, width in self.config.widths.items()
        }

    def conditions(self, latents: Latents, metre: Array) -> Array:
        """See `MusicDecoder.conditions`."""
        return self.decoder.conditions(latents, metre)

    def step(
        self, past: Array, special: Array, position: Array, condition: Array, cache: list[KVCache]
    ) -> tuple[Array, list[KVCache]]:
        """See `MusicDecoder.step`."""
        return self.decoder.step(past, special, position, condition, cache)

    def field_logits(self, x: Array, known: Array, last: Array | bool = False) -> Array:
        """See `MusicDecoder.field_logits`."""
        return self.decoder.field_logits(x, known, jnp.asarray(last))

    def empty_cache(self, leading: tuple[int, ...], length: int) -> list[KVCache]:
        """See `MusicDecoder.empty_cache`."""
        return self.decoder.empty_cache(leading, length)
