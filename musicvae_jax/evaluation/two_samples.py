"""Do two samples come from one distribution? Kernel distance and the accuracy of a classifier."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate
from musicvae_jax.evaluation.disentanglement.score import halves
from musicvae_jax.figures import Estimate

CLASSIFIERS = ("linear", "mlp")
_PERMUTATIONS = 200
_LEAST_TO_STOP = 100  # rows from which a tenth is kept to stop the fit early


class MMD(NamedTuple):
    """A squared maximum mean discrepancy."""

    value: float  # unbiased, so it can be below 0; at most 2
    se: float  # its standard deviation if both samples were of one distribution
    p: float  # how often, then, it would be as large


def mmd(
    x: np.ndarray, y: np.ndarray, seed: int = 0, num_permutations: int = _PERMUTATIONS, *, paired: bool = False
) -> MMD:
    """The squared maximum mean discrepancy of two samples, with all pairs but those of a row with itself.

    The kernel is exp(-|a - b|^2 / (2 s^2)), with s the median distance of two rows (Gretton et al. 2012). What one
    distribution would give comes from permutations of the rows, so the rows must be independent: take one of each
    family of pieces.

    Args:
        x: float[row, dim], two rows or more.
        y: float[row, dim], likewise.
        seed: of the permutations.
        num_permutations: one or more.
        paired: row i of x and row i of y may depend on each other, such as two draws given the same levels above. The
            two of a pair are then not compared, and a permutation exchanges them in some pairs.
    """
    _check(x, y)
    if paired and len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} rows: allowed are as many of each, with paired")
    rows = np.concatenate([x, y]).astype(np.float64)
    squares = cdist(rows, rows, "sqeuclidean")
    apart = np.median(squares[np.triu_indices(len(rows), 1)])
    kernel = np.exp(-0.5 * squares / (apart if apart > 0 else 1.0))
    np.fill_diagonal(kernel, 0.0)
    rng = np.random.default_rng(seed)
    if paired:
        return _paired(kernel, rng, num_permutations)
    first = np.arange(len(rows)) < len(x)
    chosen = np.stack([first, *(rng.permutation(first) for _ in range(num_permutations))]).astype(np.float64)
    others, m, n = 1 - chosen, len(x), len(y)
    within_x, within_y = (((part @ kernel) * part).sum(1) for part in (chosen, others))
    between = ((chosen @ kernel) * others).sum(1)
    found = within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * between / (m * n)
    return _against_permutations(found)


def _paired(kernel: np.ndarray, rng: np.random.Generator, num_permutations: int) -> MMD:
    """`mmd` of pairs: the mean over two pairs (x, y), (x', y') of k(x, x') + k(y, y') - k(x, y') - k(x', y)."""
    n = len(kernel) // 2
    of_pairs = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[n:, :n]
    np.fill_diagonal(of_pairs, 0.0)
    signs = np.concatenate([np.ones((1, n)), rng.choice([-1.0, 1.0], (num_permutations, n))])  # -1: exchanged
    return _against_permutations(((signs @ of_pairs) * signs).sum(1) / (n * (n - 1)))


def _against_permutations(found: np.ndarray) -> MMD:
    """The first of some values, beside the others, which are of permuted rows."""
    p = (1 + (found[1:] >= found[0]).sum()) / len(found)
    return MMD(float(found[0]), float(found[1:].std()), float(p))


def classifier_accuracy(
    x: np.ndarray,
    y: np.ndarray,
    families: np.ndarray,
    kind: str = "linear",
    seed: int = 0,
) -> Estimate:
    """How often a classifier tells which of two samples a row is from; chance is .5 (Lopez-Paz & Oquab 2017).

    Each half of the families is judged by a classifier that was fitted to the other half.

    Args:
        x: float[row, dim].
        y: float[row, dim], as many rows, row by row of the same families.
        families: int[row]; the standard error is over them.
        kind: linear: logistic regression, which sees a shift only; mlp: 64 hidden units, which also see a shape.
        seed: of the halves and the weights.

    Raises:
        ValueError: the samples do not fit each other, or there is no such kind.
    """
    _check(x, y)
    if len(x) != len(y) or len(families) != len(x):
        raise ValueError(f"{len(x)} and {len(y)} rows of {len(families)} families: allowed are as many of each")
    rows, family = np.concatenate([x, y]).astype(np.float64), np.concatenate([families, families])
    labels = np.arange(len(rows)) < len(x)
    right = np.zeros(len(rows))
    first, second = (half for half, _ in halves(np.arange(len(rows)), labels, seed, family))
    for fitted, judged in ((first, second), (second, first)):
        if len(fitted) and len(judged):
            model = make_pipeline(StandardScaler(), _classifier(kind, seed, len(fitted)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps are what it gets
                model.fit(rows[fitted], labels[fitted])
            right[judged] = model.predict(rows[judged]) == labels[judged]
    return estimate(Bootstrap(family, seed).mean(right))


def one_of_each(families: np.ndarray, seed: int = 0) -> np.ndarray:
    """A row of each family, at random: int[row] to int64[family]."""
    order = np.random.default_rng(seed).permutation(len(families))
    return np.sort(order[np.unique(families[order], return_index=True)[1]])


def _classifier(kind: str, seed: int, rows: int) -> ClassifierMixin:
    if kind == "linear":
        return LogisticRegression(max_iter=1000)
    if kind == "mlp":
        stops = rows >= _LEAST_TO_STOP
        return MLPClassifier((64,), alpha=1e-2, early_stopping=stops, max_iter=100, random_state=seed)
    raise ValueError(f"kind = {kind!r}: allowed are 'linear' and 'mlp'")


def _check(*samples: Sequence[Sequence[float]] | np.ndarray) -> None:
    shapes = [np.shape(sample) for sample in samples]
    if any(len(shape) != 2 or shape[0] < 2 or not shape[1] for shape in shapes) or len({s[1] for s in shapes}) > 1:
        raise ValueError(f"samples of shape {shapes}: allowed are two of [row, dim], with two rows or more each")
