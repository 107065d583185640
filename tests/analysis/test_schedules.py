"""Pictures of schedules and of the levels' KL, and the plant that the controller is shown on."""

import json
import math

import numpy as np
import pytest
from matplotlib.image import imread

from musicvae_jax.analysis.level_kl import level_series, plot_level_kl
from musicvae_jax.analysis.schedules import (
    NUM_STEPS,
    plot_schedules,
    rate_of_plant,
    schedule_curves,
    simulate_controller,
)
from musicvae_jax.config import ObjectiveConfig, UserError


def test_a_curve_is_the_schedule_step_by_step() -> None:
    steps = np.arange(0, NUM_STEPS + 1, 125)
    curves = schedule_curves(steps)
    assert len({curve.title for curve in curves}) == len(curves) == 6
    for number in range(len(steps)):
        for curve, alone in zip(curves, schedule_curves(steps[number : number + 1]), strict=True):
            assert abs(curve.values[number] - alone.values[0]) < 2e-7 * max(curve.values)  # float32, two roundings
            assert 0 <= curve.values[number] <= (20 if "capacity" in curve.title else 1)
        assert curves[0].values[number] == 1


def test_the_rate_of_the_plant_is_that_of_the_gaussian_sources() -> None:
    """At rest every active dim has distortion beta: 1/2 log of the ratio of determinants, by slogdet."""
    variances = np.array([10.0 * 0.8**dim for dim in range(32)])
    for beta in (0.01, 0.3, 2.0, 20.0):
        distortion = np.minimum(variances, beta)
        whole, left = (np.linalg.slogdet(np.diag(values)).logabsdet for values in (variances, distortion))
        assert math.isclose(float(rate_of_plant(beta)), (whole - left) / 2, rel_tol=1e-5, abs_tol=1e-5)


@pytest.mark.parametrize("point", [5.0, 20.0])
def test_the_controller_comes_to_rest_where_the_plant_gives_the_set_point(point) -> None:
    beta, kl = simulate_controller(ObjectiveConfig(kl_per_phrase=point), 4000)
    assert abs(kl[-1] - point) < 1e-3 * point
    low, high = 1e-4, 10.0
    for _ in range(60):  # bisection on the logarithm: the rate falls with beta
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rate_of_plant(middle) > point else (low, middle)
    assert abs(math.log(beta[-1] / low)) < 2e-3
    assert kl[:500].max() > 1.5 * point  # from above, because the weight begins at its smallest:
    assert math.isclose(beta[0], ObjectiveConfig().controller_min_beta, rel_tol=1e-6)


def test_the_page_of_schedules_is_drawn(tmp_path) -> None:
    plot_schedules(tmp_path / "new" / "schedules.png")
    pixels = imread(tmp_path / "new" / "schedules.png")
    assert pixels.shape[1] > 2 * pixels.shape[0] and pixels.std() > 0.05


def test_levels_side_by_side(tmp_path) -> None:
    rows = [{"step": step, "kl_fine": 3.0 * step, "kl_global": 0.0, "loss": 1.0} for step in (10, 20, 30)]
    rows.insert(1, {"step": 15, "validation_kl_fine": 7.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    series = level_series(path)
    assert list(series) == ["global", "fine"]
    np.testing.assert_array_equal(series["fine"], [[10, 20, 30], [30, 60, 90]])
    sizes = []
    for number in (1, 2, 3):
        plot_level_kl({f"run ${label}": path for label in range(number)}, tmp_path / "levels.png")
        sizes.append(imread(tmp_path / "levels.png").shape)
    widths = [size[1] for size in sizes]
    assert len({size[0] for size in sizes}) == 1 and widths[2] - widths[1] == widths[1] - widths[0] > 100


def test_levels_of_nothing_are_refused(tmp_path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    for runs, said in (
        ({}, "no runs"),
        ({"a": tmp_path / "empty.jsonl"}, "no rows to draw"),
        ({"a": tmp_path / "gone.jsonl"}, "gone.jsonl is missing"),
    ):
        with pytest.raises(UserError, match=said):
            plot_level_kl(runs, tmp_path / "levels.png")
    with pytest.raises(ValueError, match="smoothing = -1"):
        plot_level_kl({}, tmp_path / "levels.png", smoothing=-1)
    assert not (tmp_path / "levels.png").exists()
