"""Weights as functions of the step, in the manner of optax schedules."""

import optax

from musicvae_jax.config import ObjectiveConfig


def beta_schedule(config: ObjectiveConfig) -> optax.Schedule:
    """The KL's weight: ``beta``, after a linear rise from 0 over ``beta_warmup_steps`` (Bowman et al. 2016)."""
    if config.beta_warmup_steps == 0:
        return optax.constant_schedule(config.beta)
    return optax.linear_schedule(0.0, config.beta, config.beta_warmup_steps)
