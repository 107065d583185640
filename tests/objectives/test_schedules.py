"""Laws of the weights over time."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import ConfigError, LevelObjective, ObjectiveConfig
from musicvae_jax.objectives.schedules import beta_schedule, capacity_schedule, cyclical_schedule, level_schedule

RISES = ("linear", "cosine", "sigmoid")
STEPS = np.arange(1000)  # one length, so that nothing compiles twice


def squashed(share):
    """The logistic curve between its own values at -6 and 6, by the hyperbolic tangent."""
    return 0.5 + 0.5 * np.tanh(6 * (share - 0.5)) / np.tanh(3)


# How far each kind is after a quarter of its rise, and after half of it.
CURVES = {"linear": (0.25, 0.5), "cosine": (np.sin(np.pi / 8) ** 2, 0.5), "sigmoid": (squashed(0.25), 0.5)}


@pytest.mark.parametrize("rise", RISES)
def test_corners_of_a_cyclical_schedule(rise):
    """Four cycles of 20 steps, of which 8 rise: the first two, and what follows the last."""
    schedule = cyclical_schedule(3.0, 80, 4, 0.4, rise)
    quarter, half = CURVES[rise]
    expected = {0: 0, 2: quarter, 4: half, 8: 1, 14: 1, 19: 1, 20: 0, 22: quarter, 24: half, 28: 1, 39: 1, 40: 0}
    expected |= {60: 0, 79: 1, 80: 1, 81: 1, 10**6: 1}
    jitted = jax.jit(schedule)
    for step, share in expected.items():
        np.testing.assert_allclose(schedule(step), 3 * share, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(jitted(jnp.asarray(step)), 3 * share, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rise", RISES)
def test_a_level_rises_as_its_config_says(rise):
    """Two cycles of 20 steps, of which 8 rise."""
    kind: Any = f"cyclical_{rise}"
    own = LevelObjective(beta=3.0, schedule=kind, schedule_steps=40, cycles=2, ramp=0.4)
    schedule = level_schedule(ObjectiveConfig(local_level=own), "local")
    quarter, half = CURVES[rise]
    for step, share in {0: 0, 2: quarter, 4: half, 8: 1, 19: 1, 20: 0, 22: quarter, 28: 1, 39: 1, 40: 1}.items():
        np.testing.assert_allclose(schedule(step), 3 * share, rtol=1e-6, atol=1e-7)


@given(st.sampled_from(RISES), st.integers(1, 400), st.integers(1, 7), st.floats(0.1, 1), st.floats(0.01, 10))
def test_a_cycle_starts_at_0_never_falls_and_the_last_one_stays(rise, num_steps, num_cycles, ramp, value):
    values = np.asarray(cyclical_schedule(value, num_steps, num_cycles, ramp, rise)(STEPS), np.float64)
    place = STEPS * num_cycles % num_steps  # in the cycle, in parts of a step
    assert (values >= 0).all() and (values <= value * (1 + 1e-6)).all()
    begins = (place == 0) & ~(num_steps <= STEPS)
    np.testing.assert_allclose(values[begins], 0, atol=1e-6 * value)
    np.testing.assert_allclose(values[num_steps:], value, rtol=1e-6)
    arrived = (place >= num_steps * ramp * (1 + 1e-6)) | (num_steps <= STEPS)
    np.testing.assert_allclose(values[arrived], value, rtol=1e-6)
    falls = np.diff(values) < -1e-6 * value
    assert not (falls & (np.diff(place) > 0)).any()  # within a cycle
    # Every cycle is the first one again: steps at the same place have the same weight.
    _, first, same = np.unique(place[:num_steps], return_index=True, return_inverse=True)
    np.testing.assert_allclose(values[:num_steps], values[:num_steps][first][same], rtol=1e-5, atol=1e-6 * value)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (LevelObjective(beta=2.0), {0: 2, 9: 2}),
        (LevelObjective(beta=2.0, schedule="linear", schedule_steps=10), {0: 0, 5: 1, 10: 2, 1000: 2}),
        (LevelObjective(beta=0.25, schedule="linear", schedule_steps=1), {0: 0, 1: 0.25, 2: 0.25}),
    ],
)
def test_corners_of_a_constant_and_a_linear_schedule(schedule, values):
    at = level_schedule(ObjectiveConfig(fine_level=schedule), "fine")
    for step, value in values.items():
        np.testing.assert_allclose(at(step), value, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(at)(jnp.asarray(step)), value, rtol=1e-6)


@pytest.mark.parametrize(("steps", "values"), [(0, {0: 6, 9: 6}), (12, {0: 0, 6: 3, 12: 6, 13: 6, 10**6: 6})])
def test_corners_of_a_capacity(steps, values):
    at = capacity_schedule(LevelObjective(free_bits="capacity", nats=6.0, capacity_steps=steps))
    for step, value in values.items():
        np.testing.assert_allclose(at(step), value, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(at)(jnp.asarray(step)), value, rtol=1e-6)


def test_a_level_has_its_own_factor_of_the_weight_of_all():
    """Weights above and below 1 by level, each on its own schedule, times the warm-up that all share."""
    own = {
        "global": LevelObjective(beta=0.5),
        "local": LevelObjective(beta=1.5, schedule="linear", schedule_steps=40),
        "fine": LevelObjective(beta=4.0, schedule="cyclical_cosine", schedule_steps=60, cycles=2),
    }
    parts: dict[str, Any] = {f"{level}_level": part for level, part in own.items()}
    config = ObjectiveConfig(beta=0.8, beta_warmup_steps=20, **parts)
    alone = ObjectiveConfig(**parts)
    for level, step in itertools.product(own, (0, 7, 20, 33, 100)):
        product = beta_schedule(config)(step) * level_schedule(alone, level)(step)
        np.testing.assert_allclose(level_schedule(config, level)(step), product, rtol=1e-6)
    final = {level: float(level_schedule(config, level)(1000)) for level in own}
    assert final == pytest.approx({"global": 0.4, "local": 1.2, "fine": 3.2}, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "linear"}, r"schedule_steps = 0: allowed is above 0 with schedule = 'linear'"),
        ({"schedule_steps": 9}, r"schedule_steps = 9: allowed is 0 with schedule = 'constant'"),
        ({"capacity_steps": 9, "free_bits": "total"}, r"capacity_steps = 9: allowed is 0 with free_bits = 'total'"),
        ({"schedule": "cyclical_cosine", "schedule_steps": 9, "cycles": 0}, r"cycles = 0: allowed is a number above 0"),
        ({"schedule": "cyclical_linear", "schedule_steps": 3}, r"cycles = 4: allowed is at most schedule_steps = 3"),
        ({"ramp": 0.0}, r"ramp = 0\.0: allowed is 0 < value <= 1"),
        ({"beta": -1.0}, r"beta = -1\.0: allowed is 0 or more"),
        ({"nats": 1.0}, r"nats = 1\.0: allowed is 0 with free_bits = 'none'"),
    ],
)
def test_what_is_no_schedule_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        LevelObjective(**changes)
