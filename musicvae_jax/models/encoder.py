"""Music to features, from the bottom up: slots, measures, the piece."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import LevelsConfig, ModelConfig
from musicvae_jax.models.embedding import PADDING, MetreEmbedding, SlotEmbedding, Table
from musicvae_jax.models.layers import AttentionPool, Flattened, dtypes, run_blocks
from musicvae_jax.models.spans import into_spans
from musicvae_jax.types import Array, Batch, Field


class MusicEncoder(nn.Module):
    """Transformers inside each measure, then across measures; the cost is linear in the number of measures."""

    config: ModelConfig
    levels: LevelsConfig
    fields: Sequence[Field]
    slots: int

    @nn.compact
    def __call__(self, batch: Batch, deterministic: bool = True) -> tuple[dict[str, Array], Array]:
        """Features for the latents of every level, and for every measure.

        Args:
            batch: windows, leading axes free.
            deterministic: False turns dropout on (rng stream ``dropout``).

        Returns:
            level -> float[..., time, dim], and float[..., measure, dim].
        """
        config, types = self.config, dtypes(self.config)
        special = jnp.where(batch.mask, -1, PADDING)
        x = SlotEmbedding(config, self.fields, name="embed")(batch.tokens, special)
        x = x + Table(self.slots, config.dim, name="slot", **types)(np.arange(self.slots))

        x = self._blocks("slot_block", config.encoder_slot_layers, x, batch.mask, deterministic)
        measures = AttentionPool(config, name="pool_slots")(x, batch.mask)
        if config.slotwise:
            measures = measures + Flattened(config, name="flatten_slots")(x, batch.mask)
        measures = measures + MetreEmbedding(config, name="metre")(batch.metre)

        present = batch.mask.any(-1)
        measures = self._blocks("measure_block", config.encoder_measure_layers, measures, present, deterministic)
        features = {}
        for name, level in self.levels.on.items():
            if level.span == 1:
                features[name] = measures
                continue
            span = level.span_in(measures.shape[-2])
            spans = into_spans(measures, span, -2), into_spans(present, span, -1)
            features[name] = AttentionPool(config, name=f"pool_{name}" if level.span else "pool_measures")(*spans)
            if config.slotwise and level.span:  # not of a window, which may have any number of measures
                features[name] = features[name] + Flattened(config, name=f"flatten_{name}")(*spans)
        return features, measures

    def _blocks(self, name: str, number: int, x: Array, mask: Array, deterministic: bool) -> Array:
        """Layers in which each position sees all that exist."""
        positions = np.arange(x.shape[-2])
        return run_blocks(
            self.config, self, name, number, x, positions, mask[..., None, :], deterministic=deterministic
        )
