"""The importance-weighted bound on held-out windows: how much of the ELBO is the posterior's fault."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.latents import distribution, relative_to
from musicvae_jax.models.spans import present_spans
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import token_nll
from musicvae_jax.objectives.iwae import iwae_bound
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Gaussian, VAEOutput, Variables


def make_iwae(model: MusicVAE, seed: int) -> Callable[[Variables, Batch, int], Array]:
    """A function of (variables, batch, number of draws) to the bound on log p(x) in nats: float[batch]."""

    @jax.jit
    def terms(variables: Variables, batch: Batch, draw: Array) -> tuple[Array, Array, Array]:
        keys = row_keys(stream(jax.random.key(seed), "iwae", draw), batch.index)
        output = jax.vmap(lambda example, key: model.apply(variables, example, rngs={"latent": key}))(batch, keys)
        log_p_x = -token_nll(output.logits, batch).sum((-3, -2, -1))
        return log_p_x, *log_densities(output, batch.metre, model.config)

    def bound(variables: Variables, batch: Batch, num_draws: int) -> Array:
        draws = [terms(variables, batch, np.int32(draw)) for draw in range(num_draws)]
        return iwae_bound(*(jnp.stack(parts) for parts in zip(*draws, strict=True)))

    return bound


def log_densities(output: VAEOutput, metre: Array, config: ModelConfig) -> tuple[Array, Array]:
    """log p(z) and log q(z | x) of the latents that a pass drew, over all levels: float[batch] each.

    Args:
        output: of the model, its latents drawn from the posterior.
        metre: int32[batch, measure, 2].
        config: the model's.
    """
    log_p, log_q = jnp.zeros(metre.shape[:-2]), jnp.zeros(metre.shape[:-2])
    for level in config.widths:
        present = present_spans(metre[..., 0] > 0, config.span(level, metre.shape[-2]))[..., None]
        z, prior = output.latents[level], output.prior[level]
        if level in config.delta_levels:
            density = _ar1_log_density(relative_to(Gaussian(z, 0.0), prior).loc, config.delta_alpha) - prior.log_scale
        else:
            density = distribution(prior).log_prob(z)
        log_p += jnp.where(present, density, 0).sum((-2, -1))
        log_q += jnp.where(present, distribution(output.posterior[level]).log_prob(z), 0).sum((-2, -1))
    return log_p, log_q


def _ar1_log_density(residual: Array, alpha: float) -> Array:
    """Of each latent of a standardised AR(1) process given the one before it: float[..., time, dim]."""
    before = jnp.concatenate([jnp.zeros_like(residual[..., :1, :]), residual[..., :-1, :]], -2)
    first = (jnp.arange(residual.shape[-2]) == 0)[:, None]
    log_scale = jnp.where(first, 0.0, 0.5 * jnp.log1p(-(alpha**2)))
    return distribution(Gaussian(alpha * before, jnp.broadcast_to(log_scale, residual.shape))).log_prob(residual)
