"""The figures against numpy on one sample, and standard errors where they are known."""

import numpy as np
import pytest

from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate


def make_pair(seed=0, windows=40, cells=3, columns=4):
    """x, and y that goes with it in different degrees; both have holes, the third column of x is constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(60, 5, (windows, cells, columns))
    y = 0.1 * x + rng.normal(0, [0.0, 0.3, 1.0, 3.0], x.shape)
    x[..., 2] = 7.0
    x[rng.random(x.shape) < 0.1] = np.nan
    y[rng.random(x.shape) < 0.1] = np.nan
    return x, y


def reference(x, y, rows):
    """The mean over columns that vary of numpy's squared correlation, on rows that may be there several times."""
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
    values = bootstrap.squared_correlation(x, y)
    assert values[0] == pytest.approx(reference(x, y, np.arange(40)), rel=1e-9)
    counts = np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 20)
    for number, drawn in enumerate(counts):
        rows = np.repeat(np.arange(40), drawn[pieces])
        assert values[number + 1] == pytest.approx(reference(x, y, rows), rel=1e-9)


def test_what_is_the_same_up_to_a_line_correlates_wholly_and_what_is_constant_not_at_all():
    x, _ = make_pair()
    bootstrap = Bootstrap(np.arange(40))
    np.testing.assert_allclose(bootstrap.squared_correlation(x, 3 - 2 * x), 1, rtol=1e-9)
    np.testing.assert_array_equal(bootstrap.squared_correlation(x, np.full_like(x, 5.0)), 0)
    assert np.isnan(bootstrap.squared_correlation(np.full_like(x, 5.0), x)).all()


def test_strata_take_out_what_they_explain():
    """Two kinds of window of two cells, of which three differ in both: independent within each kind and cell."""
    rng = np.random.default_rng(0)
    kind = np.arange(400) % 2
    differs = 5.0 * (kind[:, None] | np.arange(2))[..., None]
    x, y = (differs + rng.normal(size=(400, 2, 1)) for _ in range(2))
    bootstrap = Bootstrap(np.arange(400))
    assert bootstrap.squared_correlation(x, y)[0] > 0.5
    within = bootstrap.squared_correlation(x, y, kind)[0]
    centred = [v - np.stack([v[kind == 0].mean(0), v[kind == 1].mean(0)])[kind] for v in (x, y)]
    assert within == pytest.approx(np.corrcoef(*(v.ravel() for v in centred))[0, 1] ** 2, rel=1e-9)
    assert within < 10 / 800  # the square of a correlation of independent numbers is about 1 / n


def test_the_error_of_a_mean_is_the_spread_over_the_root_of_the_number():
    values = np.random.default_rng(0).normal(3, 2, 200)
    found = estimate("x", Bootstrap(np.arange(200), num_resamples=2000).mean(values))
    assert found["x"] == pytest.approx(values.mean())
    # The spread of 2000 resamples is known to within 1 / sqrt(2 x 2000) of itself.
    assert found["x_se"] == pytest.approx(values.std() / np.sqrt(200), rel=5 / np.sqrt(4000))


def test_windows_of_a_piece_are_one_draw():
    """Every piece 9 times: as much is known of the mean as from the pieces alone."""
    values = np.random.default_rng(0).normal(3, 2, 50)
    once = Bootstrap(np.arange(50)).mean(values)
    often = Bootstrap(np.repeat(np.arange(50), 9)).mean(np.repeat(values, 9))
    np.testing.assert_allclose(once, often)


def test_of_one_family_there_is_no_error():
    """Nothing else can be drawn: an error of 0 would make every figure certain."""
    found = estimate("x", Bootstrap(np.zeros(9)).mean(np.arange(9.0)))
    assert found["x"] == 4 and np.isnan(found["x_se"])


def test_what_does_not_vary_within_strata_is_not_measured():
    """Not even as 0, which would say that nothing came back."""
    x, y = make_pair()
    bootstrap, strata = Bootstrap(np.arange(40)), np.arange(40)
    assert np.isnan(bootstrap.squared_correlation(x, y, strata)).all()
    strata = np.arange(40) // 7
    x[:, :, 1:] = 60.1 + 0.7 * strata[:, None, None]  # all but the first column; the means of sevens are rounded
    alone = bootstrap.squared_correlation(x[..., :1], y[..., :1], strata)
    np.testing.assert_allclose(bootstrap.squared_correlation(x, y, strata), alone)


def test_a_difference_has_no_error_of_what_both_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 100, 100)
    bootstrap = Bootstrap(np.arange(100))
    difference = bootstrap.mean(shared + 1) - bootstrap.mean(shared)
    assert estimate("x", difference) == pytest.approx({"x": 1, "x_se": 0}, abs=1e-9)
    nothing = bootstrap.ratio(shared, np.zeros(100))
    assert (nothing == 0).all()
