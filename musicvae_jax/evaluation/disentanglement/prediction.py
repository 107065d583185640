"""Scores by what predicts an attribute: SAP, DCI, explicitness, SCC, leakage."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from musicvae_jax.evaluation.disentanglement.score import (
    Gap,
    Score,
    best_less_second,
    checked,
    halves,
    mean,
    squared_correlation,
    varies,
)

_PENALTIES = 10.0 ** np.arange(-3, 4)
_SIGNIFICANT = 0.05


class DCI(NamedTuple):
    """Three scores of importances in a regression from codes to attributes (Eastwood & Williams 2018, section 2)."""

    disentanglement: Score  # parts: dims
    completeness: Score  # parts: attributes
    informativeness: Score  # parts: attributes


def separated_attribute_predictability(
    codes: np.ndarray, attributes: np.ndarray, *, discrete: bool = False, seed: int = 0
) -> Gap:
    """SAP: the mean over attributes of the gap between the two dims that predict it best (Kumar et al. 2018).

    A dim's score is its squared correlation with the attribute; with ``discrete`` the accuracy of a linear support
    vector machine (C = .01, classes balanced), fitted to one half of the rows, on the other.

    Args:
        codes: float[row, dim].
        attributes: float[row, attribute].
        discrete: attributes are class labels.
        seed: of the halves.
    """
    codes, attributes = checked(codes, attributes)
    one = partial(_accuracy, seed=seed) if discrete else squared_correlation

    def gaps(codes: np.ndarray) -> np.ndarray:
        scores = np.full((codes.shape[1], attributes.shape[1]), np.nan)
        for number, values in enumerate(attributes.T):
            if not varies(values):
                continue
            for dim, code in enumerate(codes.T):
                here = np.isfinite(values) & np.isfinite(code)
                scores[dim, number] = one(code[here], values[here])
        return best_less_second(scores)

    parts = gaps(codes)
    how = f"accuracy of a linear SVM, seed {seed}" if discrete else "squared correlation"
    return Gap(mean(parts), parts, f"{how}, {len(codes)} rows", ceiling=mean(gaps(attributes)))


def dci(codes: np.ndarray, attributes: np.ndarray, *, discrete: bool = False, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018).

    R[d, a] is the importance of dim d in a random forest of 100 trees that predicts attribute a. With R scaled to sum
    to one over attributes, D_d = 1 - H(R_d) / log(attributes), weighted by the dim's share of R; over dims, C_a =
    1 - H(R_a) / log(dims). Informativeness is R2, or accuracy with ``discrete``, on the half of the rows to which the
    forest was not fitted.
    """
    codes, attributes = checked(codes, attributes)
    importance = np.full((codes.shape[1], attributes.shape[1]), np.nan)
    informed = np.full(attributes.shape[1], np.nan)
    kind = RandomForestClassifier if discrete else RandomForestRegressor
    for number, values in enumerate(attributes.T):
        if not varies(values):
            continue
        here = np.isfinite(values) & np.isfinite(codes).all(1)
        (x, y), (new_x, new_y) = halves(codes[here], values[here], seed)
        if not _enough(y, new_y, discrete):
            continue
        forest = kind(100, random_state=seed, min_samples_leaf=5, max_features=None if discrete else 1.0).fit(x, y)
        importance[:, number] = forest.feature_importances_
        informed[number] = forest.score(new_x, new_y)
    known = importance[:, np.isfinite(importance[0])]
    by_dim, weight = _concentration(known, 1), known.sum(1)
    complete = np.full(attributes.shape[1], np.nan)
    complete[np.isfinite(importance[0])] = _concentration(known, 0)
    settings = f"random forest, seed {seed}, {len(codes)} rows"
    total = float(np.nansum(by_dim * weight) / weight.sum()) if known.size else np.nan
    return DCI(
        Score(total, by_dim, settings),
        Score(mean(complete), complete, settings),
        Score(mean(informed), informed, settings),
    )


def explicitness(
    codes: np.ndarray, attributes: np.ndarray, *, discrete: bool = False, classes: int = 5, seed: int = 0
) -> Score:
    """Whether a linear classifier finds each attribute in all dims together (Ridgeway & Mozer 2018, section 3).

    2 AUC - 1, the mean over classes of one against the rest, of a logistic regression on the other half of the rows:
    0 is chance. An attribute that is not discrete is cut at its quantiles into ``classes`` classes.
    """
    codes, attributes = checked(codes, attributes)
    parts = np.full(attributes.shape[1], np.nan)
    for number, values in enumerate(attributes.T):
        if not varies(values):
            continue
        here = np.isfinite(values) & np.isfinite(codes).all(1)
        labels = values[here] if discrete else _quantile_classes(values[here], classes)
        (x, y), (new_x, new_y) = halves(codes[here], labels, seed)
        if not _enough(y, new_y, True):
            continue
        model = _logistic().fit(x, y)
        probabilities, known = model.predict_proba(new_x), model.classes_
        aucs = [
            roc_auc_score(new_y == label, probabilities[:, column])
            for column, label in enumerate(known)
            if 0 < (new_y == label).sum() < len(new_y)
        ]
        parts[number] = 2 * float(np.mean(aucs)) - 1 if aucs else np.nan
    how = "labels" if discrete else f"{classes} classes"
    return Score(mean(parts), parts, f"logistic regression, {how}, seed {seed}, {len(codes)} rows")


def spearman(codes: np.ndarray, attributes: np.ndarray) -> Score:
    """SCC: the largest |rank correlation| of an attribute with a dim; correlations with p > .05 count as 0."""
    codes, attributes = checked(codes, attributes)
    parts = np.full(attributes.shape[1], np.nan)
    for number, values in enumerate(attributes.T):
        if not varies(values):
            continue
        parts[number] = 0.0
        for code in codes.T:
            here = np.isfinite(values) & np.isfinite(code)
            if np.ptp(code[here]) > 0:
                found = spearmanr(code[here], values[here])
                parts[number] = max(parts[number], abs(found.statistic) if found.pvalue <= _SIGNIFICANT else 0.0)
    return Score(mean(parts), parts, f"p <= {_SIGNIFICANT}, {len(codes)} rows")


def leakage(
    codes: np.ndarray,
    attributes: np.ndarray,
    groups: Mapping[str, slice | Sequence[int]],
    *,
    families: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """What each group of dims tells of each attribute: group -> R2 float64[attribute] of a ridge regression.

    It is fitted to half of the families and measured on the others. With the attributes of a group in place of its
    dims, the same function says how much the attributes' own correlation explains.

    Args:
        codes: float[row, dim].
        attributes: float[row, attribute].
        groups: the dims of each group, such as `LevelConfig.layout`.
        families: [row], rows of one family stay together, such as those of a piece; each row by itself if not given.
        seed: of the halves.
    """
    codes, attributes = checked(codes, attributes)
    result = {}
    for name, dims in groups.items():
        part, scores = codes[:, dims], np.full(attributes.shape[1], np.nan)
        for number, values in enumerate(attributes.T):
            here = np.isfinite(values) & np.isfinite(part).all(1)
            if varies(values[here]):
                family = None if families is None else np.asarray(families)[here]
                (x, y), (new_x, new_y) = halves(part[here], values[here], seed, family)
                if _enough(y, new_y, False):
                    scores[number] = _ridge().fit(x, y).score(new_x, new_y)
        result[name] = scores
    return result


def label_accuracy(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: Mapping[str, slice | Sequence[int]],
    *,
    families: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """How often a logistic regression from each group of dims finds a nominal label, such as a style.

    It is fitted to half of the families and measured on the others.

    Args:
        codes: float[row, dim].
        labels: float[row], NaN where unknown.
        groups: the dims of each group, such as `LevelConfig.layout`.
        families: [row], rows of one family stay together; each row by itself if not given.
        seed: of the halves.

    Returns:
        Group -> share of rows; ``chance`` is that of the label that is most common in the fitted half. {} where a half
        has fewer than two labels.
    """
    codes, labels = checked(codes, np.asarray(labels)[:, None])
    here = np.isfinite(labels[:, 0])
    family = None if families is None else np.asarray(families)[here]
    if not here.any():
        return {}
    (x, y), (new_x, new_y) = halves(codes[here], labels[here, 0], seed, family)
    if min(len(np.unique(y)), len(np.unique(new_y))) < 2:
        return {}
    found, counts = np.unique(y, return_counts=True)
    result = {"chance": float((new_y == found[counts.argmax()]).mean())}
    for name, dims in groups.items():
        result[name] = float(_logistic().fit(x[:, dims], y).score(new_x[:, dims], new_y))
    return result


def _accuracy(code: np.ndarray, labels: np.ndarray, seed: int) -> float:
    (x, y), (new_x, new_y) = halves(code[:, None], labels, seed)
    if not _enough(y, new_y, True):
        return np.nan
    machine = LinearSVC(C=0.01, class_weight="balanced", random_state=seed)
    return float(make_pipeline(StandardScaler(), machine).fit(x, y).score(new_x, new_y))


def _enough(fitted: np.ndarray, judged: np.ndarray, discrete: bool) -> bool:
    """Whether a model can be fitted to one half of the rows and judged on the other; of labels it needs two."""
    return len(judged) > 0 and len(np.unique(fitted)) > (1 if discrete else 0)


def _quantile_classes(values: np.ndarray, classes: int) -> np.ndarray:
    """Numbers of classes that hold about as many rows each; equal values are in one class.

    Values that differ make two classes or more, also where nearly all are the largest.
    """
    found = np.searchsorted(np.unique(np.quantile(values, np.arange(1, classes) / classes)), values)
    return found if found.any() else (values == values.max()).astype(np.int64)


def _concentration(importance: np.ndarray, axis: int) -> np.ndarray:
    """1 - entropy of the shares along an axis / its largest value; 0 where all are 0."""
    total, number = importance.sum(axis, keepdims=True), importance.shape[axis]
    if number < 2:
        return np.ones(importance.shape[1 - axis])
    shares = importance / np.where(total > 0, total, 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis)
    return np.where(total.squeeze(axis) > 0, 1 - entropy / np.log(number), 0.0)


def uncertainty_removed(codes: np.ndarray, values: np.ndarray, discrete: bool, seed: int) -> float:
    """The share that a linear model removes on the other half: 1 - log loss / log loss without codes, or R2."""
    (x, y), (new_x, new_y) = halves(codes, values, seed)
    if not _enough(y, new_y, discrete):
        return np.nan
    if not discrete:
        return float(_ridge().fit(x, y).score(new_x, new_y))
    model = _logistic().fit(x, y)
    known = np.isin(new_y, model.classes_)
    if not known.any():
        return np.nan
    rates = np.array([(y == label).mean() for label in model.classes_])
    without = log_loss(new_y[known], np.tile(rates, (int(known.sum()), 1)), labels=model.classes_)
    return float(1 - log_loss(new_y[known], model.predict_proba(new_x[known]), labels=model.classes_) / without)


def _logistic() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
