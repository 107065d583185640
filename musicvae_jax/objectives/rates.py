"""What the KL of a level costs: its weight at a step, and the part of it that is charged.

Schedules are functions of the step, as in optax.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from musicvae_jax.config import Config, LevelConfig, ObjectiveConfig
from musicvae_jax.objectives.controller import ControllerState, controller_factors, steered_levels
from musicvae_jax.types import KL, Array, VAEOutput

# The height of a rise after a share s of its time, from (0, 0) to (1, 1) (Fu et al. 2019, section 3.1).
_RISES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda s: s,
    "cosine": lambda s: 0.5 * (1 - jnp.cos(jnp.pi * s)),
    "sigmoid": lambda s: (_sigmoid(s) - _sigmoid(0.0)) / (_sigmoid(1.0) - _sigmoid(0.0)),
}
Mean = Callable[[Array], Array]  # the mean of a number over devices


def identity(value: Array) -> Array:
    """The mean over devices where there is one device."""
    return value


def _sigmoid(s: Array | float) -> Array:
    return 1 / (1 + jnp.exp(-12 * (jnp.asarray(s) - 0.5)))


def cyclical_schedule(value: float, num_steps: int, num_cycles: int, ramp: float, rise: str) -> optax.Schedule:
    """Cycles of a rise from 0 to a value and a plateau (Fu et al. 2019, eq. 6-8); constant after the last cycle.

    Args:
        value: of the plateaus.
        num_steps: steps of all cycles together.
        num_cycles: number of cycles.
        ramp: share of a cycle in which the schedule rises.
        rise: ``"linear"``, ``"cosine"`` or ``"sigmoid"``.
    """

    def schedule(step: Array | int) -> Array:
        step = jnp.minimum(step, num_steps)
        # In whole numbers: a cycle then begins at 0 even where its length is no whole number of steps.
        share = jnp.mod(step * num_cycles, num_steps) / (num_steps * ramp)
        risen = jnp.where(step == num_steps, 1.0, jnp.minimum(share, 1.0))
        return value * _RISES[rise](risen)

    return schedule


def beta_schedule(config: ObjectiveConfig) -> optax.Schedule:
    """The weight of all KLs: ``beta``, after a linear rise from 0 over ``beta_warmup_steps`` (Bowman et al. 2016)."""
    return _linear(config.beta, config.beta_warmup_steps)


def level_schedule(config: ObjectiveConfig, level: LevelConfig) -> optax.Schedule:
    """The weight of the KL of a level: `beta_schedule` times the schedule of the level."""
    overall = beta_schedule(config)
    if level.schedule == "constant":
        factor = optax.constant_schedule(level.beta)
    elif level.schedule == "linear":
        factor = _linear(level.beta, level.schedule_steps)
    else:
        rise = level.schedule.removeprefix("cyclical_")
        factor = cyclical_schedule(level.beta, level.schedule_steps, level.cycles, level.ramp, rise)
    return lambda step: overall(step) * factor(step)


def capacity_schedule(level: LevelConfig) -> optax.Schedule:
    """The capacity C of a level in nats per window: a linear rise from 0 (Burgess et al. 2018, section 4)."""
    return _linear(level.nats, level.capacity_steps)


def _linear(value: float, num_steps: int) -> optax.Schedule:
    return optax.linear_schedule(0.0, value, num_steps) if num_steps else optax.constant_schedule(value)


class Weights(NamedTuple):
    """What multiplies the terms of the objective at one step."""

    beta: dict[str, Array]  # level -> float[], of its charged KL
    capacity: dict[str, Array]  # level -> float[], nats per window
    span: float = 0.0  # of the span heads' nll
    attributes: float = 0.0  # of the loss of dims that follow attributes
    group_heads: float = 0.0  # of the errors of the group heads
    independence: Mapping[str, float] = MappingProxyType({})  # term of `independence_terms` -> its weight
    modes: float = 0.0  # of `mode_loss`


def weights_at(config: Config, step: Array | int, controller: ControllerState | tuple[()] = ()) -> Weights:
    """The weights of a step: schedules, times the factors of the controller."""
    factors = controller_factors(config, controller)
    return Weights(
        {
            name: level_schedule(config.objective, level)(step) * factors[name]
            for name, level in config.levels.on.items()
        },
        {name: capacity_schedule(level)(step) for name, level in config.levels.on.items()},
        config.objective.span_weight,
        config.objective.attribute_weight,
        config.objective.group_head_weight,
        config.objective.independence_weights,
        config.objective.mode_weight,
    )


def final_weights(config: Config) -> Weights:
    """The weights by which checkpoints compare: those of the last step.

    They are 1 where a controller steers, because its weights differ from run to run. Span heads, attributes, group
    heads, the independence of groups and the styles of modes do not count.
    """
    weights, steered = weights_at(config, config.train.num_steps - 1), steered_levels(config)
    beta = {name: 1.0 if name in steered else beta for name, beta in weights.beta.items()}
    return weights._replace(beta=beta, span=0.0, attributes=0.0, group_heads=0.0, independence={}, modes=0.0)


def balance(kl: Mapping[str, Array], sizes: Mapping[str, Array | float]) -> dict[str, Array]:
    """Factors of the KLs of levels, with mean 1 and without a gradient (Vahdat & Kautz 2020, appendix A).

    The factor of a level is proportional to its KL per latent number: a level with little KL is charged little, so it
    can carry more. A level that no window of the batch has gets factor 1, and the mean is over the others.

    Args:
        kl: level -> float[], mean over the batch and all devices, in nats per window.
        sizes: level -> mean number of latents x dims in a window.
    """
    there = {level: jnp.asarray(size > 0) for level, size in sizes.items()}
    density = {
        level: jax.lax.stop_gradient(jnp.abs(kl[level])) / jnp.where(there[level], size, 1) + 1e-6
        for level, size in sizes.items()
    }
    total = sum(jnp.where(there[level], value, 0) for level, value in density.items())
    mean = total / jnp.maximum(sum(there.values()), 1)
    return {level: jnp.where(there[level], value / mean, 1) for level, value in density.items()}


def balanced_weights(
    config: Config, weights: Weights, step: Array, output: VAEOutput, mean: Mean = identity
) -> Weights:
    """Weights under KL balance (`balance`), for the first ``kl_balance_steps`` steps.

    A level with a capacity keeps its weight: the less KL it has, the more it must be charged.
    """
    if not config.objective.kl_balance_steps:
        return weights
    charged = {name: level for name, level in config.levels.on.items() if level.free_bits != "capacity"}
    kl = {name: mean(output.kl[name].total.sum(-1).mean()) for name in charged}
    latents = {name: mean(own_latents(output, name).sum(-1).mean(dtype=kl[name].dtype)) for name in charged}
    factors = balance(kl, {name: latents[name] * level.dim for name, level in charged.items()})
    warm = step < config.objective.kl_balance_steps
    beta = {name: weights.beta[name] * jnp.where(warm, factor, 1.0) for name, factor in factors.items()}
    return weights._replace(beta=weights.beta | beta)


def own_latents(output: VAEOutput, level: str) -> Array:
    """The latents that a window has and that level dropout has not drawn from the prior: bool[batch, time]."""
    present = output.present[level]
    return present & output.kept[level][..., None] if output.kept else present


def charge(level: LevelConfig, kl: KL, present: Array, capacity: Array | float) -> Array:
    """The charged part of the KL of every example, in nats: float[batch]. Of ``per_dim`` see `charge_per_dim`.

    none: the KL. total: max(KL - nats, 0) (Roberts et al. 2018, as in their code). per_dim_per_example: each dim of
    each latent costs at least nats / dims (Li et al. 2019, eq. 5). capacity: abs(KL - C) (Burgess et al. 2018, eq. 8).

    Args:
        level: names the rule.
        kl: of the batch, 0 where a latent does not count.
        present: bool[batch, time], latents that count.
        capacity: C at this step, in nats per window.
    """
    total = kl.total.sum(-1)
    if level.free_bits == "total":
        return jax.nn.relu(total - level.nats)
    if level.free_bits == "per_dim_per_example":
        assert kl.per_dim is not None, "refused by config.rules"
        return jnp.where(present[..., None], jnp.maximum(kl.per_dim, level.nats / level.dim), 0).sum((-2, -1))
    if level.free_bits == "capacity":
        return jnp.where(present.any(-1), jnp.abs(total - capacity), 0)
    return total


def charge_per_dim(level: LevelConfig, kl: KL, present: Array, mean: Mean = identity) -> Array:
    """Free bits of the batch: each dim costs at least ``nats`` per latent in the mean over the batch: float[], nats.

    Kingma et al. (2016), eq. 15; Wu & Yang (2023). The minimum is of the mean over all devices; the result is the share
    of this device, of which the mean over devices is the charge per window.

    Args:
        level: with its ``nats``.
        kl: of the batch, 0 where a latent does not count.
        present: bool[batch, time], latents that count.
        mean: over devices. Under gradient accumulation a batch is a microbatch.
    """
    assert kl.per_dim is not None, "refused by config.rules"
    of_dim, latents = kl.per_dim.sum(-2).mean(0), present.sum(-1).mean(dtype=kl.total.dtype)  # float[dim], float[]
    per_latent = mean(of_dim) / jnp.maximum(mean(latents), 1e-9)
    charged = jax.lax.stop_gradient(per_latent) > level.nats
    return jnp.where(charged, of_dim, level.nats * latents).sum()
