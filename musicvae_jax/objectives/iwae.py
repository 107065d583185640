"""The importance-weighted bound, which several draws make tighter than the ELBO."""

import jax
import jax.numpy as jnp

from musicvae_jax.types import Array


def iwae_bound(log_p_x_given_z: Array, log_p_z: Array, log_q_z: Array) -> Array:
    """log of the mean over K draws of p(x, z) / q(z | x): float[batch], in nats (Burda et al. 2016, eq. 8).

    In expectation it rises with K from the ELBO, at K = 1, to log p(x), however far the posterior is from the true one.
    Its exponential has the expectation p(x) for every K.

    Args:
        log_p_x_given_z: float[draw, batch], of a window under each draw z ~ q(z | x).
        log_p_z: float[draw, batch], the prior's log density of the draw, summed over levels, latents and dims.
        log_q_z: float[draw, batch], the posterior's.

    Example:
        >>> import jax.numpy as jnp
        >>> iwae_bound(jnp.log(jnp.array([[0.1], [0.3]])), jnp.zeros((2, 1)), jnp.zeros((2, 1)))  # log 0.2
        Array([-1.609438], dtype=float32)
    """
    log_weights = log_p_x_given_z + log_p_z - log_q_z
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])
