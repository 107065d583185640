"""Weights as functions of the step, in the manner of optax schedules."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from musicvae_jax.config import LevelObjective, ObjectiveConfig
from musicvae_jax.types import Array

# How far a rise is after a share s of its time, from (0, 0) to (1, 1) (Fu et al. 2019, section 3.1).
_RISES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda s: s,
    "cosine": lambda s: 0.5 * (1 - jnp.cos(jnp.pi * s)),
    "sigmoid": lambda s: (_sigmoid(s) - _sigmoid(0.0)) / (_sigmoid(1.0) - _sigmoid(0.0)),
}


def _sigmoid(s: Array | float) -> Array:
    return 1 / (1 + jnp.exp(-12 * (jnp.asarray(s) - 0.5)))


def cyclical_schedule(value: float, num_steps: int, num_cycles: int, ramp: float, rise: str) -> optax.Schedule:
    """Cycles of a rise from 0 to a value and a plateau there (Fu et al. 2019, eq. 6-8); constant after the last.

    Args:
        value: of the plateaus.
        num_steps: of all cycles together.
        num_cycles: how many there are.
        ramp: share of a cycle that the rise takes.
        rise: ``"linear"``, ``"cosine"`` or ``"sigmoid"``.
    """

    def schedule(step: Array | int) -> Array:
        step = jnp.minimum(step, num_steps)
        # Whole numbers, so that a cycle begins at 0 even where its length is no whole number of steps.
        share = jnp.mod(step * num_cycles, num_steps) / (num_steps * ramp)
        risen = jnp.where(step == num_steps, 1.0, jnp.minimum(share, 1.0))
        return value * _RISES[rise](risen)

    return schedule


def beta_schedule(config: ObjectiveConfig) -> optax.Schedule:
    """The weight of all KLs: ``beta``, after a linear rise from 0 over ``beta_warmup_steps`` (Bowman et al. 2016)."""
    return _linear(config.beta, config.beta_warmup_steps)


def level_schedule(config: ObjectiveConfig, level: str) -> optax.Schedule:
    """The weight of a level's KL: `beta_schedule` times the level's own."""
    own, overall = config.level(level), beta_schedule(config)
    if own.schedule == "constant":
        factor = optax.constant_schedule(own.beta)
    elif own.schedule == "linear":
        factor = _linear(own.beta, own.schedule_steps)
    else:
        rise = own.schedule.removeprefix("cyclical_")
        factor = cyclical_schedule(own.beta, own.schedule_steps, own.cycles, own.ramp, rise)
    return lambda step: overall(step) * factor(step)


def capacity_schedule(config: LevelObjective) -> optax.Schedule:
    """The capacity C of a level in nats per window: a linear rise from 0 (Burgess et al. 2018, section 4)."""
    return _linear(config.nats, config.capacity_steps)


def _linear(value: float, num_steps: int) -> optax.Schedule:
    return optax.linear_schedule(0.0, value, num_steps) if num_steps else optax.constant_schedule(value)
