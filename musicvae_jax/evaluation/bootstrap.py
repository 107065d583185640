"""Figures over windows, with standard errors from resampling the music (bootstrap, Efron 1979)."""

import math

import numpy as np

from musicvae_jax.figures import Estimate

_NUM_RESAMPLES = 500
_ROUNDING = 1e-9  # of a distance
_ZERO = 1e-18  # a product of two variances, in units of the largest distance


class Bootstrap:
    """One sample of windows, and many samples drawn from it with replacement, family by family.

    A figure is float64[resample]: first that of the sample itself, then those of the others. The standard error of a
    difference of two figures is that of their difference on each resample. Windows of one family are alike, so they are
    drawn together.
    """

    def __init__(self, families: np.ndarray, seed: int = 0, num_resamples: int = _NUM_RESAMPLES):
        """Draws the samples.

        Args:
            families: [window], labels of windows that are drawn together: pieces, or `data.windows.Families`.
            seed: of the draws.
            num_resamples: number of samples.
        """
        _, family = np.unique(families, return_inverse=True)
        num = family.max() + 1
        num_resamples = num_resamples if num > 1 else 0  # one family has no other samples
        counts = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), num_resamples)
        self._weights = np.concatenate([np.ones((1, len(family))), counts[:, family]])  # [resample, window]

    def ratio(self, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """The quotient of two sums over windows, float64[resample]; 0 where the divisor is 0.

        Args:
            top: float[window].
            bottom: float[window], not negative.
        """
        bottoms = self._weights @ bottom
        return np.divide(self._weights @ top, bottoms, out=np.zeros(len(bottoms)), where=bottoms > 0)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over windows: float[window] to float64[resample]."""
        return self.ratio(values, np.ones(len(values)))

    def squared_correlation(self, x: np.ndarray, y: np.ndarray, strata: np.ndarray | None = None) -> np.ndarray:
        """Squared Pearson correlation of x with the expectation m of y, of which there are a few draws.

        It is cov(x, m)^2 / (var(x) var(m)) over all cells of all windows, the mean over the columns of x that vary.
        Both cov(x, m)^2 and var(m) are means of products of two different draws: E[cov(x, y_i) cov(x, y_j)] and
        E[cov(y_i, y_j)] for i != j have no part of the noise of a draw, so the result does not depend on how many there
        are. var(m) is at least a fifth of the variance of the mean draw, so that noise alone has about 0. Of one draw,
        it is that draw's squared correlation.

        A cell counts if x is finite and at least two draws are (one, of one draw). A column that varies in x but not
        in y has correlation 0.

        Args:
            x: float[window, cell, column].
            y: float[window, draw, cell, column].
            strata: int[window]; if given, values are distances from the mean of the same cell over windows of the
                stratum.

        Returns:
            float64[resample], at most 1; NaN if no column of x varies (with strata: within them).
        """
        varies = _varies(x)
        if not varies.any():
            return np.full(len(self._weights), np.nan)
        x, y = x[..., varies].astype(np.float64), np.moveaxis(y[..., varies], 1, 0).astype(np.float64)
        there = np.isfinite(x) & np.isfinite(y)
        counted = there.sum(0) >= min(len(y), 2)
        there &= counted
        groups = np.zeros(x.shape[:2], int)
        if strata is not None:
            _, strata = np.unique(strata, return_inverse=True)
            groups = strata[:, None] * x.shape[1] + np.arange(x.shape[1])
        x, y = _centre(x, counted, groups), np.stack([distances(*pair, groups) for pair in zip(y, there, strict=True)])
        y = y / np.maximum(np.abs(y).max((0, 1, 2)), _ROUNDING)
        draws = np.maximum(there.sum(0), 1)
        mean, squares = y.sum(0) / draws, (y**2).sum(0) / draws
        covariances = np.stack([self._covariance(x, *pair) for pair in zip(y, there, strict=True)])
        squared = _of_different(covariances.mean(0), (covariances**2).mean(0), len(y))
        of_mean = self._covariance(mean, mean, counted)
        shared = self._average(_of_different(mean, squares, draws), counted) - self._average(mean, counted) ** 2
        spread = self._covariance(x, x, counted) * np.maximum(shared, of_mean / 5)
        explained = np.divide(squared, spread, out=np.zeros_like(spread), where=spread > _ZERO).clip(max=1)
        # The largest distance of a column is 1, unless all are rounding.
        within = (x**2).sum((0, 1)) > 0.5
        return explained[:, within].mean(1) if within.any() else np.full(len(explained), np.nan)

    def _average(self, values: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """The mean over the counted cells: float[window, cell, column] to float64[resample, column]."""
        numbers = self._weights @ counted.sum(1).astype(np.float64)
        return (self._weights @ np.where(counted, values, 0).sum(1)) / np.maximum(numbers, 1)

    def _covariance(self, x: np.ndarray, y: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """The covariance over the counted cells: float[window, cell, column] each to float64[resample, column]."""
        return self._average(x * y, counted) - self._average(x, counted) * self._average(y, counted)


def estimate(values: np.ndarray) -> Estimate:
    """A figure of `Bootstrap`, float64[resample], with its standard error; NaN where all windows are of one family."""
    return Estimate(float(values[0]), float(values[1:].std(ddof=1)) if len(values) > 2 else math.nan)


def _of_different(mean: np.ndarray, square: np.ndarray, number: np.ndarray | int) -> np.ndarray:
    """The mean of v_i v_j over i != j, from the mean of v and of its square over so many i; of one, its square."""
    return mean**2 - np.where(np.asarray(number) > 1, square - mean**2, 0) / np.maximum(np.asarray(number) - 1, 1)


def _varies(x: np.ndarray) -> np.ndarray:
    """The columns with at least two different values: [window, cell, column] to bool[column]."""
    cells = x.reshape(-1, x.shape[-1])
    finite = np.isfinite(cells)
    low = np.where(finite, cells, np.inf).min(0, initial=np.inf)
    high = np.where(finite, cells, -np.inf).max(0, initial=-np.inf)
    return high > low


def strata_of(metre: np.ndarray) -> np.ndarray:
    """Labels of windows, equal for those of the same metres: int[window, measure, 2] to int[window]."""
    return np.unique(metre.reshape(len(metre), -1), axis=0, return_inverse=True)[1].reshape(-1)


def distances(values: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Distances from the mean of each group's cells: float[..., column], 0 in cells that do not count.

    Args:
        values: float[..., column].
        counts: bool[..., column].
        groups: int[...].
    """
    values = np.where(counts, values, 0.0)
    num = groups.max(initial=0) + 1
    totals, numbers = (np.zeros((num, values.shape[-1])) for _ in range(2))
    np.add.at(totals, groups, values)
    np.add.at(numbers, groups, counts)
    return np.where(counts, values - (totals / np.maximum(numbers, 1))[groups], 0.0)


def _centre(values: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """`distances` in units of the column's largest."""
    centred = distances(values, counts, groups)
    return centred / np.maximum(np.abs(centred).max((0, 1)), _ROUNDING)
