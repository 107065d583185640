"""Pictures of the schedules: how the KL's weight moves over training, and how a controller moves it."""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.analysis.figures import INK, OKABE_ITO, Page, tidy
from musicvae_jax.config import LevelObjective, ObjectiveConfig
from musicvae_jax.objectives.controller import controller_factors, init_controller, update_controller
from musicvae_jax.objectives.schedules import capacity_schedule, level_schedule
from musicvae_jax.types import Array

NUM_STEPS = 1000
STEERED = ObjectiveConfig(kl_per_phrase=20.0)
_COLUMNS, _WIDTH, _HEIGHT = 4, 1.9, 1.5  # panels in a row; inches of a panel's frame
WEIGHT = "KL's weight"
_COLOURS = {
    WEIGHT: OKABE_ITO["blue"],
    "nats per window": OKABE_ITO["orange"],
    "nats per phrase": OKABE_ITO["green"],
}
_LAG = 50.0  # steps after which the plant's KL has made 63 % of its way
_VARIANCES = tuple(10.0 * 0.8**dim for dim in range(32))  # of the plant's source

# title, the level's objective; the overall weight is 1
_WEIGHTS = (
    ("constant", LevelObjective()),
    ("linear, 500 steps", LevelObjective(schedule="linear", schedule_steps=500)),
    ("cyclical linear, M = 4, R = 0.5", LevelObjective(schedule="cyclical_linear", schedule_steps=NUM_STEPS)),
    ("cyclical cosine, M = 4, R = 0.5", LevelObjective(schedule="cyclical_cosine", schedule_steps=NUM_STEPS)),
    ("cyclical sigmoid, M = 4, R = 0.5", LevelObjective(schedule="cyclical_sigmoid", schedule_steps=NUM_STEPS)),
)
_CAPACITY = LevelObjective(free_bits="capacity", nats=20.0, capacity_steps=500)


class Response(NamedTuple):
    """What a controller does to a plant."""

    beta: np.ndarray  # float[step], the weight that each step is made with
    kl_per_phrase: np.ndarray  # float[step], what came of it, in nats


class Curve(NamedTuple):
    """A schedule as it is drawn."""

    title: str
    unit: str
    values: np.ndarray  # float[step]


def plot_schedules(path: str | os.PathLike[str]) -> None:
    """Draws a panel per kind of schedule, and a controller's response to a simulated plant; see `simulate_controller`.

    Args:
        path: of the PNG.
    """
    steps = np.arange(NUM_STEPS + 1)
    response = simulate_controller(STEERED, len(steps))
    curves = schedule_curves(steps)
    curves.insert(3, Curve("controller, simulated plant", WEIGHT, response.beta))
    curves.append(Curve(f"its KL, set point {STEERED.kl_per_phrase:g}", "nats per phrase", response.kl_per_phrase))
    page = Page(_COLUMNS * (_WIDTH + 0.6) + 0.05, -(-len(curves) // _COLUMNS) * (_HEIGHT + 0.7))
    for number, (title, unit, values) in enumerate(curves):
        row, column = divmod(number, _COLUMNS)
        ax = page.axes(0.55 + column * (_WIDTH + 0.6), 0.3 + row * (_HEIGHT + 0.7), _WIDTH, _HEIGHT)
        ax.plot(steps, values, color=_COLOURS[unit], linewidth=1.6)
        ax.set_ylim(0, 1.1 * float(values.max()))
        tidy(ax)
        ax.set_title(title, fontsize=9, color=INK, loc="left")
        ax.set_ylabel(unit, fontsize=8, color=INK, labelpad=2)
        if values is response.kl_per_phrase:
            ax.axhline(STEERED.kl_per_phrase, color=INK, linewidth=0.8, linestyle=":")
    page.save(path)


def schedule_curves(steps: np.ndarray) -> list[Curve]:
    """A curve per kind of schedule, at steps int[step]."""
    curves = []
    for title, level in _WEIGHTS:
        weight_at = level_schedule(ObjectiveConfig(global_level=level), "global")
        curves.append(Curve(title, WEIGHT, np.broadcast_to(weight_at(steps), steps.shape)))
    capacity = np.broadcast_to(capacity_schedule(_CAPACITY)(steps), steps.shape)
    curves.insert(2, Curve("capacity C, 500 steps", "nats per window", capacity))
    return curves


def simulate_controller(config: ObjectiveConfig, num_steps: int, lag: float = _LAG) -> Response:
    """The controller's way to its set point, where the plant is known in closed form.

    The plant is the best code of 32 independent Gaussian sources of variances s: at the weight beta it spends
    1/2 sum_d max(log(s_d / beta), 0) nats (reverse water-filling, Cover & Thomas 2006, theorem 10.3.3). The measured KL
    follows that with a lag, as a network under training does: kl += (rate(beta) - kl) / lag.

    Args:
        config: with ``kl_per_phrase``, the set point of the total.
        num_steps: how long.
        lag: in steps.
    """
    levels = ["global"]
    weight_at = level_schedule(config, "global")

    def step(carry: tuple, number: Array) -> tuple[tuple, tuple[Array, Array]]:
        state, kl = carry
        beta = weight_at(number) * controller_factors(config, state, levels)["global"]
        kl = kl + (rate_of_plant(beta) - kl) / lag
        return (update_controller(config, state, {"global": kl}), kl), (beta, kl)

    start = (init_controller(config, levels), jnp.zeros(()))
    _, (beta, kl) = jax.lax.scan(step, start, jnp.arange(num_steps))
    return Response(np.asarray(beta), np.asarray(kl))


def rate_of_plant(beta: Array | float) -> Array:
    """The plant's KL at rest, in nats: float[]. See `simulate_controller`."""
    return 0.5 * jnp.maximum(jnp.log(jnp.asarray(_VARIANCES) / beta), 0).sum()
