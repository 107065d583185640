"""Bases with parameters: mixtures of Gaussians and flows. Their KL is estimated from the posterior's draw.

Each latent is drawn by itself, given its context: what the levels above say, and with `Memory` the earlier latents.
"""

from collections.abc import Callable

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import LevelConfig, ModelConfig
from musicvae_jax.models.latent.bases import AR1, Base, Normal
from musicvae_jax.models.latent.gaussian import GaussianHead
from musicvae_jax.models.layers import dtypes
from musicvae_jax.types import KL, Array, Gaussian

_SPREAD = 0.5  # standard deviation of the first means of a mixture: apart, and together near N(0, 1)
_MAX_LOG_SCALE = 2.0  # of one affine coupling layer
_BINS, _REACH, _SMALLEST = 8, 5.0, 0.02  # of a spline: the identity outside [-reach, reach]; smallest bin and slope


def make_base(config: ModelConfig, level: LevelConfig, head: GaussianHead) -> Base:
    """The base of a level, for a module that holds its parameters.

    Args:
        config: of the model.
        level: of the level.
        head: features to the level's posterior, for ``vamp``.
    """
    if level.base == "mixture":
        return Mixture(config, level.dim, level.modes)
    if level.base == "vamp":
        return Vamp(config, level.modes, head)
    if level.base == "flow":
        return Flow(config, level)
    return AR1(level.alpha) if level.base == "ar1" else Normal()


def _no_closed_kl(q: Gaussian, context: Array | None) -> KL:
    """The KL of the learned bases has no closed form: `config.rules` asks for ``kl_estimate = "draw"``."""
    del q, context
    raise ValueError("this base has no KL in closed form: allowed is kl_estimate = 'draw'")


class OfModes(nn.Module):
    """What mixtures share: a draw and a density of the modes that a subclass gives.

    Its ``__call__`` takes the context and returns log weights, float[..., time, mode] or float[mode], and the modes,
    float[mode, dim].
    """

    def sample(self, noise: Array, context: Array | None, temperature: Array | float) -> Array:
        """A draw e; the last column of the noise chooses the mode, whose scale the temperature multiplies."""
        log_weight, modes = self(context)
        reached = jnp.cumsum(jax.nn.softmax(log_weight), -1)
        share = jax.scipy.stats.norm.cdf(noise[..., -1:])
        mode = jnp.minimum((share > reached).sum(-1), reached.shape[-1] - 1)
        loc, log_scale = (jax.nn.one_hot(mode, len(leaf), dtype=leaf.dtype) @ leaf for leaf in modes)
        return loc + temperature * jnp.exp(log_scale) * noise[..., :-1]

    def log_prob(self, e: Array, context: Array | None) -> Array:
        """log p(e | above) of each latent, in nats: float[..., time]."""
        return jax.nn.logsumexp(self._joint(e, context), -1)

    def log_responsibilities(self, e: Array, context: Array | None) -> Array:
        """log p(mode | e, above): float[..., time, mode]."""
        return jax.nn.log_softmax(self._joint(e, context))

    def kl(self, q: Gaussian, context: Array | None) -> KL:
        return _no_closed_kl(q, context)

    def _joint(self, e: Array, context: Array | None) -> Array:
        log_weight, modes = self(context)
        of_mode = distrax.Normal(modes.loc, jnp.exp(modes.log_scale)).log_prob(e[..., None, :]).sum(-1)
        return jax.nn.log_softmax(log_weight) + of_mode


class Mixture(OfModes):
    """e ~ sum over K modes of weight_k N(loc_k, scale_k^2), with learned modes.

    The weights also depend on the levels above, and start equal.
    """

    config: ModelConfig
    dim: int
    modes: int

    @nn.compact
    def __call__(self, context: Array | None) -> tuple[Array, Gaussian]:
        wide, shape = dtypes(self.config)["param_dtype"], (self.modes, self.dim)
        loc = self.param("loc", nn.initializers.normal(_SPREAD), shape, wide)
        narrow = nn.initializers.constant(0.5 * np.log(1 - _SPREAD**2))
        log_scale = self.param("log_scale", narrow, shape, wide)
        log_weight = self.param("log_weight", nn.initializers.zeros, (self.modes,), wide)
        if context is not None:
            zeros = nn.initializers.zeros
            read = nn.Dense(self.modes, use_bias=False, kernel_init=zeros, name="read", dtype=wide, param_dtype=wide)
            log_weight = log_weight + read(context)
        return log_weight, Gaussian(loc, log_scale)


class Vamp(OfModes):
    """e ~ the mean of the posteriors of K learned inputs (VampPrior, Tomczak & Welling 2018).

    The inputs are features of music, as the encoder gives them, because tokens have no gradient.
    """

    config: ModelConfig
    modes: int
    head: GaussianHead

    @nn.compact
    def __call__(self, context: Array | None) -> tuple[Array, Gaussian]:
        assert context is None, "refused by config.rules"
        wide = dtypes(self.config)["param_dtype"]
        features = self.param("features", nn.initializers.normal(1.0), (self.modes, self.config.dim), wide)
        return jnp.zeros(self.modes, wide), self.head(features)


class _Conditioner(nn.Module):
    """Half of the dims, and what the levels above say, to the parameters of a coupling layer; starts at 0."""

    config: ModelConfig
    dim: int
    numbers: int  # parameters of a dim

    @nn.compact
    def __call__(self, e: Array, context: Array | None) -> Array:
        wide = {**dtypes(self.config), "dtype": dtypes(self.config)["param_dtype"]}
        x = nn.Dense(self.config.dim, name="read", **wide)(e)
        if context is not None:
            x = x + nn.Dense(self.config.dim, use_bias=False, name="read_above", **wide)(context)
        x = nn.Dense(self.config.dim, name="hidden", **wide)(nn.gelu(x))
        zeros = nn.initializers.zeros
        x = nn.Dense(self.dim * self.numbers, kernel_init=zeros, name="parameters", **wide)(nn.gelu(x))
        return x.reshape(*x.shape[:-1], self.dim, self.numbers)


class Flow(nn.Module):
    """e = f(u) with u ~ N(0, I), f a chain of coupling layers that change every other dim in turn.

    affine: Real NVP (Dinh et al. 2017). spline: monotone rational-quadratic splines (Durkan et al. 2019). f starts as
    the identity, so that the base starts as N(0, I).
    """

    config: ModelConfig
    level: LevelConfig

    def setup(self) -> None:
        numbers = 2 if self.level.flow == "affine" else 3 * _BINS + 1
        self.conditioners = [_Conditioner(self.config, self.level.dim, numbers) for _ in range(self.level.flow_layers)]

    def sample(self, noise: Array, context: Array | None, temperature: Array | float) -> Array:
        """A draw e; the temperature multiplies u."""
        return self.bijector(context).forward(temperature * noise)

    def log_prob(self, e: Array, context: Array | None) -> Array:
        """log p(e | above) of each latent, in nats: float[..., time]."""
        u, log_det = self.bijector(context).inverse_and_log_det(e)
        return distrax.Normal(jnp.zeros_like(u), jnp.ones_like(u)).log_prob(u).sum(-1) + log_det

    def kl(self, q: Gaussian, context: Array | None) -> KL:
        return _no_closed_kl(q, context)

    def bijector(self, context: Array | None) -> distrax.Bijector:
        """f, of vectors float[..., dim].

        Args:
            context: float[..., time, feature], what the levels above say; None for the top level.
        """
        layers = []
        for number, conditioner in enumerate(self.conditioners):

            def parameters(e: Array, conditioner: Callable[..., Array] = conditioner) -> Array:
                return conditioner(e, context)

            kept = np.arange(self.level.dim) % 2 == number % 2
            layers.append(distrax.MaskedCoupling(jnp.asarray(kept), parameters, self._of_dim))
        return distrax.Chain(layers[::-1])  # a chain applies its last bijector first

    def _of_dim(self, parameters: Array) -> distrax.Bijector:
        """The bijector of each dim: float[..., dim, number]."""
        if self.level.flow == "affine":
            log_scale = _MAX_LOG_SCALE * jnp.tanh(parameters[..., 1] / _MAX_LOG_SCALE)
            return distrax.ScalarAffine(parameters[..., 0], log_scale=log_scale)
        return distrax.RationalQuadraticSpline(
            parameters, -_REACH, _REACH, "identity", min_bin_size=_SMALLEST, min_knot_slope=_SMALLEST
        )
