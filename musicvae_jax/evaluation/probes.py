"""Linear probes: attributes of spans by ridge regression from posterior means."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musicvae_jax.config import Config
from musicvae_jax.evaluation.bootstrap import distances, strata_of
from musicvae_jax.evaluation.figures import ProbeFigures
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.models.spans import mean_over_spans, to_measures
from musicvae_jax.types import Array, span_name

_PENALTIES = 10.0 ** np.arange(-4, 5)  # times the number of cells
_NUM_FOLDS = 5
_ZERO = 1e-12  # a sum of squares that is rounding


class ProbeData(NamedTuple):
    """What is known of windows, row by row."""

    means: dict[str, Array]  # level -> float[window, time, dim], posterior means
    attributes: dict[str, Array]  # span -> float[window, time, attribute], as `true_attributes` gives them
    metre: Array  # int32[window, measure, 2], (0, 0) in measures that a window lacks
    families: Array  # [window], see `data.families`
    draws: dict[str, Array] | None = None  # level -> float[window, time, dim], one draw of each posterior
    own: dict[str, Array] | None = None  # span -> float64[window, time, attribute], as of `own_attributes`
    style: Array | None = None  # float[window], the number of the style, NaN if unknown; None if nobody asks


def probe_figures(
    fitted: ProbeData, held_out: ProbeData, config: Config, seed: int = 0
) -> dict[str, dict[str, ProbeFigures]]:
    """How much of the variance of attributes a line explains, fitted to other pieces: span -> level -> figures.

    The line of a level starts from the means of this level and of those above it. A span has the levels whose own span
    is at least as long: windows the global level, phrases also the local one, measures all.

    Args:
        fitted: the line is fitted to these windows.
        held_out: windows of other pieces.
        config: of the model.
        seed: of the folds into which the fitted families are dealt.
    """
    _, family = np.unique(fitted.families, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(family.max() + 1)[family] % _NUM_FOLDS
    strata = strata_of(held_out.metre)
    figures: dict[str, dict[str, ProbeFigures]] = {}
    for span in config.spans:
        name = span_name(span)
        levels = [level for level, own in config.levels.on.items() if not own.span or (span and own.span >= span)]
        y, new_y = (data.attributes[name] for data in (fitted, held_out))
        figures[name] = {}
        for number, level in enumerate(levels):
            x, new_x = (_features(data, levels[: number + 1], span, config) for data in (fitted, held_out))
            found = _explained(x, y, folds, new_x, new_y, strata)
            r2 = _mean(found.at_all)
            if level != levels[-1]:
                figures[name][level] = ProbeFigures(r2)
                continue
            x, new_x = _of_another(x, fitted.families), _of_another(new_x, held_out.families)
            shuffled = _mean(_explained(x, y, folds, new_x, new_y, strata).at_all)
            known = zip(NAMES, found.at_all.tolist(), strict=True)
            attributes = {attribute: value for attribute, value in known if math.isfinite(value)}
            figures[name][level] = ProbeFigures(r2, _mean(found.within_metre), shuffled, attributes)
    return figures


def _features(data: ProbeData, levels: list[str], span: int, config: Config) -> np.ndarray:
    """The means of levels, side by side: float[window, cell, dim]."""
    present = data.metre[..., 0] > 0
    measures = present.shape[1]
    parts = [over_cells(data.means[name], present, config.levels[name].span_in(measures), span) for name in levels]
    return np.concatenate(parts, -1)


def _of_another(x: np.ndarray, families: np.ndarray) -> np.ndarray:
    """For every window the row that is half of all rows further on, sorted by family: that of another family."""
    order = np.argsort(families, kind="stable")
    result = np.empty_like(x)
    result[order] = x[np.roll(order, len(order) // 2)]
    return result


def over_cells(means: Array, present: np.ndarray, level_span: int, span: int) -> np.ndarray:
    """The latents of a level for the cells of a span, the mean over measures: float[window, cell, dim].

    Args:
        means: float[window, time, dim].
        present: bool[window, measure].
        level_span: measures that one latent spans.
        span: measures of a cell; 0 for the window.
    """
    measures = present.shape[1]
    return np.asarray(mean_over_spans(to_measures(means, level_span, measures), present, span or measures))


class _Explained(NamedTuple):
    """R2 of every attribute: float64[attribute], NaN if constant."""

    at_all: np.ndarray
    within_metre: np.ndarray


def _explained(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, new_x: np.ndarray, new_y: np.ndarray, strata: np.ndarray
) -> _Explained:
    """R2 of every attribute, predicted by a line that was fitted to other pieces.

    It is relative to the mean of the fitted pieces, the guess without latents (Campbell & Thompson 2008), so latents
    without weight have R2 = 0.

    Args:
        x: float[window, cell, dim].
        y: float[window, cell, attribute]; cells with NaN are left out.
        folds: int[window].
        new_x: as x, of the windows whose attributes are predicted.
        new_y: as y, of the same.
        strata: int[window], of the same: equal for windows of the same metres.
    """
    result = _Explained(*np.full((2, y.shape[-1]), np.nan))
    cells = y.shape[1]
    folds, places = np.repeat(folds, cells), (strata[:, None] * cells + np.arange(cells)).reshape(-1)
    x, new_x = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (x, new_x))
    y, new_y = (values.reshape(-1, values.shape[-1]) for values in (y, new_y))
    # Attributes that are known for the same cells are fitted together.
    masks, kind = np.unique(np.isfinite(np.concatenate([y, new_y])), axis=1, return_inverse=True)
    for number, known in enumerate(masks.T):
        here, there = np.flatnonzero(known[: len(y)]), np.flatnonzero(known[len(y) :])
        if min(len(here), len(there)) < _NUM_FOLDS:
            continue
        columns = np.flatnonzero(kind.reshape(-1) == number)
        columns = columns[(np.ptp(y[here][:, columns], 0) > 0) & (np.ptp(new_y[there][:, columns], 0) > 0)]
        if not len(columns):
            continue
        known_y, true_y = y[here][:, columns], new_y[there][:, columns]
        predicted = ridge(x[here], known_y, new_x[there], folds[here])
        within = partial(distances, counts=np.ones(true_y.shape, bool), groups=places[there])
        for found, error, guess in (
            (result.at_all, predicted - true_y, known_y.mean(0) - true_y),
            (result.within_metre, within(predicted - true_y), within(true_y)),
        ):
            spread = (guess**2).sum(0)
            found[columns] = np.where(spread > _ZERO, 1 - (error**2).sum(0) / np.maximum(spread, _ZERO), np.nan)
    return result


def _mean(explained: np.ndarray) -> float:
    """Over the attributes that vary; NaN where none does."""
    known = explained[np.isfinite(explained)]
    return float(known.mean()) if len(known) else math.nan


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Predictions float64[new, target] by ridge regression on standardised columns (Hoerl & Kennard 1970).

    Each target has the penalty of a grid with the smallest squared error over folds, so noise gets no weight.

    Args:
        x: float64[cell, dim].
        y: float64[cell, target].
        new: float64[new, dim].
        folds: int[cell]; cells of one family are in one fold, because they predict each other.
    """
    errors = np.zeros((len(_PENALTIES), y.shape[1]))
    if len(np.unique(folds)) > 1:
        for fitted, out in PredefinedSplit(folds).split():
            for number, penalty in enumerate(_PENALTIES):
                predicted = _predict(x[fitted], y[fitted], x[out], len(fitted) * penalty)
                errors[number] += ((predicted - y[out]) ** 2).sum(0)
    return _predict(x, y, new, len(x) * _PENALTIES[errors.argmin(0)])


def _predict(x: np.ndarray, y: np.ndarray, new: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
    line = make_pipeline(StandardScaler(), Ridge(penalty, solver="cholesky")).fit(x, y)
    return line.predict(new).reshape(len(new), -1)  # scikit-learn drops the axis of a single target
