"""Features of windows by which samples are compared with real music, and how far two sets of them overlap."""

import itertools

import numpy as np

from musicvae_jax.codec.attributes.cells import make_cells, measure_ticks
from musicvae_jax.codec.base import Codec, WindowNotes
from musicvae_jax.codec.score import TICKS_PER_QUARTER
from musicvae_jax.evaluation.likeness import NAMES, true_attributes
from musicvae_jax.types import MEASURES_PER_PHRASE, Batch, span_name

_SIXTEENTH = TICKS_PER_QUARTER // 4
_POINTS = 1024  # of the grid on which densities are compared
_NARROWEST = 0.01  # bandwidth of a density, as a share of the range of both sets


def coherence_features(tokens: np.ndarray, metre: np.ndarray, codec: Codec) -> dict[str, np.ndarray]:
    """The features of windows: the attributes of a window, `groove_similarity` and `phrase_similarity`.

    Args:
        tokens: int[window, measure, slot, field].
        metre: int[window, measure, 2].
        codec: of the tokens.

    Returns:
        Name -> float64[window], NaN where a window does not have the feature; without features that no window has.
    """
    allowed = codec.slot_mask(metre)
    batch = Batch(tokens, allowed, metre, np.arange(len(tokens), dtype=np.int32))
    attributes = true_attributes(batch, codec, (0,))[span_name(0)][:, 0]
    notes = codec.notes(tokens, allowed, metre)
    found = dict(zip(NAMES, attributes.T, strict=True))
    found |= {
        "groove_similarity": groove_similarity(notes, metre),
        "phrase_similarity": phrase_similarity(notes, metre),
    }
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def groove_similarity(notes: WindowNotes, metre: np.ndarray) -> np.ndarray:
    """How alike the rhythms of a window's measures are, from 0 to 1 (Wu & Yang 2020).

    The mean, over pairs of measures of one metre, of the share of sixteenths that have an onset in both or in neither.
    A finer grid would bring all music near 1.

    Args:
        notes: of windows.
        metre: int[window, measure, 2], (0, 0) in padding measures.

    Returns:
        float64[window], NaN without two measures of one metre.
    """
    windows, measures, _ = metre.shape
    steps = -(-measure_ticks(metre) // _SIXTEENTH)
    grid = np.zeros((windows, measures, int(steps.max(initial=1)) + 1))
    grid[notes.row, notes.measure, np.minimum(notes.onset // _SIXTEENTH, grid.shape[2] - 1)] = 1
    number = grid.sum(2)
    differ = number[:, :, None] + number[:, None] - 2 * np.einsum("wmg,wng->wmn", grid, grid)
    alike = 1 - differ / np.maximum(steps, 1)[:, :, None]
    return _mean_of_pairs(alike, metre.reshape(windows, measures, 2))


def phrase_similarity(notes: WindowNotes, metre: np.ndarray) -> np.ndarray:
    """How much a window's phrases of four measures repeat each other, from 0 to 1.

    The mean, over pairs of whole phrases of the same metres, of the F1 score of notes of equal place and pitch.

    Args:
        notes: of windows.
        metre: int[window, measure, 2], (0, 0) in padding measures.

    Returns:
        float64[window], NaN without two phrases that have notes.
    """
    windows, measures, _ = metre.shape
    cells = make_cells(notes, metre, MEASURES_PER_PHRASE)
    whole = measures // MEASURES_PER_PHRASE
    per_window = cells.num // max(windows, 1)
    sets = np.split(cells.tick * 128 + notes.pitch, np.searchsorted(cells.cell, np.arange(1, cells.num)))
    alike = np.full((windows, whole, whole), np.nan)
    for window in range(windows):
        for one, other in itertools.combinations(range(whole), 2):
            first, second = (set(sets[window * per_window + phrase].tolist()) for phrase in (one, other))
            if first or second:
                alike[window, one, other] = 2 * len(first & second) / (len(first) + len(second))
    frames = metre[:, : whole * MEASURES_PER_PHRASE].reshape(windows, whole, 2 * MEASURES_PER_PHRASE)
    return _mean_of_pairs(alike, frames)


def overlapping_area(x: np.ndarray, y: np.ndarray) -> float:
    """The area below both densities of a feature, from 0 to 1 (Yang & Lerch 2020).

    The densities are sums of normal kernels, with Scott's bandwidth for each set, on one grid. A constant is a narrow
    peak.

    Args:
        x: float[row]; NaN is left out.
        y: float[row], likewise.

    Returns:
        NaN where one of the two is empty.
    """
    x, y = (np.asarray(values, np.float64)[np.isfinite(values)] for values in (x, y))
    if not len(x) or not len(y):
        return float("nan")
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    if low == high:
        return 1.0
    widths = [max(values.std() * len(values) ** -0.2, _NARROWEST * (high - low)) for values in (x, y)]
    grid = np.linspace(low - 4 * max(widths), high + 4 * max(widths), _POINTS)
    first, second = (
        np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(1)
        for values, width in zip((x, y), widths, strict=True)
    )
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def _mean_of_pairs(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The mean over pairs of parts of the same metres: float[window, part, part], int[window, part, any] to [window].

    Parts with a padding measure, and values that are NaN, do not count.
    """
    present = np.asarray((frames > 0).all(-1))
    alike = np.asarray((frames[:, :, None] == frames[:, None]).all(-1)) & present[:, :, None]
    counts = alike & np.triu(np.ones(values.shape[1:], bool), 1) & np.isfinite(values)
    total, number = np.where(counts, values, 0).sum((1, 2)), counts.sum((1, 2))
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)
