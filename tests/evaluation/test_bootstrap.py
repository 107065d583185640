"""Figures against NumPy on one sample, and standard errors where they are known."""

import numpy as np
import pytest

from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate


def make_pair(seed=0, windows=40, cells=3, columns=4):
    """x, and y that correlates with each column differently. Both have NaNs; the third column of x is constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(60, 5, (windows, cells, columns))
    y = 0.1 * x + rng.normal(0, [0.0, 0.3, 1.0, 3.0], x.shape)
    x[..., 2] = 7.0
    x[rng.random(x.shape) < 0.1] = np.nan
    y[rng.random(x.shape) < 0.1] = np.nan
    return x, y


def reference(x, y, rows):
    """NumPy's squared correlation, the mean over the columns that vary. Rows may occur several times."""
    found = []
    for column in (0, 1, 3):
        a, b = x[rows][..., column].ravel(), y[rows][..., column].ravel()
        both = np.isfinite(a) & np.isfinite(b)
        found.append(np.corrcoef(a[both], b[both])[0, 1] ** 2)
    return np.mean(found)


def test_squared_correlation_is_numpys_in_every_resample():
    x, y = make_pair()
    pieces = np.arange(40) // 4
    bootstrap = Bootstrap(pieces, num_resamples=20)
    values = bootstrap.squared_correlation(x, y[:, None])
    assert values[0] == pytest.approx(reference(x, y, np.arange(40)), rel=1e-9)
    counts = np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 20)
    for number, drawn in enumerate(counts):
        rows = np.repeat(np.arange(40), drawn[pieces])
        assert values[number + 1] == pytest.approx(reference(x, y, rows), rel=1e-9)


def test_r2_is_1_for_a_linear_map_and_0_for_a_constant_prediction_and_nan_for_a_constant_original():
    x, _ = make_pair()
    bootstrap = Bootstrap(np.arange(40))
    np.testing.assert_allclose(bootstrap.squared_correlation(x, 3 - 2 * x[:, None]), 1, rtol=1e-9)
    np.testing.assert_array_equal(bootstrap.squared_correlation(x, np.full_like(x, 5.0)[:, None]), 0)
    assert np.isnan(bootstrap.squared_correlation(np.full_like(x, 5.0), x[:, None])).all()


def test_strata_remove_what_they_explain():
    """Two kinds of window with two cells. x and y are independent within each kind and cell, and share its mean."""
    rng = np.random.default_rng(0)
    kind = np.arange(400) % 2
    differs = 5.0 * (kind[:, None] | np.arange(2))[..., None]
    x, y = (differs + rng.normal(size=(400, 2, 1)) for _ in range(2))
    bootstrap = Bootstrap(np.arange(400))
    assert bootstrap.squared_correlation(x, y[:, None])[0] > 0.5
    within = bootstrap.squared_correlation(x, y[:, None], kind)[0]
    centred = [v - np.stack([v[kind == 0].mean(0), v[kind == 1].mean(0)])[kind] for v in (x, y)]
    assert within == pytest.approx(np.corrcoef(*(v.ravel() for v in centred))[0, 1] ** 2, rel=1e-9)
    assert within < 10 / 800  # the square of a correlation of independent numbers is about 1 / n


@pytest.mark.parametrize("stratified", [False, True])
def test_r2_does_not_depend_on_the_number_of_draws(stratified):
    """x = signal + rest, a draw = signal + noise: R2 of the expectation is var(signal) / var(x), whatever the noise.

    Without the correction it would be var(signal) / (var(signal) + var(noise) / draws) times that.
    """
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 1, (4000, 2, 1))
    x = signal + rng.normal(0, 0.7, signal.shape)
    draws = signal[:, None] + rng.normal(0, 1.5, (4000, 8, 2, 1))
    draws[rng.random(draws.shape) < 0.1] = np.nan  # some draws leave it undefined
    kind = np.arange(4000) // 10 if stratified else None
    bootstrap = Bootstrap(np.arange(4000), num_resamples=50)
    for number in (2, 4, 8):
        found = estimate(bootstrap.squared_correlation(x, draws[:, :number], kind))
        assert found.value == pytest.approx(1 / 1.49, abs=4 * found.se) and found.se < 0.03
        there = np.isfinite(draws[:, :number]).all(1)
        mean = draws[:, :number].mean(1)
        assert np.corrcoef(x[there], mean[there])[0, 1] ** 2 < 1 / 1.49 - 0.1


def test_r2_of_noise_is_near_0():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(200, 1, 5)), rng.normal(size=(200, 8, 1, 5))
    assert abs(Bootstrap(np.arange(200)).squared_correlation(x, noise)[0]) < 5 / 200  # a fifth of the noise divides


def test_the_error_of_a_mean_is_the_deviation_over_the_root_of_the_number():
    values = np.random.default_rng(0).normal(3, 2, 200)
    found = estimate(Bootstrap(np.arange(200), num_resamples=2000).mean(values))
    assert found.value == pytest.approx(values.mean())
    # The relative error of a standard deviation from 2000 resamples is 1 / sqrt(2 x 2000).
    assert found.se == pytest.approx(values.std() / np.sqrt(200), rel=5 / np.sqrt(4000))


def test_windows_of_a_family_are_drawn_together():
    """With every window 9 times in its family, the resamples are those of the families alone."""
    values = np.random.default_rng(0).normal(3, 2, 50)
    once = Bootstrap(np.arange(50)).mean(values)
    often = Bootstrap(np.repeat(np.arange(50), 9)).mean(np.repeat(values, 9))
    np.testing.assert_allclose(once, often)


def test_one_family_has_no_standard_error():
    found = estimate(Bootstrap(np.zeros(9)).mean(np.arange(9.0)))
    assert found.value == 4 and np.isnan(found.se)


def test_columns_that_do_not_vary_within_strata_do_not_count():
    x, y = make_pair()
    bootstrap, strata = Bootstrap(np.arange(40)), np.arange(40)
    assert np.isnan(bootstrap.squared_correlation(x, y[:, None], strata)).all()
    strata = np.arange(40) // 7
    x[:, :, 1:] = (
        60.1 + 0.7 * strata[:, None, None]
    )  # all but the first column; means of seven equal numbers are rounded
    alone = bootstrap.squared_correlation(x[..., :1], y[:, None, :, :1], strata)
    np.testing.assert_allclose(bootstrap.squared_correlation(x, y[:, None], strata), alone)


def test_the_error_of_a_difference_leaves_out_what_both_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 100, 100)
    bootstrap = Bootstrap(np.arange(100))
    difference = estimate(bootstrap.mean(shared + 1) - bootstrap.mean(shared))
    assert (difference.value, difference.se) == pytest.approx((1, 0), abs=1e-9)


def test_a_ratio_to_nothing_is_0():
    assert (Bootstrap(np.arange(9)).ratio(np.ones(9), np.zeros(9)) == 0).all()
