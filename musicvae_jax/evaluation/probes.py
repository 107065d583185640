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
        seed: of the halves into which pieces are dealt.
    """
    _, piece = np.unique(pieces, return_inverse=True)
    half = np.random.default_rng(seed).permutation(piece.max() + 1) % 2
    second = half[piece].astype(bool)
    other = (np.arange(len(piece)) + len(piece) // 2) % len(piece)
    figures: dict[str, float] = {}
    for span in SPANS:
        levels = [level for level in config.widths if level in _LEVELS_OF[span]]
        codes = [over_cells(means[level], present, config.span(level, present.shape[1]), span) for level in levels]
        for number, level in enumerate(levels):
            x = np.concatenate(codes[: number + 1], -1)
            found = _explained(x, attributes[span], second)
            figures[f"probe_r2_{level}_{span}"] = float(np.nanmean(found))
            if level == levels[-1]:
                figures |= {
                    f"probe_r2_{level}_{span}_{name}": float(value)
                    for name, value in zip(NAMES, found, strict=True)
                    if np.isfinite(value)
                }
                shuffled = _explained(x[other], attributes[span], second)
                figures[f"probe_r2_{level}_{span}_shuffled"] = float(np.nanmean(shuffled))
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


def _explained(x: np.ndarray, attributes: np.ndarray, second: np.ndarray) -> np.ndarray:
    """R2 of every attribute, each half of the windows predicted from the other: float64[attribute], NaN if constant.

    Args:
        x: float[window, cell, dim].
        attributes: float[window, cell, attribute]; cells with NaN are left out.
        second: bool[window].
    """
    result = np.full(attributes.shape[-1], np.nan)
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    cells = np.repeat(second, attributes.shape[1])
    for column in range(attributes.shape[-1]):
        y = attributes[..., column].reshape(-1)
        known = np.isfinite(y)
        halves = [known & cells, known & ~cells]
        if min(half.sum() for half in halves) < 3 or any(np.ptp(y[half]) == 0 for half in halves):
            continue
        errors, total = 0.0, 0.0
        for fitted, held_out in (halves, halves[::-1]):
            predicted = ridge(x[fitted], y[fitted], x[held_out])
            errors += ((predicted - y[held_out]) ** 2).sum()
            total += ((y[held_out] - y[held_out].mean()) ** 2).sum()
        result[column] = 1 - errors / total
    return result


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Predictions float64[new] by ridge regression on standardised columns (Hoerl & Kennard 1970).

    The penalty is the one of a grid with the smallest leave-one-out error, known in closed form (Allen 1974): noise
    that explains nothing is then given no weight.

    Args:
        x: float64[cell, dim].
        y: float64[cell].
        new: float64[new, dim].
    """
    centre, spread = x.mean(0), np.maximum(x.std(0), 1e-9)
    x, new = (x - centre) / spread, (new - centre) / spread
    values, vectors = np.linalg.eigh(x.T @ x)
    rotated = x @ vectors
    projected = rotated.T @ (y - y.mean())
    best, coefficients = np.inf, np.zeros(x.shape[1])
    for penalty in len(x) * _PENALTIES:
        shrunk = 1 / (np.maximum(values, 0) + penalty)
        leverage = 1 / len(x) + (rotated**2) @ shrunk
        left_out = (y - y.mean() - rotated @ (shrunk * projected)) / (1 - leverage)
        if (left_out**2).sum() < best:
            best, coefficients = (left_out**2).sum(), vectors @ (shrunk * projected)
    return y.mean() + new @ coefficients
