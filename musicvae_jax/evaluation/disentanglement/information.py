"""Scores by mutual information: MIG, modularity, InfoMEC, interpretability."""

from typing import Literal, NamedTuple

import numpy as np
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from musicvae_jax.evaluation.disentanglement.prediction import uncertainty_removed
from musicvae_jax.evaluation.disentanglement.score import (
    FEWEST_ROWS,
    Gap,
    Score,
    best_less_second,
    checked,
    mean,
    squared_correlation,
    varies,
)

Estimator = Literal["histogram", "knn"]

_NEIGHBOURS = 3


class Information(NamedTuple):
    """Mutual information of every dim and every attribute."""

    nats: np.ndarray  # float64[dim, attribute], NaN for an attribute that is constant or hardly ever defined
    entropies: np.ndarray  # float64[attribute], of the attribute by the same estimator
    settings: str


class InfoMEC(NamedTuple):
    """Three scores by information (Hsu et al. 2023, section 3)."""

    modularity: Score  # parts: active dims
    explicitness: Score  # parts: attributes
    compactness: Score  # parts: attributes


def mutual_information(
    codes: np.ndarray,
    attributes: np.ndarray,
    *,
    estimator: Estimator = "histogram",
    discrete: bool = False,
    bins: int = 20,
    seed: int = 0,
) -> Information:
    """I(z_d; a) in nats.

    Args:
        codes: float[row, dim].
        attributes: float[row, attribute].
        estimator: histogram: the plug-in estimate over cells of equal width (Locatello et al. 2019), biased upwards by
            about (bins - 1)^2 / (2 rows). knn: three nearest neighbours (Kraskov et al. 2004, Ross 2014), as AR-VAE
            has it (Pati & Lerch 2021); the "entropy" of an attribute is then its information about itself, which has no
            fixed scale.
        discrete: attributes are class labels.
        bins: of the histogram, for each dim and each attribute that is not discrete.
        seed: of the noise that separates equal values, with knn.

    Raises:
        ValueError: the arrays do not fit each other, or an argument is out of range.
    """
    codes, attributes = checked(codes, attributes)
    if estimator not in ("histogram", "knn"):
        raise ValueError(f"estimator = {estimator!r}: allowed are 'histogram' and 'knn'")
    if bins < 2:
        raise ValueError(f"bins = {bins}: allowed is 2 or more")
    nats = np.full((codes.shape[1], attributes.shape[1]), np.nan)
    entropies = np.full(attributes.shape[1], np.nan)
    for number, values in enumerate(attributes.T):
        if not varies(values):
            continue
        for dim, code in enumerate(codes.T):
            here = np.isfinite(values) & np.isfinite(code)
            nats[dim, number] = _information(code[here], values[here], estimator, discrete, bins, seed)
        known = values[np.isfinite(values)]
        if discrete or estimator == "histogram":
            entropies[number] = _entropy(_classes(known, None if discrete else bins))
        else:
            entropies[number] = _information(known, known, estimator, discrete, bins, seed)
    how = f"histogram of {bins} bins" if estimator == "histogram" else f"{_NEIGHBOURS} neighbours, seed {seed}"
    return Information(nats, entropies, f"{how}, {len(codes)} rows")


def mutual_information_gap(
    codes: np.ndarray,
    attributes: np.ndarray,
    *,
    estimator: Estimator = "histogram",
    discrete: bool = False,
    bins: int = 20,
    seed: int = 0,
) -> Gap:
    """MIG: the mean over attributes of (I1 - I2) / H, the two largest I(z_d; a) over dims (Chen et al. 2018, eq. 6).

    Args and errors as for `mutual_information`. Codes of one dim have I2 = 0.
    """

    def gaps(codes: np.ndarray) -> tuple[np.ndarray, str]:
        found = mutual_information(codes, attributes, estimator=estimator, discrete=discrete, bins=bins, seed=seed)
        return best_less_second(found.nats) / found.entropies, found.settings

    parts, settings = gaps(codes)
    return Gap(mean(parts), parts, settings, ceiling=mean(gaps(attributes)[0]))


def modularity(codes: np.ndarray, attributes: np.ndarray, *, discrete: bool = False, bins: int = 20) -> Score:
    """Whether each dim knows of one attribute alone (Ridgeway & Mozer 2018, eq. 2): parts are dims.

    1 - sum of I^2 over the other attributes / (I^2 of the best attribute x (attributes - 1)); I is divided by the
    entropy of the attribute, so that all attributes count alike. A dim without any information scores 0; one with next
    to none has a score made of the noise of the estimates, so read it beside MIG.
    """
    found = mutual_information(codes, attributes, discrete=discrete, bins=bins)
    squares = (found.nats / found.entropies)[:, np.isfinite(found.entropies)] ** 2
    best, others = squares.max(1), squares.shape[1] - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.where(best > 0, 1 - (squares.sum(1) - best) / (best * max(others, 1)), 0.0)
    return Score(mean(parts), parts, found.settings)


def infomec(
    codes: np.ndarray,
    attributes: np.ndarray,
    *,
    estimator: Estimator = "histogram",
    discrete: bool = False,
    bins: int = 20,
    seed: int = 0,
) -> InfoMEC:
    """Modularity, explicitness and compactness by information (Hsu et al. 2023, section 3).

    With N = I(z_d; a) / H(a): modularity is the mean over active dims of max_a N / sum_a N, compactness the mean over
    attributes of max_d N / sum_d N, each scaled so that even shares are 0 and one share is 1. A dim is active if its
    range is more than an eighth of the widest. Explicitness is the share of the uncertainty of an attribute that a
    linear model removes on the other half of the rows: 1 - log loss / log loss without codes, or R2.
    """
    codes, attributes = checked(codes, attributes)
    ranges = np.nanmax(codes, 0) - np.nanmin(codes, 0)
    active = codes[:, ranges > ranges.max() / 8] if ranges.max() > 0 else codes[:, :1]
    found = mutual_information(active, attributes, estimator=estimator, discrete=discrete, bins=bins, seed=seed)
    shares = np.maximum(found.nats / found.entropies, 0)
    modular = _largest_share(shares[:, np.isfinite(found.entropies)], 1)
    compact = np.where(np.isfinite(found.entropies), _largest_share(shares, 0), np.nan)
    explicit = np.full(attributes.shape[1], np.nan)
    for number, values in enumerate(attributes.T):
        if varies(values):
            here = np.isfinite(values) & np.isfinite(codes).all(1)
            explicit[number] = uncertainty_removed(codes[here], values[here], discrete, seed)
    active_dims = f"{found.settings}, {active.shape[1]} of {codes.shape[1]} dims active"
    linear = f"{'logistic' if discrete else 'ridge'} regression, seed {seed}, {len(codes)} rows"
    return InfoMEC(
        Score(mean(modular), modular, active_dims),
        Score(mean(explicit), explicit, linear),
        Score(mean(compact), compact, active_dims),
    )


def interpretability(codes: np.ndarray, attributes: np.ndarray, *, bins: int = 20) -> Score:
    """R2 of a line from the dim with the largest I(z_d; a) to the attribute (Adel et al. 2018)."""
    codes, attributes = checked(codes, attributes)
    nats = mutual_information(codes, attributes, bins=bins).nats
    parts = np.full(attributes.shape[1], np.nan)
    for number, values in enumerate(attributes.T):
        if np.isfinite(nats[:, number]).any():
            code = codes[:, np.nanargmax(nats[:, number])]
            here = np.isfinite(values) & np.isfinite(code)
            parts[number] = squared_correlation(code[here], values[here])
    return Score(mean(parts), parts, f"dim by a histogram of {bins} bins, {len(codes)} rows")


def _classes(values: np.ndarray, bins: int | None) -> np.ndarray:
    """Numbers of the classes, or of cells of equal width."""
    if bins is None:
        return np.unique(values, return_inverse=True)[1]
    low, width = values.min(), max(np.ptp(values), np.finfo(np.float64).tiny)
    return np.minimum(((values - low) / width * bins).astype(np.int64), bins - 1)


def _entropy(classes: np.ndarray, others: np.ndarray | int = 0) -> float:
    """Of classes, or of pairs of classes, in nats."""
    counts = np.bincount(classes * (np.max(others) + 1) + others)
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _information(
    code: np.ndarray, values: np.ndarray, estimator: Estimator, discrete: bool, bins: int, seed: int
) -> float:
    if len(values) < FEWEST_ROWS or np.ptp(code) == 0:
        return 0.0
    if estimator == "histogram":
        one, other = _classes(code, bins), _classes(values, None if discrete else bins)
        return max(_entropy(one) + _entropy(other) - _entropy(one, other), 0.0)
    if discrete:
        labels = _classes(values, None)
        return float(mutual_info_classif(code[:, None], labels, n_neighbors=_NEIGHBOURS, random_state=seed)[0])
    return float(mutual_info_regression(code[:, None], values, n_neighbors=_NEIGHBOURS, random_state=seed)[0])


def _largest_share(shares: np.ndarray, axis: int) -> np.ndarray:
    """The largest share along an axis, scaled from 1 / number .. 1 to 0 .. 1; 0 where all are 0."""
    total, number = shares.sum(axis), shares.shape[axis]
    if number < 2:
        return np.ones(shares.shape[1 - axis])
    largest = shares.max(axis) / np.where(total > 0, total, 1)
    return np.where(total > 0, (largest - 1 / number) / (1 - 1 / number), 0.0)
