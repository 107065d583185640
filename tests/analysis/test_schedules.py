"""The picture of schedules, and the simulated model of the controller."""

import math

import numpy as np
import pytest

from musicvae_jax.analysis.schedules import NUM_STEPS, plant_rate, plot_schedules, schedule_curves, simulate_controller
from musicvae_jax.config import Config, ObjectiveConfig


def test_a_curve_equals_the_schedule_at_each_step() -> None:
    steps = np.arange(0, NUM_STEPS + 1, 125)
    curves = schedule_curves(steps)
    assert len({curve.title for curve in curves}) == len(curves) == 6
    for number in range(len(steps)):
        for curve, alone in zip(curves, schedule_curves(steps[number : number + 1]), strict=True):
            assert abs(curve.values[number] - alone.values[0]) < 2e-7 * max(curve.values)  # float32, two roundings
            assert 0 <= curve.values[number] <= (20 if "capacity" in curve.title else 1)
        assert curves[0].values[number] == 1


def test_the_rate_is_that_of_independent_gaussian_sources() -> None:
    """The distortion of a source is min(s, beta); the rate is half the difference of the log determinants."""
    variances = np.array([10.0 * 0.8**dim for dim in range(32)])
    for beta in (0.01, 0.3, 2.0, 20.0):
        distortion = np.minimum(variances, beta)
        whole, left = (np.linalg.slogdet(np.diag(values)).logabsdet for values in (variances, distortion))
        assert math.isclose(float(plant_rate(beta)), (whole - left) / 2, rel_tol=1e-5, abs_tol=1e-5)


@pytest.mark.parametrize("point", [5.0, 20.0])
def test_the_controller_converges_to_the_weight_that_gives_the_set_point(point) -> None:
    beta, kl = simulate_controller(Config(objective=ObjectiveConfig(kl_per_phrase=point)), 4000)
    assert abs(kl[-1] - point) < 1e-3 * point
    low, high = 1e-4, 10.0
    for _ in range(60):  # bisection of log(beta): the rate decreases with beta
        middle = math.sqrt(low * high)
        low, high = (middle, high) if plant_rate(middle) > point else (low, middle)
    assert abs(math.log(beta[-1] / low)) < 2e-3
    assert kl[:500].max() > 1.5 * point  # the KL comes from above, because the first weight is the smallest
    assert math.isclose(beta[0], ObjectiveConfig().controller_min_beta, rel_tol=1e-6)


def test_every_schedule_and_the_controller_have_a_panel() -> None:
    titles = [ax.get_title(loc="left") for ax in plot_schedules().axes]
    assert len(titles) == 8 and {curve.title for curve in schedule_curves(np.arange(2))} < set(titles)
