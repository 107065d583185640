"""What a straight line reads off the codes: attributes of spans by ridge regression from posterior means."""

import numpy as np

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.codec.attributes.cells import measures_per_cell
from musicvae_jax.config import ModelConfig
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.models.spans import mean_over_spans, over_measures
from musicvae_jax.types import LEVELS, Array

_LEVELS_OF = {"window": LEVELS[:1], "phrase": LEVELS[:2], "measure": LEVELS}
_PENALTIES = 10.0 ** np.arange(-4, 5)  # times the number of cells
_NUM_FOLDS = 5


def probe_figures(
    means: dict[str, np.ndarray],
    attributes: dict[str, np.ndarray],
    present: np.ndarray,
    pieces: np.ndarray,
    config: ModelConfig,
    seed: int = 0,
) -> dict[str, float]:
    """How much of the attributes' variance the codes explain in a straight line, on pieces that were not fitted.

    ``probe_r2_<level>_<span>``: from the means of the levels down to that one, concatenated, the mean over attributes;
    windows have the global level, phrases also the local one, measures all. For the lowest level that a span has also
    ``probe_r2_<level>_<span>_<attribute>``, and ``probe_r2_<level>_<span>_shuffled`` from codes of other pieces.

    Args:
        means: level -> float[window, time, dim], posterior means.
        attributes: span -> float[window, time, attribute], as `true_attributes` gives them.
        present: bool[window, measure].
        pieces: [window], which piece each window is of.
        config: the model's.
        seed: of the halves and folds into which pieces are dealt.
    """
    _, piece = np.unique(pieces, return_inverse=True)
    place = np.random.default_rng(seed).permutation(piece.max() + 1)[piece]  # of the piece in a random order
    other = (np.arange(len(piece)) + len(piece) // 2) % len(piece)
    figures: dict[str, float] = {}
    for span in SPANS:
        levels = [level for level in config.widths if level in _LEVELS_OF[span]]
        codes = [over_cells(means[level], present, config.span(level, present.shape[1]), span) for level in levels]
        for number, level in enumerate(levels):
            x = np.concatenate(codes[: number + 1], -1)
            found = _explained(x, attributes[span], place)
            figures[f"probe_r2_{level}_{span}"] = _mean(found)
            if level == levels[-1]:
                figures |= {
                    f"probe_r2_{level}_{span}_{name}": float(value)
                    for name, value in zip(NAMES, found, strict=True)
                    if np.isfinite(value)
                }
                shuffled = _explained(x[other], attributes[span], place)
                figures[f"probe_r2_{level}_{span}_shuffled"] = _mean(shuffled)
    return figures


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


def _explained(x: np.ndarray, attributes: np.ndarray, place: np.ndarray) -> np.ndarray:
    """R2 of every attribute, each half of the pieces predicted from the other: float64[attribute], NaN if constant.

    It is against the mean of the half that was fitted, which is what one would guess without a code (Campbell &
    Thompson 2008): a code that is given no weight then has an R2 of 0, however few the pieces.

    Args:
        x: float[window, cell, dim].
        attributes: float[window, cell, attribute]; cells with NaN are left out.
        place: int[window], equal for windows of a piece; even ones are one half.
    """
    result = np.full(attributes.shape[-1], np.nan)
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    y = attributes.reshape(-1, attributes.shape[-1])
    place = np.repeat(place, attributes.shape[1])
    # Attributes that are known of the same cells are fitted together.
    masks, kind = np.unique(np.isfinite(y), axis=1, return_inverse=True)
    for number, known in enumerate(masks.T):
        columns = np.flatnonzero(kind.reshape(-1) == number)
        halves = [known & (place % 2 == half) for half in range(2)]
        if any(half.sum() < _NUM_FOLDS for half in halves):
            continue
        columns = columns[[min(np.ptp(y[half, column]) for half in halves) > 0 for column in columns]]
        errors, total = 0.0, 0.0
        for fitted, held_out in (halves, halves[::-1]):
            here, there = y[fitted][:, columns], y[held_out][:, columns]
            predicted = ridge(x[fitted], here, x[held_out], place[fitted] // 2 % _NUM_FOLDS)
            errors = errors + ((predicted - there) ** 2).sum(0)
            total = total + ((here.mean(0) - there) ** 2).sum(0)
        result[columns] = 1 - errors / total
    return result


def _mean(explained: np.ndarray) -> float:
    """Over the attributes that vary; 0 where none does."""
    known = explained[np.isfinite(explained)]
    return float(known.mean()) if len(known) else 0.0


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
