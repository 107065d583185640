"""Pictures of the KL's weight over training: schedules, and the controller on a simulated model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from musicvae_jax.analysis.page import INK, OKABE_ITO, Page, style_axes
from musicvae_jax.config import Config, LevelConfig, ObjectiveConfig
from musicvae_jax.objectives.controller import controller_factors, init_controller, update_controller
from musicvae_jax.objectives.rates import capacity_schedule, level_schedule
from musicvae_jax.types import Array

NUM_STEPS = 1000
_SET_POINT = 20.0  # nats per phrase
_COLUMNS, _WIDTH, _HEIGHT = 4, 1.9, 1.5  # panels per row; inches of a panel
_WEIGHT, _NATS, _RATE = "KL's weight", "nats per window", "nats per phrase"
_COLOURS = {_WEIGHT: OKABE_ITO["blue"], _NATS: OKABE_ITO["orange"], _RATE: OKABE_ITO["green"]}
_LAG = 50.0  # steps after which the simulated KL has covered 63 % of the distance to its rest
_VARIANCES = tuple(10.0 * 0.8**dim for dim in range(32))  # of the simulated sources

_WEIGHTS = {
    "constant": LevelConfig(),
    "linear, 500 steps": LevelConfig(schedule="linear", schedule_steps=500),
    "cyclical linear, M = 4, R = 0.5": LevelConfig(schedule="cyclical_linear", schedule_steps=NUM_STEPS),
    "cyclical cosine, M = 4, R = 0.5": LevelConfig(schedule="cyclical_cosine", schedule_steps=NUM_STEPS),
    "cyclical sigmoid, M = 4, R = 0.5": LevelConfig(schedule="cyclical_sigmoid", schedule_steps=NUM_STEPS),
}
_CAPACITY = LevelConfig(free_bits="capacity", nats=20.0, capacity_steps=500)


class Response(NamedTuple):
    """The controller and the simulated model over steps."""

    beta: np.ndarray  # float[step]
    kl_per_phrase: np.ndarray  # float[step], nats


class Curve(NamedTuple):
    """One panel."""

    title: str
    unit: str
    values: np.ndarray  # float[step]


def plot_schedules() -> Figure:
    """One panel per kind of schedule, and two of `simulate_controller`: weight and KL."""
    steps = np.arange(NUM_STEPS + 1)
    response = simulate_controller(Config(objective=ObjectiveConfig(kl_per_phrase=_SET_POINT)), len(steps))
    curves = schedule_curves(steps)
    curves.insert(3, Curve("controller, simulated plant", _WEIGHT, response.beta))
    curves.append(Curve(f"its KL, set point {_SET_POINT:g}", _RATE, response.kl_per_phrase))
    page = Page(_COLUMNS * (_WIDTH + 0.6) + 0.05, -(-len(curves) // _COLUMNS) * (_HEIGHT + 0.7))
    for number, (title, unit, values) in enumerate(curves):
        row, column = divmod(number, _COLUMNS)
        ax = page.place_axes(0.55 + column * (_WIDTH + 0.6), 0.3 + row * (_HEIGHT + 0.7), _WIDTH, _HEIGHT)
        ax.plot(steps, values, color=_COLOURS[unit], linewidth=1.6)
        ax.set_ylim(0, 1.1 * float(values.max()))
        style_axes(ax)
        ax.set_title(title, fontsize=9, color=INK, loc="left")
        ax.set_ylabel(unit, fontsize=8, color=INK, labelpad=2)
        if unit == _RATE:
            ax.axhline(_SET_POINT, color=INK, linewidth=0.8, linestyle=":")
    return page


def schedule_curves(steps: np.ndarray) -> list[Curve]:
    """One curve per kind of schedule, at steps int[step]; the overall weight is 1."""
    curves = []
    for title, level in _WEIGHTS.items():
        weight = level_schedule(ObjectiveConfig(), level)(steps)
        curves.append(Curve(title, _WEIGHT, np.broadcast_to(weight, steps.shape)))
    capacity = np.broadcast_to(capacity_schedule(_CAPACITY)(steps), steps.shape)
    curves.insert(2, Curve("capacity C, 500 steps", _NATS, capacity))
    return curves


def simulate_controller(config: Config, num_steps: int) -> Response:
    """The controller on a simulated model ("plant") whose KL is known in closed form.

    The model codes 32 independent Gaussian sources with variances s_d at their rate-distortion optimum (reverse
    water-filling, Cover & Thomas 2006, theorem 10.3.3): rate(beta) = 1/2 sum_d max(log(s_d / beta), 0) nats.
    The measured KL follows with a lag, as in training: kl += (rate(beta) - kl) / 50 at each step. The set point is
    ``config.objective.kl_per_phrase``; one level is on.
    """
    ((name, level),) = config.levels.on.items()
    schedule = level_schedule(config.objective, level)

    def step(carry: tuple, number: Array) -> tuple[tuple, tuple[Array, Array]]:
        state, kl = carry
        beta = schedule(number) * controller_factors(config, state)[name]
        kl = kl + (plant_rate(beta) - kl) / _LAG
        return (update_controller(config, state, {name: kl}), kl), (beta, kl)

    start = (init_controller(config), jnp.zeros(()))
    _, (beta, kl) = jax.lax.scan(step, start, jnp.arange(num_steps))
    return Response(np.asarray(beta), np.asarray(kl))


def plant_rate(beta: Array | float) -> Array:
    """rate(beta) of `simulate_controller`: float[], nats."""
    return 0.5 * jnp.maximum(jnp.log(jnp.asarray(_VARIANCES) / beta), 0).sum()
