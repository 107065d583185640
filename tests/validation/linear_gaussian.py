"""A two-level linear Gaussian model, for which everything that a hierarchical VAE approximates is known in closed form.

z_global ~ N(0, 1); z_local[t] ~ N(a z_global, s^2); x[t] ~ N(b z_local[t] + c z_global, r^2) in two dims. With c = 0,
x depends on z_global through z_local alone, as a ladder assumes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from musicvae_jax.models.latent.gaussian import distribution, from_frame
from musicvae_jax.types import Array, Gaussian, Latents

TIME, DIM = 3, 2
A, S, R = 1.2, 0.6, 0.5
B = np.array([1.0, -0.5])


class Pass(NamedTuple):
    """Of a pass down the levels: float[..., batch]."""

    log_p_x: Array  # log p(x | z)
    log_ratio: Array  # log q(z | x) - log p(z)
    kl: dict[str, Array]


def local_prior(z_global: Array) -> Gaussian:
    """p(z_local | z_global), for z_global float[..., 1, 1]."""
    loc = jnp.broadcast_to(A * z_global, (*z_global.shape[:-2], TIME, 1))
    return Gaussian(loc, jnp.full_like(loc, jnp.log(S)))


def generate(c: Array, num: int, key: Array) -> Array:
    """x float[num, time, dim], drawn down the levels."""
    keys = jax.random.split(key, 3)
    z_global = jax.random.normal(keys[0], (num, 1, 1))
    z_local = from_frame(jax.random.normal(keys[1], (num, TIME, 1)), local_prior(z_global))
    return from_frame(
        jax.random.normal(keys[2], (num, TIME, DIM)), likelihood({"global": z_global, "local": z_local}, c)
    )


def likelihood(z: Latents, c: Array) -> Gaussian:
    """p(x | z), float[..., time, dim]."""
    loc = z["local"] * B + z["global"] * c
    return Gaussian(loc, jnp.full_like(loc, jnp.log(R)))


def log_density(gaussian: Gaussian, value: Array) -> Array:
    """Summed over time and dims."""
    return distribution(gaussian).log_prob(value).sum((-2, -1))


class Exact(NamedTuple):
    """The true values for every window: float64[batch]."""

    log_p_x: np.ndarray
    kl: dict[str, np.ndarray]  # of the true posteriors


def exact(c: np.ndarray, x: np.ndarray) -> Exact:
    """By matrices: v = (z_global, z_local, x) is a linear map of independent noise."""
    root = np.zeros((1 + TIME + TIME * DIM, 1 + TIME + TIME * DIM))
    root[0, 0] = 1
    for time in range(TIME):
        own = 1 + TIME + time * DIM + np.arange(DIM)
        root[1 + time] = A * root[0]
        root[1 + time, 1 + time] = S
        root[own] = np.outer(B, root[1 + time]) + np.outer(c, root[0])
        root[own, own] = R
    covariance = root @ root.T
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    observed = slice(1 + TIME, None)
    log_p_x = stats.multivariate_normal(cov=covariance[observed, observed]).logpdf(x)

    gain, variance = _conditional(covariance, [0], np.arange(1 + TIME, len(root)))
    loc = (x @ gain.T)[:, 0]
    kl_global = 0.5 * (loc**2 + variance[0, 0] - 1 - np.log(variance[0, 0]))
    # z_local given (z_global, x), averaged over z_global ~ N(loc, variance); the prior's mean is A z_global.
    known = np.array([0, *range(1 + TIME, len(root))])
    gain_local, variance_local = _conditional(covariance, np.arange(1, 1 + TIME), known)
    slope = gain_local[:, 0] - A
    distance = loc[:, None] * slope + x @ gain_local[:, 1:].T
    expected_square = distance**2 + slope**2 * variance[0, 0]
    share = variance_local.diagonal() / S**2
    np.testing.assert_allclose(variance_local, np.diag(variance_local.diagonal()), atol=1e-12)  # factorised
    kl_local = 0.5 * (expected_square / S**2 + share - 1 - np.log(share)).sum(-1)
    return Exact(log_p_x, {"global": kl_global, "local": kl_local})


def _conditional(covariance: np.ndarray, wanted: np.ndarray | list[int], known: np.ndarray) -> tuple:
    """Gain and covariance of the wanted variables given the known ones."""
    wanted, known = np.asarray(wanted), np.asarray(known)
    gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, wanted)]).T
    return gain, covariance[np.ix_(wanted, wanted)] - gain @ covariance[np.ix_(known, wanted)]
