"""How well edits and paths do what they are asked, on held-out music."""

import math
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from musicvae_jax.analysis import attribution
from musicvae_jax.analysis.analyzer import LatentAnalyzer
from musicvae_jax.analysis.codes import Code, make_code
from musicvae_jax.analysis.corpus import scores_of_split
from musicvae_jax.analysis.directions import best_direction
from musicvae_jax.analysis.editing import unchanged
from musicvae_jax.analysis.paths import interpolate_codes
from musicvae_jax.config.checks import check
from musicvae_jax.evaluation.trained import BAR_SECONDS
from musicvae_jax.types import Batch

# Asked changes, in standard deviations of the attribute; a tune after the other takes the next.
_ASKED = (-1.5, 1.0, -0.5, 1.5, -1.0, 0.5)


class EditFigures(NamedTuple):
    """Edits of held-out pieces."""

    attribute: str
    level: str
    unit: str
    pieces: int
    spans: int  # latents that were moved
    r2: float  # of realised against asked changes: 1 - squared errors / squared deviations of what was asked
    error: float  # mean absolute, in the unit
    asked: float  # mean absolute change that was asked, in the unit
    unchanged: float  # share of the other measures that sound as before


class PathFigures(NamedTuple):
    """Paths between held-out windows."""

    pairs: int
    smooth: float  # share of paths whose largest step is below twice the mean step
    smoothness: float  # median of largest / mean step
    ends: float  # mean onset F1 of the ends against their pieces


class AttributionFigures(NamedTuple):
    """Attribution of held-out windows."""

    correlation: float  # rank correlation of occlusion and gradients
    total: float  # nats that all latents are worth, a window
    shuffled: float  # the same with shuffled weights


def edit_figures(
    analyzer: LatentAnalyzer, attribute: str, level: str, *, split: str = "validation", num: int = 10, seed: int = 0
) -> EditFigures:
    """Changes an attribute of four measures in the middle of held-out pieces, and measures what comes of it.

    Args:
        analyzer: of the model.
        attribute: such as ``"note_density"``.
        level: whose latents move.
        split: of the pieces.
        num: pieces, at even distances over those of eight measures or more.
        seed: of the search.
    """
    direction = best_direction(analyzer.find_directions(attribute), level)
    scores = [score for score in scores_of_split(analyzer.vae, split) if score.num_measures >= 8]
    check(len(scores) >= num >= 1, "num", num, f"1 to {len(scores)}, the pieces of {split} with eight measures or more")
    asked, realised, same = [], [], []
    for number in tqdm(range(num), desc=f"edit {attribute}", delay=BAR_SECONDS, dynamic_ncols=True):
        score, change = scores[number * len(scores) // num], _ASKED[number % len(_ASKED)] * direction.spread
        first = score.num_measures // 2 // 4 * 4
        measures = range(first, min(first + 4, score.num_measures))
        edit = analyzer.edit(score, {attribute: change}, level, measures, seed=seed)
        asked.append(edit.asked[attribute])
        realised.append(edit.realised[attribute])
        same.append(unchanged(score, edit.score, edit.measures))
    wanted, found = np.concatenate(asked), np.concatenate(realised)
    known = np.isfinite(wanted) & np.isfinite(found)
    wanted, found = wanted[known], found[known]
    errors, spread = found - wanted, ((wanted - wanted.mean()) ** 2).sum()
    r2 = 1 - float((errors**2).sum() / spread) if spread > 0 else math.nan
    error, size = float(np.abs(errors).mean()), float(np.abs(wanted).mean())
    return EditFigures(attribute, level, direction.unit, num, len(wanted), r2, error, size, float(np.mean(same)))


def path_figures(
    analyzer: LatentAnalyzer, *, split: str = "validation", num: int = 50, steps: int = 11, even: bool = False
) -> PathFigures:
    """Spherical paths between held-out windows of equal metres.

    Args:
        analyzer: of the model.
        split: of the windows.
        num: pairs at most; windows at even distances are paired with the next one of their metres.
        steps: points of a path.
        even: see `interpolate_codes`.
    """
    code = analyzer.code(analyzer.windows(split, 4 * num))
    pairs, waiting = [], dict[bytes, int]()
    for row, metre in enumerate(code.windows.metre):
        other = waiting.pop(metre.tobytes(), None)
        if other is None:
            waiting[metre.tobytes()] = row
        else:
            pairs.append((other, row))
    check(bool(pairs), "pairs", 0, "1 or more windows of equal metres")
    found = [
        interpolate_codes(analyzer.vae, _row(code, first), _row(code, second), steps, even=even)
        for first, second in tqdm(pairs[:num], desc="paths", delay=BAR_SECONDS, dynamic_ncols=True)
    ]
    ratios = np.array([path.smoothness for path in found if math.isfinite(path.smoothness)])
    return PathFigures(
        len(found),
        float((ratios < 2).mean()),
        float(np.median(ratios)),
        float(np.mean([path.onset_f1 for path in found])),
    )


def attribution_figures(analyzer: LatentAnalyzer, *, split: str = "validation", num: int = 16) -> AttributionFigures:
    """Attributes the measures of held-out windows to latents, and again with shuffled weights."""
    windows, models = analyzer.windows(split, num), (analyzer.vae, attribution.shuffled(analyzer.vae))
    found, other = (attribution.attribute(vae, make_code(vae, windows)) for vae in models)
    return AttributionFigures(found.correlation, found.total, other.total)


def time_traversal(analyzer: LatentAnalyzer, *, split: str = "validation", num: int = 64) -> tuple[float, float]:
    """Seconds of a traversal of seven steps of so many windows: the first time, with compilation, and the second."""
    windows, dim = analyzer.windows(split, num), analyzer.vae.dim_names[0]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        analyzer.traverse_dimension(windows, dim)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def _row(code: Code, row: int) -> Code:
    windows = Batch(*(leaf[row : row + 1] for leaf in code.windows[:4]))
    parts = ({level: z[row : row + 1] for level, z in latents.items()} for latents in (code.means, code.e))
    return Code(windows, *parts)
