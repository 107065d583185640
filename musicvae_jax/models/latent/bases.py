"""Bases: p(e | above), the distribution of a level's latents in the units of their frame.

A latent is z = loc + scale * e. The frame, loc and scale, is a function of the levels above (`latent.context`); a base
says how e is distributed. Posteriors q(e | x) are Gaussians in the same units, independent along time and dims. An
affine map changes no KL: KL(q(z) || p(z)) = KL(q(e) || p(e)).
"""

import dataclasses
from typing import Protocol

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import LevelConfig
from musicvae_jax.models.latent.gaussian import distribution
from musicvae_jax.types import KL, Array, Gaussian


class Base(Protocol):
    """What a base can do. Arrays are float[..., time, dim]; latents that a window lacks are at the end of time."""

    def sample(self, noise: Array, context: Array | None, temperature: Array | float) -> Array:
        """A draw e.

        Args:
            noise: float[..., time, `noise_width`], standard normal.
            context: float[..., time, feature], what the levels above say; None for the top level.
            temperature: multiplies the scale of the draw.
        """

    def log_prob(self, e: Array, context: Array | None) -> Array:
        """log p(e | above) of each latent given those before it, in nats: float[..., time]."""

    def kl(self, q: Gaussian, context: Array | None) -> KL:
        """KL(q(e | x) || p(e | above)) in closed form, in nats; ValueError if there is none."""


def noise_width(level: LevelConfig) -> int:
    """How many normal numbers the draw of a latent takes: one for each dim, and one that chooses a mode."""
    return level.dim + level.has_modes


def committed_rate(level: LevelConfig, num_latents: int) -> float:
    """The smallest KL of so many latents of a level that any posterior can have, in nats; 0 but for ``ar1``."""
    return AR1(level.alpha).committed_rate(num_latents, level.dim) if level.base == "ar1" else 0.0


def log_ratio(base: Base, q: Gaussian, e: Array, context: Array | None) -> Array:
    """log q(e | x) - log p(e | above) of each latent, in nats: float[..., time].

    With e drawn from q, this is an unbiased one-sample estimate of the KL (Kingma & Welling 2014, section 2.3), and
    minus the log weight of importance sampling.
    """
    return distribution(q).log_prob(e).sum(-1) - base.log_prob(e, context)


@dataclasses.dataclass(frozen=True)
class Normal:
    """e ~ N(0, I): the prior of Kingma & Welling (2014)."""

    def sample(self, noise: Array, context: Array | None, temperature: Array | float) -> Array:
        del context
        return temperature * noise

    def log_prob(self, e: Array, context: Array | None) -> Array:
        del context
        return distrax.Normal(jnp.zeros_like(e), jnp.ones_like(e)).log_prob(e).sum(-1)

    def kl(self, q: Gaussian, context: Array | None) -> KL:
        del context
        standard = distrax.Normal(jnp.zeros_like(q.loc), jnp.ones_like(q.loc))
        return _sum_dims(distribution(q).kl_divergence(standard))


@dataclasses.dataclass(frozen=True)
class AR1:
    """e ~ AR(1) along time with unit variance and correlation alpha: the delta-VAE (Razavi et al. 2019).

    The posterior is independent along time, so no posterior can match this prior, and the KL has a floor.
    """

    alpha: float

    def sample(self, noise: Array, context: Array | None, temperature: Array | float) -> Array:
        del context
        steps = np.arange(noise.shape[-2])
        lag = steps[:, None] - steps
        # e = L noise, with L the Cholesky factor of the covariance alpha^|t - s|.
        factor = np.where(lag >= 0, self.alpha ** np.maximum(lag, 0), 0.0)
        factor[:, 1:] *= np.sqrt(1 - self.alpha**2)
        return temperature * jnp.einsum("ts,...sd->...td", jnp.asarray(factor, noise.dtype), noise)

    def log_prob(self, e: Array, context: Array | None) -> Array:
        del context
        first = (jnp.arange(e.shape[-2]) == 0)[:, None]
        before = jnp.where(first, 0.0, jnp.roll(e, 1, -2))
        scale = jnp.where(first, 1.0, np.sqrt(1 - self.alpha**2))
        return distrax.Normal(self.alpha * before, scale).log_prob(e).sum(-1)

    def kl(self, q: Gaussian, context: Array | None) -> KL:
        """First KL(q(e[0]) || N(0, 1)), then E over q(e[t-1]) of KL(q(e[t]) || N(alpha e[t-1], 1 - alpha^2))."""
        del context
        alpha, loc, variance = self.alpha, q.loc, jnp.exp(2 * q.log_scale)
        first = 0.5 * (loc**2 + variance - 1) - q.log_scale
        noise = 1 - alpha**2
        surprise = (loc[..., 1:, :] - alpha * loc[..., :-1, :]) ** 2 + alpha**2 * variance[..., :-1, :]
        later = 0.5 * ((surprise + variance[..., 1:, :]) / noise - 1 + np.log(noise)) - q.log_scale[..., 1:, :]
        return _sum_dims(jnp.concatenate([first[..., :1, :], later], -2))

    def committed_rate(self, num_latents: int, dim: int) -> float:
        """d/2 [(n - 2) ln(1 + alpha^2) - ln(1 - alpha^2)] nats, 0 for n < 2 (Razavi et al. 2019, section 3.2,
        appendix).

        Attained at mean 0 and variance (1 - alpha^2) / (1 + alpha^2), at both ends 1 - alpha^2.
        """
        if num_latents < 2:
            return 0.0
        square = self.alpha**2
        return float(0.5 * dim * ((num_latents - 2) * np.log1p(square) - np.log1p(-square)))


def _sum_dims(per_dim: Array) -> KL:
    return KL(per_dim.sum(-1), per_dim)


def mask_kl(kl: KL, present: Array) -> KL:
    """The KL of the latents in bool[..., time], 0 for others."""
    per_dim = None if kl.per_dim is None else jnp.where(present[..., None], kl.per_dim, 0)
    return KL(jnp.where(present, kl.total, 0), per_dim)


def draw_noise(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Standard normal noise for `Base.sample` and for posteriors."""
    return jax.random.normal(key, shape, dtype)
