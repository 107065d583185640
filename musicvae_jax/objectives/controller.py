"""A controller of the KL's weight that holds the KL at a set point (ControlVAE, Shao et al. 2020)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from musicvae_jax.config import Config, ConfigError, ObjectiveConfig
from musicvae_jax.models.latent import batch_norm
from musicvae_jax.models.latent.bases import committed_rate
from musicvae_jax.types import MEASURES_PER_PHRASE, Array

TOTAL = "total"
_MAX_ERROR = 1.0  # bound of abs(log(KL / set point)), so that a KL far off does not move the weight too fast


class ControllerState(NamedTuple):
    """The state of the controllers, by name: one for each level with a set point, or one for the `TOTAL`."""

    integral: dict[str, Array]  # float[], the slow part of log(factor)
    error: dict[str, Array]  # float[], log(KL / set point) of the last step, within +- `_MAX_ERROR`


def set_points(config: Config) -> dict[str, float]:
    """The set points in nats per phrase, by level or for the `TOTAL`; empty without a controller."""
    if config.objective.kl_per_phrase:
        return {TOTAL: config.objective.kl_per_phrase}
    return {name: level.kl_per_phrase for name, level in config.levels.on.items() if level.kl_per_phrase}


def steered_levels(config: Config) -> list[str]:
    """The levels whose weight a controller moves."""
    points = set_points(config)
    return [name for name in config.levels.on if name in points or TOTAL in points]


def check_set_points(config: Config) -> None:
    """Refuses a set point below the smallest KL that the levels can have.

    A base or batch normalisation can guarantee a KL, and nats that free bits leave free cost nothing, however large the
    weight.

    Raises:
        ConfigError: in a full window, the guaranteed or free KL exceeds the set point.
    """
    measures = config.data.measures
    phrases = -(-measures // MEASURES_PER_PHRASE)
    floors = {}
    for name, level in config.levels.on.items():
        latents = level.num_latents(measures)
        units = {"total": 1, "per_dim": latents * level.dim, "per_dim_per_example": latents}.get(level.free_bits, 0)
        committed = committed_rate(level, latents)
        if level.batch_norm:
            committed = float(batch_norm.committed_rate(level.dim, level.batch_norm)) * latents
        floors[name] = max(committed, level.nats * units) / phrases
    for name, point in set_points(config).items():
        place, floor = f"levels.{name}.kl_per_phrase", floors.get(name, 0.0)
        if name == TOTAL:
            place, floor = "objective.kl_per_phrase", sum(floors.values())
        if point < floor:
            reason = "the KL that base or batch_norm guarantee, or that free_bits leave free"
            raise ConfigError(f"{place} = {point!r}: allowed is {floor:.4g} or more, {reason}")


def init_controller(config: Config) -> ControllerState | tuple[()]:
    """The state before the first step: the smallest factor, so that the KL falls to its set point from above."""
    points = set_points(config)
    if not points:
        return ()
    start = math.log(config.objective.controller_min_beta)
    return ControllerState(
        {name: jnp.asarray(start, float) for name in points},
        {name: jnp.zeros((), float) for name in points},
    )


def controller_factors(config: Config, state: ControllerState | tuple[()]) -> dict[str, Array | float]:
    """The factor of the weight of each level; 1 where nothing steers it."""
    if not isinstance(state, ControllerState):
        return dict.fromkeys(config.levels.on, 1.0)
    gain = config.objective.controller_proportional
    factors = {
        name: jnp.exp(_bounded(config.objective, integral + gain * state.error[name]))
        for name, integral in state.integral.items()
    }
    return {name: factors.get(name, factors.get(TOTAL, 1.0)) for name in config.levels.on}


def update_controller(
    config: Config,
    state: ControllerState | tuple[()],
    kl_per_phrase: dict[str, Array],
    kept: Mapping[str, Array] | None = None,
) -> ControllerState | tuple[()]:
    """The state after a step: proportional and integral control of the logarithms.

    error = log(KL / set point). log(factor) = start + sum over steps of integral gain x error + proportional gain x
    last error, within bounds. Shao et al. (2020) control the weight itself. In logarithms, a weight of .01 that should
    be .02 is corrected as fast as one of 1 that should be 2.

    Args:
        config: gains, bounds and set points.
        state: before the step.
        kl_per_phrase: level -> float[], KL of the batch / phrases of its windows (that keep the level), in nats.
        kept: with level dropout, level -> bool[], whether any window of the batch keeps the level. Where none does, its
            KL is unknown, and the controller of the level, or of the total, stays as it is.
    """
    if not isinstance(state, ControllerState):
        return state
    settings, points = config.objective, set_points(config)
    measured = kl_per_phrase | {TOTAL: sum(kl_per_phrase.values())}
    error = {
        name: jnp.clip(jnp.log(jnp.maximum(measured[name], 1e-6) / point), -_MAX_ERROR, _MAX_ERROR).astype(
            state.error[name].dtype
        )
        for name, point in points.items()
    }
    # Within the bounds, so that it does not wind up while the weight cannot move.
    integral = {
        name: _bounded(settings, state.integral[name] + settings.controller_integral * error[name]) for name in points
    }
    if kept:
        known = {name: jnp.all(jnp.stack(list(kept.values()))) if name == TOTAL else kept[name] for name in points}
        integral, error = (
            {name: jnp.where(known[name], new[name], old[name]) for name in points}
            for new, old in ((integral, state.integral), (error, state.error))
        )
    return ControllerState(integral, error)


def _bounded(config: ObjectiveConfig, log_factor: Array) -> Array:
    return jnp.clip(log_factor, math.log(config.controller_min_beta), math.log(config.controller_max_beta))
