"""The delta-VAE (Razavi et al. 2019): a prior with memory that no posterior without memory can match.

The prior of a level is z = loc + scale * a with a ~ AR(1) along the level's time axis, unit variance and fixed
autocorrelation alpha; loc and scale depend on the levels above alone. The posterior is factorised along time. Then
the KL has a floor, `committed_rate`, whatever the encoder says.
"""

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.types import Array, Gaussian


def committed_rate(num_latents: Array | int, dim: int, alpha: float) -> Array:
    """The least KL in nats of n latents in a row: d/2 [(n - 2) ln(1 + alpha^2) - ln(1 - alpha^2)], 0 for n < 2.

    Razavi et al. (2019), section 3.2 and appendix; attained at mean 0 and variance (1 - alpha^2) / (1 + alpha^2), at
    the ends 1 - alpha^2.
    """
    n = jnp.asarray(num_latents)
    rate = 0.5 * dim * ((n - 2) * np.log1p(alpha**2) - np.log1p(-(alpha**2)))
    return jnp.where(n < 2, 0.0, rate)


def ar1_kl(residual: Gaussian, alpha: float) -> Array:
    """KL of a factorised posterior from a standardised AR(1) prior, in closed form: float[..., time, dim].

    The term of time t is the expectation over q(a[t-1]) of KL(q(a[t]) || N(alpha a[t-1], 1 - alpha^2)); that of the
    first is the KL from N(0, 1). Latents that are not there must be at the end.

    Args:
        residual: q(a), float[..., time, dim].
        alpha: the autocorrelation.
    """
    loc, variance = residual.loc, jnp.exp(2 * residual.log_scale)
    first = 0.5 * (loc**2 + variance - 1) - residual.log_scale
    noise = 1 - alpha**2
    surprise = (loc[..., 1:, :] - alpha * loc[..., :-1, :]) ** 2 + alpha**2 * variance[..., :-1, :]
    later = 0.5 * ((surprise + variance[..., 1:, :]) / noise - 1 + np.log(noise)) - residual.log_scale[..., 1:, :]
    return jnp.concatenate([first[..., :1, :], later], -2)


def ar1_sample(shape: tuple[int, ...], alpha: float, key: Array) -> Array:
    """Draws a standardised AR(1) process along the second last axis: float[..., time, dim]."""
    lag = np.arange(shape[-2])[:, None] - np.arange(shape[-2])
    # a = L eps, L the Cholesky factor of the covariance alpha^|t - s|.
    factor = np.where(lag >= 0, alpha ** np.maximum(lag, 0), 0.0)
    factor[:, 1:] *= np.sqrt(1 - alpha**2)
    return jnp.einsum("ts,...sd->...td", jnp.asarray(factor, jnp.float32), jax.random.normal(key, shape))
