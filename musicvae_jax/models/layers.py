"""Transformer layers. Leading batch axes are free; one layer serves training and cached sampling."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.types import Array

_MASKED = -1e9  # finite: a row with nothing to attend to must not become NaN


class KVCache(NamedTuple):
    """Keys and values of earlier positions; later positions hold zeros."""

    key: Array  # float[..., position, head, head_dim]
    value: Array  # float[..., position, head, head_dim]


def dtypes(config: ModelConfig) -> dict[str, jnp.dtype]:
    """Compute and parameter types: parameters are float32, or float64 when everything is."""
    compute = jnp.dtype(config.dtype)
    return {"dtype": compute, "param_dtype": jnp.promote_types(compute, jnp.float32)}


def sinusoids(positions: Array, dim: int) -> Array:
    """Sines and cosines of positions at dim/2 wavelengths from 2 pi to 10^4 x 2 pi (Vaswani et al. 2017, section 3.5).

    Args:
        positions: int[...]. A numpy array gives a numpy array: a constant of the compiled program.
        dim: even.

    Returns:
        float[..., dim].
    """
    module = np if isinstance(positions, np.ndarray) else jnp
    frequencies = (10_000.0 ** (-np.arange(0, dim, 2) / dim)).astype(jnp.result_type(float))
    angles = positions[..., None].astype(frequencies.dtype) * frequencies
    return module.concatenate([module.sin(angles), module.cos(angles)], -1)


def rotate(x: Array, positions: Array) -> Array:
    """Rotary position embedding (Su et al. 2021, eq. 34): dot products depend on the distance of positions only.

    Args:
        x: float[..., position, head, head_dim], head_dim even.
        positions: int[position].
    """
    half = x.shape[-1] // 2
    waves = sinusoids(positions, x.shape[-1])[:, None].astype(x.dtype)
    sines, cosines = waves[..., :half], waves[..., half:]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], -1)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions. No biases: the gradient of a bias on keys is 0.

    With ``previous``, x is float[..., measure, query, dim], and positions also attend to the measure before. The mask
    is then bool[..., measure, query, 2 x position], with the measure before in front.
    """

    config: ModelConfig
    previous: bool = False

    @nn.compact
    def __call__(
        self, x: Array, positions: Array, mask: Array, cache: KVCache | None = None, index: Array | int = 0
    ) -> tuple[Array, KVCache | None]:
        """Attends from every position of x to the positions that mask allows.

        Args:
            x: float[..., query, dim].
            positions: int[query].
            mask: bool[..., query, position], broadcastable.
            cache: if given, x is the single position ``positions[0]``, whose key and value are written to the cache
                first.
            index: the place in the cache that they are written to.

        Returns:
            float[..., query, dim], and the updated cache.
        """
        heads, dim = self.config.num_heads, self.config.dim
        project = nn.DenseGeneral((3, heads, dim // heads), use_bias=False, name="project", **dtypes(self.config))
        query, key, value = jnp.moveaxis(project(x), -3, 0)
        unrotated, query, key = key, rotate(query, positions), rotate(key, positions)
        if cache is not None:
            write = jax.lax.dynamic_update_slice_in_dim
            cache = KVCache(write(cache.key, key, index, axis=-3), write(cache.value, value, index, axis=-3))
            key, value = cache
        elif self.previous:
            key_before = rotate(_before(unrotated), positions - x.shape[-2])
            key, value = (jnp.concatenate(pair, -3) for pair in ((key_before, key), (_before(value), value)))
        scores = jnp.einsum("...qhd,...khd->...hqk", query * (dim // heads) ** -0.5, key)
        scores = jnp.where(mask[..., None, :, :], scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), _MASKED)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        attended = jnp.einsum("...hqk,...khd->...qhd", weights, value)
        output = nn.DenseGeneral(dim, axis=(-2, -1), use_bias=False, name="output", **dtypes(self.config))
        return output(attended), cache


def _before(x: Array) -> Array:
    """The values of the measure before, zeros for the first: float[..., measure, position, head, dim]."""
    return jnp.concatenate([jnp.zeros_like(x[..., :1, :, :, :]), x[..., :-1, :, :, :]], -4)


class Block(nn.Module):
    """A pre-norm transformer layer (Xiong et al. 2020)."""

    config: ModelConfig
    deterministic: bool
    previous: bool = False

    @nn.compact
    def __call__(
        self, x: Array, positions: Array, mask: Array, cache: KVCache | None = None, index: Array | int = 0
    ) -> tuple[Array, KVCache | None]:
        """Args and returns as for `Attention`."""
        config, types = self.config, dtypes(self.config)
        drop = nn.Dropout(config.dropout, deterministic=self.deterministic)
        attended, cache = Attention(config, self.previous, name="attention")(
            nn.RMSNorm(name="attention_norm", **types)(x), positions, mask, cache, index
        )
        x = x + drop(attended)
        hidden = nn.Dense(config.mlp_ratio * config.dim, name="widen", **types)(nn.RMSNorm(name="mlp_norm", **types)(x))
        return x + drop(nn.Dense(config.dim, name="narrow", **types)(nn.gelu(hidden))), cache


def make_block(config: ModelConfig, deterministic: bool, name: str, previous: bool = False) -> nn.Module:
    """A `Block`, rematerialised if the config says so."""
    return (nn.remat(Block) if config.remat else Block)(config, deterministic, previous, name=name)


class AttentionPool(nn.Module):
    """A summary of a sequence by learned queries, one per head."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """float[..., position, dim] and bool[..., position] to float[..., dim]; zeros where nothing is unmasked."""
        heads, dim, types = self.config.num_heads, self.config.dim, dtypes(self.config)
        x = nn.RMSNorm(name="norm", **types)(x)
        scores = nn.Dense(heads, use_bias=False, name="query", **types)(
            x
        )  # a learned query per head, folded with its keys
        scores = jnp.where(mask[..., None], scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), _MASKED)
        weights = (jax.nn.softmax(scores, -2) * mask.any(-1)[..., None, None]).astype(x.dtype)
        values = nn.DenseGeneral((heads, dim // heads), use_bias=False, name="value", **types)(x)
        pooled = jnp.einsum("...ph,...phd->...hd", weights, values)
        return nn.DenseGeneral(dim, axis=(-2, -1), use_bias=False, name="output", **types)(pooled)


class Flattened(nn.Module):
    """A sequence of fixed length as one vector, with a linear map of its own for every position."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """float[..., position, dim] and bool[..., position] to float[..., dim]; masked positions do not count."""
        types = dtypes(self.config)
        x = jnp.where(mask[..., None], nn.RMSNorm(name="norm", **types)(x), 0)
        return nn.DenseGeneral(self.config.dim, axis=(-2, -1), name="maps", **types)(x)
