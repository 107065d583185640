"""Scores, and what all of them share: checks of the arrays, rows that count, halves of the rows."""

import dataclasses

import numpy as np

FEWEST_ROWS = 10


@dataclasses.dataclass(frozen=True)
class Score:
    """A figure, what it is the mean of, and how it was estimated."""

    value: float
    parts: np.ndarray  # float64, of every attribute or dim; NaN where undefined
    settings: str

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.settings})"


@dataclasses.dataclass(frozen=True)
class Gap(Score):
    """A gap between the best and the second best dim."""

    ceiling: float  # of the attributes themselves as codes: attributes that say something of each other lower it


def checked(codes: np.ndarray, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64.

    Raises:
        ValueError: they are not of shape [row, dim] and [row, attribute].
    """
    codes, attributes = np.asarray(codes, np.float64), np.asarray(attributes, np.float64)
    if codes.ndim != 2 or attributes.ndim != 2 or len(codes) != len(attributes) or 0 in codes.shape:
        raise ValueError(
            f"codes of shape {codes.shape}, attributes of shape {attributes.shape}: "
            "allowed are [row, dim] and [row, attribute] with as many rows"
        )
    return codes, attributes


def varies(values: np.ndarray) -> bool:
    """Whether an attribute is known for enough rows, and is not constant."""
    known = values[np.isfinite(values)]
    return len(known) >= FEWEST_ROWS and bool(np.ptp(known) > 0)


def mean(parts: np.ndarray) -> float:
    """The mean of what is defined, NaN of nothing."""
    known = parts[np.isfinite(parts)]
    return float(known.mean()) if len(known) else float("nan")


def best_less_second(scores: np.ndarray) -> np.ndarray:
    """The gap along the first axis; without a second row, to 0."""
    rows = np.sort(np.concatenate([scores, np.zeros((1, scores.shape[1]))]) if len(scores) == 1 else scores, 0)
    return rows[-1] - rows[-2]


def halves(
    x: np.ndarray, y: np.ndarray, seed: int, families: np.ndarray | None = None
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two halves of the rows; rows of one family are in one half."""
    family = np.arange(len(y)) if families is None else np.unique(families, return_inverse=True)[1]
    first = np.random.default_rng(seed).permutation(family.max() + 1)[family] % 2 == 0
    return (x[first], y[first]), (x[~first], y[~first])


def squared_correlation(code: np.ndarray, values: np.ndarray) -> float:
    """0 where it is not defined."""
    if len(values) < FEWEST_ROWS or min(np.ptp(code), np.ptp(values)) == 0:
        return 0.0
    return float(np.corrcoef(code, values)[0, 1] ** 2)
