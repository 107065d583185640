"""Whether the latents are used: active units and mutual information."""

import numpy as np
from scipy.special import logsumexp

from musicvae_jax.types import Gaussian

ACTIVE_SCALE = 0.98
ACTIVE_VARIANCE = 0.01


def active_units(posterior: Gaussian) -> tuple[float, float]:
    """The shares of dims that are active under two rules, for an N(0, 1) prior.

    Rule a: mean over x of sigma_d(x) < 0.98. Rule b: variance over x of mu_d(x) >= 0.01 (Burda et al. 2016, section
    5.3; He et al. 2019).

    Args:
        posterior: float[latent, dim], every unmasked latent of a split.
    """
    a = np.exp(posterior.log_scale).mean(0) < ACTIVE_SCALE
    b = posterior.loc.var(0) >= ACTIVE_VARIANCE
    return float(a.mean()), float(b.mean())


def mutual_information(posterior: Gaussian, seed: int = 0, chunk: int = 128) -> float:
    """An estimate of I(x; z) in nats: E[log q(z|x) - log q(z)] with one draw of z for each x.

    q(z) is the mixture of the posteriors of all x given (Hoffman & Johnson 2016; He et al. 2019, eq. 5), so that the
    estimate cannot exceed the log of their number: publish it with the number.

    Args:
        posterior: float[latent, dim], every unmasked latent of a split.
        seed: of the draws.
        chunk: draws compared at once with all posteriors; bounds the memory to chunk x latent x dim numbers.
    """
    loc, log_scale = (np.asarray(leaf, np.float64) for leaf in posterior)
    scale = np.exp(log_scale)
    draws = loc + scale * np.random.default_rng(seed).standard_normal(loc.shape)
    total = 0.0
    for start in range(0, len(loc), chunk):
        z = draws[start : start + chunk, None, :]
        log_q = (-0.5 * ((z - loc) / scale) ** 2 - log_scale).sum(-1)  # [draw, latent], up to a constant
        own = log_q[np.arange(len(z)), np.arange(start, start + len(z))]
        total += float((own - logsumexp(log_q, axis=1) + np.log(len(loc))).sum())
    return total / len(loc)
