"""What each group of a level's dims must predict: the attributes of its own name, from its own dims alone."""

import flax.linen as nn
import jax.numpy as jnp

from musicvae_jax.config import LevelConfig, ModelConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import Array


class GroupHeads(nn.Module):
    """A small network for each group of a level that has attributes."""

    config: ModelConfig
    level: LevelConfig

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Predicts attributes in standard deviations from their mean: float[..., time, dim] to [..., time, attribute].

        The attributes are those of `LevelConfig.supervised`, in that order. The last `LevelConfig.style_classes`
        numbers are the logits of the styles, linear in the dims of the group style.
        """
        wide = dtypes(self.config) | {"dtype": jnp.promote_types(self.config.dtype, jnp.float32)}
        predicted = []
        for group, names in self.level.supervised.items():
            own = z[..., self.level.layout[group]]
            hidden = nn.gelu(nn.Dense(self.config.dim, name=f"{group}_hidden", **wide)(own))
            predicted.append(nn.Dense(len(names), name=f"{group}_attributes", **wide)(hidden))
        if self.level.style_classes:
            own = z[..., self.level.layout["style"]]
            predicted.append(nn.Dense(self.level.style_classes, name="style_logits", **wide)(own))
        return jnp.concatenate(predicted, -1)
