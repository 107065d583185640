"""What a straight line reads off the codes: attributes of spans by ridge regression from posterior means."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.codec.attributes.cells import measures_per_cell
from musicvae_jax.config import ModelConfig
from musicvae_jax.evaluation.bootstrap import distances, strata_of
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.models.spans import mean_over_spans, over_measures
from musicvae_jax.types import LEVELS, Array

_LEVELS_OF = {"window": LEVELS[:1], "phrase": LEVELS[:2], "measure": LEVELS}
_PENALTIES = 10.0 ** np.arange(-4, 5)  # times the number of cells
_NUM_FOLDS = 5
_ZERO = 1e-12  # a sum of squares, against rounding where nothing varies


class Codes(NamedTuple):
    """What is known of windows, row by row."""

    means: dict[str, Array]  # level -> float[window, time, dim], posterior means
    attributes: dict[str, Array]  # span -> float[window, time, attribute], as `true_attributes` gives them
    metre: Array  # int32[window, measure, 2], (0, 0) in measures that are not there
    families: Array  # [window], windows of shared music are of one family, see `data.families`


def probe_figures(fitted: Codes, held_out: Codes, config: ModelConfig, seed: int = 0) -> dict[str, float]:
    """How much of the attributes' variance the codes explain in a straight line, on pieces that were not fitted.

    ``probe_r2_<level>_<span>``: from the means of the levels down to that one, concatenated, the mean over attributes;
    windows have the global level, phrases also the local one, measures all. For the lowest level that a span has also
    ``probe_r2_<level>_<span>_<attribute>``; ``..._within_metre``, of prediction and truth as distances from their means
    at the same place of windows of the same metres: what the code says beyond its metre; and ``..._shuffled``, from
    codes of other pieces.

    Args:
        fitted: the line is drawn through them.
        held_out: of other pieces.
        config: the model's.
        seed: of the folds into which the fitted families are dealt.
    """
    _, family = np.unique(fitted.families, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(family.max() + 1)[family] % _NUM_FOLDS
    strata = strata_of(held_out.metre)
    figures: dict[str, float] = {}
    for span in SPANS:
        levels = [level for level in config.widths if level in _LEVELS_OF[span]]
        y, new_y = (codes.attributes[span] for codes in (fitted, held_out))
        for number, level in enumerate(levels):
            x, new_x = (_features(codes, levels[: number + 1], span, config) for codes in (fitted, held_out))
            found = _explained(x, y, folds, new_x, new_y, strata)
            figures[f"probe_r2_{level}_{span}"] = _mean(found.at_all)
            if level == levels[-1]:
                figures |= {
                    f"probe_r2_{level}_{span}_{name}": float(value)
                    for name, value in zip(NAMES, found.at_all, strict=True)
                    if np.isfinite(value)
                }
                figures[f"probe_r2_{level}_{span}_within_metre"] = _mean(found.within_metre)
                x, new_x = _of_another(x, fitted.families), _of_another(new_x, held_out.families)
                shuffled = _explained(x, y, folds, new_x, new_y, strata)
                figures[f"probe_r2_{level}_{span}_shuffled"] = _mean(shuffled.at_all)
    return figures


def _features(codes: Codes, levels: list[str], span: str, config: ModelConfig) -> np.ndarray:
    """The means of levels, side by side: float[window, cell, dim]."""
    present = codes.metre[..., 0] > 0
    measures = present.shape[1]
    parts = [over_cells(codes.means[level], present, config.span(level, measures), span) for level in levels]
    return np.concatenate(parts, -1)


def _of_another(x: np.ndarray, families: np.ndarray) -> np.ndarray:
    """For every window the row of other music, if no family has half of all: half of them further on, by family."""
    order = np.argsort(families, kind="stable")
    result = np.empty_like(x)
    result[order] = x[np.roll(order, len(order) // 2)]
    return result


def over_cells(means: Array, present: np.ndarray, level_span: int, span: str) -> np.ndarray:
    """Codes of a level as codes of the cells of a span, the mean over its measures: float[window, cell, dim].

    Args:
        means: float[window, time, dim].
        present: bool[window, measure].
        level_span: measures that one latent of the level spans.
        span: one of `SPANS`.
    """
    measures = present.shape[1]
    return np.asarray(
        mean_over_spans(over_measures(means, level_span, measures), present, measures_per_cell(span, measures))
    )


class _Explained(NamedTuple):
    """R2 of every attribute: float64[attribute], NaN if constant."""

    at_all: np.ndarray
    within_metre: np.ndarray


def _explained(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, new_x: np.ndarray, new_y: np.ndarray, strata: np.ndarray
) -> _Explained:
    """R2 of every attribute, predicted by a line that was fitted to other pieces.

    It is against the mean of what was fitted, which is what one would guess without a code (Campbell & Thompson 2008):
    a code that is given no weight then has an R2 of 0, however few the pieces.

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
    # Attributes that are known of the same cells are fitted together.
    masks, kind = np.unique(np.isfinite(np.concatenate([y, new_y])), axis=1, return_inverse=True)
    for number, known in enumerate(masks.T):
        here, there = np.flatnonzero(known[: len(y)]), np.flatnonzero(known[len(y) :])
        if min(len(here), len(there)) < _NUM_FOLDS:
            continue
        columns = np.flatnonzero(kind.reshape(-1) == number)
        columns = columns[(np.ptp(y[here][:, columns], 0) > 0) & (np.ptp(new_y[there][:, columns], 0) > 0)]
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

    The penalty of a target is the one of a grid that predicts each fold best from the others: noise that explains
    nothing is then given no weight. Cells of a piece must be of one fold: they are alike, and would predict each other.

    Args:
        x: float64[cell, dim].
        y: float64[cell, target].
        new: float64[new, dim].
        folds: int[cell].
    """
    errors = np.zeros((len(_PENALTIES), y.shape[1]))
    for fold in np.unique(folds):
        out = folds == fold
        if not out.all():
            errors += ((_predictions(x[~out], y[~out], x[out]) - y[out]) ** 2).sum(1)
    return _predictions(x, y, new)[errors.argmin(0), :, np.arange(y.shape[1])].T


def _predictions(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Those of every penalty: float64[penalty, new, target]."""
    centre, spread = x.mean(0), np.maximum(x.std(0), 1e-9)
    x, new = (x - centre) / spread, (new - centre) / spread
    values, vectors = np.linalg.eigh(x.T @ x)
    projected = vectors.T @ (x.T @ (y - y.mean(0)))
    new = new @ vectors
    penalties = len(x) * _PENALTIES[:, None]
    shrunk = projected / (np.maximum(values, 0) + penalties)[..., None]  # [penalty, dim, target]
    return y.mean(0) + new @ shrunk
