"""Figures over windows, with standard errors from resampling the music (bootstrap, Efron 1979)."""

import math

import numpy as np

from musicvae_jax.figures import Estimate

_NUM_RESAMPLES = 500
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
        """Squared Pearson correlation over all cells of all windows, the mean over the columns of x that vary.

        A cell where either is NaN does not count. A column that varies in x but not in y has correlation 0.

        Args:
            x: float[window, cell, column].
            y: float[window, cell, column].
            strata: int[window]; if given, values are distances from the mean of the same cell over windows of the
                stratum.

        Returns:
            float64[resample], NaN if no column of x varies (with strata: within them).
        """
        varies = _varies(x)
        if not varies.any():
            return np.full(len(self._weights), np.nan)
        x, y = x[..., varies].astype(np.float64), y[..., varies].astype(np.float64)
        both = np.isfinite(x) & np.isfinite(y)
        groups = np.zeros(x.shape[:2], int)
        if strata is not None:
            _, strata = np.unique(strata, return_inverse=True)
            groups = strata[:, None] * x.shape[1] + np.arange(x.shape[1])
        x, y = (_centre(values, both, groups) for values in (x, y))
        products = [both.astype(np.float64), x, y, x * x, y * y, x * y]
        # For every product: the sum over the cells of each window, then over the windows of each sample.
        sums = [self._weights @ product.sum(1) for product in products]
        number, x_sum, y_sum, xx, yy, xy = sums
        number = np.maximum(number, 1)
        xx, yy, xy = xx - x_sum**2 / number, yy - y_sum**2 / number, xy - x_sum * y_sum / number
        spread = xx * yy
        explained = np.divide(xy**2, spread, out=np.zeros_like(spread), where=spread > _ZERO)
        within = xx[0] > 0.5  # the largest distance of a column is 1 unless all are rounding
        return explained[:, within].mean(1) if within.any() else np.full(len(explained), np.nan)


def estimate(values: np.ndarray) -> Estimate:
    """A figure of `Bootstrap`, float64[resample], with its standard error; NaN where all windows are of one family."""
    return Estimate(float(values[0]), float(values[1:].std(ddof=1)) if len(values) > 2 else math.nan)


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
    return centred / np.maximum(np.abs(centred).max((0, 1)), 1e-9)
