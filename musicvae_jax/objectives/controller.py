"""The adaptive weight: a controller that holds the KL at a set point, as ControlVAE does (Shao et al. 2020)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from musicvae_jax.config import Config, ObjectiveConfig
from musicvae_jax.config.checks import check
from musicvae_jax.models import batch_norm, delta
from musicvae_jax.types import MEASURES_PER_PHRASE, Array

TOTAL = "total"
_FLOOR = "which delta and batch_norm levels commit to or free bits leave free"
_MAX_ERROR = 1.0  # of the logarithm: a KL that is e times too large is as urgent as any larger one


class ControllerState(NamedTuple):
    """What a controller remembers of each thing it steers: a level, or `TOTAL`."""

    integral: dict[str, Array]  # float[], the slow part of log(factor)
    error: dict[str, Array]  # float[], the last log(KL / set point)


def set_points(config: ObjectiveConfig, levels: list[str]) -> dict[str, float]:
    """What is steered, to how many nats per phrase; empty without a controller."""
    if config.kl_per_phrase:
        return {TOTAL: config.kl_per_phrase}
    points = {level: config.level(level).kl_per_phrase for level in levels}
    return {level: point for level, point in points.items() if point}


def check_set_points(config: Config) -> None:
    """Refuses a set point that no weight leads to: delta or batch normalisation commits to more, or more is free.

    What free bits leave free costs nothing, so that the KL stays there however large the weight.

    Raises:
        ConfigError: in a full window what is committed or free of what is steered is above its set point.
    """
    model, measures = config.model, config.data.measures
    phrases = -(-measures // MEASURES_PER_PHRASE)
    floors = dict.fromkeys(model.widths, 0.0)
    for level in floors:
        latents, width = model.num_latents(level, measures), model.widths[level]
        if level in model.delta_levels:
            floors[level] = float(delta.committed_rate(latents, width, model.delta_alpha)) / phrases
        if level in model.batch_norm_levels:
            floors[level] = float(batch_norm.committed_rate(width, model.batch_norm_gamma)) * latents / phrases
        rule = config.objective.level(level)
        units = {"total": 1, "per_dim": latents * width, "per_dim_per_example": latents}.get(rule.free_bits, 0)
        floors[level] = max(floors[level], rule.nats * units / phrases)
    for name, point in set_points(config.objective, list(model.widths)).items():
        floor = sum(floors.values()) if name == TOTAL else floors[name]
        field = "ObjectiveConfig." + ("kl_per_phrase" if name == TOTAL else f"{name}_level.kl_per_phrase")
        check(point >= floor, field, point, f"{floor:.4g} and more, {_FLOOR}")


def init_controller(config: ObjectiveConfig, levels: list[str]) -> ControllerState | tuple[()]:
    """The state before the first step: the smallest weight, so that the steered KL comes down to its set point."""
    points = set_points(config, levels)
    if not points:
        return ()
    start = math.log(config.controller_min_beta)
    return ControllerState(
        {name: jnp.asarray(start, float) for name in points},
        {name: jnp.zeros((), float) for name in points},
    )


def controller_factors(
    config: ObjectiveConfig, state: ControllerState | tuple[()], levels: list[str]
) -> dict[str, Array | float]:
    """What the weight of each level is multiplied by; 1 where nothing steers it."""
    if not isinstance(state, ControllerState):
        return dict.fromkeys(levels, 1.0)
    factors = {name: jnp.exp(_bounded(config, _log_factor(config, state, name))) for name in state.integral}
    return {level: factors.get(level, factors.get(TOTAL, 1.0)) for level in levels}


def update_controller(
    config: ObjectiveConfig,
    state: ControllerState | tuple[()],
    kl_per_phrase: dict[str, Array],
    kept: Mapping[str, Array] | None = None,
) -> ControllerState | tuple[()]:
    """The state after a step: proportional and integral control, as in Shao et al. (2020), but of the logarithms.

    error = log(KL / set point); log(factor) = integral of the error x its gain + the last error x its gain. In the
    logarithm, because a weight that is too small by a factor then needs the same time wherever it stands.

    Args:
        config: gains, bounds and set points.
        state: before.
        kl_per_phrase: level -> float[], the batch's KL over its phrases, in nats.
        kept: with level dropout, level -> bool[], whether a window of the batch keeps the level. Where none does, its
            KL is not known, and what it steers, itself or the total, stays as it is.
    """
    if not isinstance(state, ControllerState):
        return state
    points = set_points(config, list(kl_per_phrase))
    measured = kl_per_phrase | {TOTAL: sum(kl_per_phrase.values())}
    error = {
        name: jnp.clip(jnp.log(jnp.maximum(measured[name], 1e-6) / point), -_MAX_ERROR, _MAX_ERROR).astype(
            state.error[name].dtype
        )
        for name, point in points.items()
    }
    # The integral keeps within the bounds: it does not wind up while the weight cannot move.
    integral = {
        name: _bounded(config, state.integral[name] + config.controller_integral * error[name]) for name in points
    }
    if kept:
        known = {name: jnp.all(jnp.stack(list(kept.values()))) if name == TOTAL else kept[name] for name in points}
        integral, error = (
            {name: jnp.where(known[name], new[name], old[name]) for name in points}
            for new, old in ((integral, state.integral), (error, state.error))
        )
    return ControllerState(integral, error)


def _log_factor(config: ObjectiveConfig, state: ControllerState, name: str) -> Array:
    return state.integral[name] + config.controller_proportional * state.error[name]


def _bounded(config: ObjectiveConfig, log_factor: Array) -> Array:
    return jnp.clip(log_factor, math.log(config.controller_min_beta), math.log(config.controller_max_beta))
