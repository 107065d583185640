"""Transformer layers. Leading batch axes are free; one layer serves training and cached sampling."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.types import Array

_MASKED = -1e9  # finite: a row with nothing to attend to must not become NaN


class KVCache(NamedTuple):
    """Keys and values of earlier positions; later positions hold zeros."""

    key: Array  # float[..., head, position, head_dim]: each step multiplies them as they lie
    value: Array  # float[..., head, position, head_dim]


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


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) with a learned gain for each feature (Zhang & Sennrich 2019, eq. 4).

    As `flax.linen.RMSNorm`, but a training step on a CPU takes .93 of its time: the squares are summed as a product.
    """

    dtype: jnp.dtype
    param_dtype: jnp.dtype
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """float[..., dim] to float[..., dim] of ``dtype``; computed in float32 or wider."""
        gain = self.param("scale", nn.initializers.ones, x.shape[-1:], self.param_dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean_square = jnp.einsum("...d,...d->...", x, x)[..., None] / x.shape[-1]
        return (x * jax.lax.rsqrt(mean_square + self.epsilon) * gain).astype(self.dtype)


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
            write = partial(jax.lax.dynamic_update_slice_in_dim, start_index=index, axis=-2)
            key, value = write(cache.key, jnp.swapaxes(key, -3, -2)), write(cache.value, jnp.swapaxes(value, -3, -2))
            cache = KVCache(key, value)
        elif self.previous:
            key_before = rotate(_before(unrotated), positions - x.shape[-2])
            key, value = (jnp.concatenate(pair, -3) for pair in ((key_before, key), (_before(value), value)))
        layout = "khd" if cache is None else "hkd"
        scores = jnp.einsum(f"...qhd,...{layout}->...hqk", query * (dim // heads) ** -0.5, key)
        scores = jnp.where(mask[..., None, :, :], scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), _MASKED)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        attended = jnp.einsum(f"...hqk,...{layout}->...qhd", weights, value)
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
            RMSNorm(name="attention_norm", **types)(x), positions, mask, cache, index
        )
        x = x + drop(attended)
        hidden = nn.Dense(config.mlp_ratio * config.dim, name="widen", **types)(RMSNorm(name="mlp_norm", **types)(x))
        return x + drop(nn.Dense(config.dim, name="narrow", **types)(nn.gelu(hidden))), cache


def make_block(config: ModelConfig, deterministic: bool, name: str, previous: bool = False) -> nn.Module:
    """A `Block`, rematerialised if the config says so."""
    return (nn.remat(Block) if config.remat else Block)(config, deterministic, previous, name=name)


def run_blocks(
    config: ModelConfig,
    parent: nn.Module,
    name: str,
    number: int,
    x: Array,
    positions: Array,
    mask: Array,
    *,
    deterministic: bool,
    previous: bool = False,
    added: Array | None = None,
) -> Array:
    """x after the layers ``name_0``, ``name_1``, ... of a parent, without a cache.

    With `ModelConfig.scan_layers` their parameters are stacked and one layer is compiled, in a loop; in the backward
    pass all but its products is computed again, because the loop would keep every activation. The parameters keep
    their names. The noise of dropout is another than without.

    Args:
        config: of the model.
        parent: the module that the layers belong to; it calls this in a compact method.
        name: what the names of the layers begin with.
        number: of layers.
        x: float[..., position, dim].
        positions: int[position].
        mask: bool[..., query, position], broadcastable.
        deterministic: False turns dropout on.
        previous: see `Attention`.
        added: float[..., position, layer, dim], broadcastable: what is added to the input of each layer.
    """
    names = [f"{name}_{layer}" for layer in range(number)]
    if not config.scan_layers or number < 2 or parent.is_initializing():
        for layer in range(number):
            x = x if added is None else x + added[..., layer, :]
            x, _ = make_block(config, deterministic, names[layer], previous)(x, positions, mask)
        return x

    block = Block(config, deterministic, previous, parent=None)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(parent.get_variable("params", layer) for layer in names))
    drop = config.dropout > 0 and not deterministic
    keys = jax.random.split(parent.make_rng("dropout"), number) if drop else None

    def body(x: Array, layer: tuple[Any, Array | None, Array | None]) -> tuple[Array, None]:
        params, part, key = layer
        rngs = {} if key is None else {"dropout": key}
        x = x if part is None else x + part
        return block.apply({"params": params}, x, positions, mask, rngs=rngs)[0], None

    policy = None if config.remat else jax.checkpoint_policies.dots_saveable
    body = jax.checkpoint(body, prevent_cse=False, policy=policy)
    return jax.lax.scan(body, x, (params, None if added is None else jnp.moveaxis(added, -2, 0), keys))[0]


class AttentionPool(nn.Module):
    """A summary of a sequence by learned queries, one per head."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        """float[..., position, dim] and bool[..., position] to float[..., dim]; zeros where nothing is unmasked."""
        heads, dim, types = self.config.num_heads, self.config.dim, dtypes(self.config)
        x = RMSNorm(name="norm", **types)(x)
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
        x = jnp.where(mask[..., None], RMSNorm(name="norm", **types)(x), 0)
        return nn.DenseGeneral(self.config.dim, axis=(-2, -1), name="maps", **types)(x)
