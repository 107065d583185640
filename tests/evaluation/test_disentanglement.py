"""Metrics of codes whose answer is known: perfect, permuted, rotated by 45 degrees, duplicated, and noise."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from musicvae_jax.evaluation.disentanglement import (
    Score,
    dci,
    explicitness,
    infomec,
    interpretability,
    leakage,
    modularity,
    mutual_information,
    mutual_information_gap,
    separated_attribute_predictability,
    spearman,
)

ROWS, CLASSES = 4000, 5
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, (ROWS, 2)).astype(float)  # two independent factors
VALUES = RNG.uniform(-1, 1, (ROWS, 2))
TURN = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
NOISE = RNG.normal(size=(ROWS, 3))


def codes(kind: str, attributes: np.ndarray) -> np.ndarray:
    return {
        "perfect": attributes,
        "permuted": attributes[:, ::-1] * [-2.0, 3.0] + 1.0,
        "rotated": attributes @ TURN,
        "duplicated": np.concatenate([attributes, attributes], 1),
        "noise": NOISE,
        "and noise": np.concatenate([NOISE, attributes], 1),
    }[kind]


# The smallest and the largest value of each score by the kind of codes. Rotated codes hold all, in no dim alone.
# Of a duplicated code no dim is better than its double; each dim still knows of one attribute alone.
RANGES = {
    "mig": {
        "perfect": (0.98, 1), "permuted": (0.98, 1), "and noise": (0.97, 1), "rotated": (0, 0.05),
        "duplicated": (0, 1e-12), "noise": (0, 0.02),
    },
    "mig, knn": {
        "perfect": (0.95, 1), "permuted": (0.9, 1), "and noise": (0.95, 1), "rotated": (0, 0.05),
        "duplicated": (0, 0.01), "noise": (0, 0.02),
    },
    "sap": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "and noise": (0.99, 1), "rotated": (0, 0.05),
        "duplicated": (0, 1e-12), "noise": (0, 0.01),
    },
    "modularity": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "rotated": (0, 0.1), "duplicated": (0.99, 1),
    },
    "disentanglement": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "and noise": (0.95, 1), "rotated": (0, 0.1),
        "duplicated": (0.99, 1),
    },
    "completeness": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "and noise": (0.95, 1), "rotated": (0, 0.1),
        "duplicated": (0.4, 0.6),
    },
    "informativeness": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "rotated": (0.95, 1), "duplicated": (0.99, 1), "noise": (-1, 0.05),
    },
    "explicitness": {
        "perfect": (0.5, 1), "rotated": (0.5, 1), "duplicated": (0.5, 1), "noise": (-0.05, 0.05),
    },
    "infomec modularity": {
        "perfect": (0.95, 1), "permuted": (0.95, 1), "rotated": (0, 0.1), "duplicated": (0.95, 1),
    },
    "infomec compactness": {
        "perfect": (0.95, 1), "permuted": (0.95, 1), "rotated": (0, 0.1), "duplicated": (0.25, 0.4),
    },
    "infomec explicitness": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "rotated": (0.99, 1), "duplicated": (0.99, 1),
        "noise": (-0.02, 0.02),
    },
    "interpretability": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "rotated": (0.4, 0.6), "duplicated": (0.99, 1), "noise": (0, 0.01),
    },
    "scc": {
        "perfect": (0.99, 1), "permuted": (0.99, 1), "rotated": (0.6, 0.8), "duplicated": (0.99, 1), "noise": (0, 0.06),
    },
}  # fmt: skip
SCORES: dict[str, Callable[..., Score]] = {
    "mig": mutual_information_gap,
    "mig, knn": lambda x, y: mutual_information_gap(x, y, estimator="knn"),
    "sap": separated_attribute_predictability,
    "modularity": modularity,
    "disentanglement": lambda x, y: dci(x, y).disentanglement,
    "completeness": lambda x, y: dci(x, y).completeness,
    "informativeness": lambda x, y: dci(x, y).informativeness,
    "explicitness": explicitness,
    "infomec modularity": lambda x, y: infomec(x, y).modularity,
    "infomec compactness": lambda x, y: infomec(x, y).compactness,
    "infomec explicitness": lambda x, y: infomec(x, y).explicitness,
    "interpretability": interpretability,
    "scc": spearman,
}


@pytest.mark.parametrize(("score", "kind"), [(score, kind) for score, kinds in RANGES.items() for kind in kinds])
def test_scores_of_codes_with_a_known_answer(score, kind):
    low, high = RANGES[score][kind]
    found = SCORES[score](codes(kind, VALUES), VALUES)
    assert low <= found.value <= high + 1e-9
    assert f"{ROWS} rows" in found.settings


@pytest.mark.parametrize("score", SCORES)
def test_scores_do_not_depend_on_the_order_sign_and_scale_of_dims(score):
    """Of modularity and disentanglement the parts are those of the dims, so they move along."""
    found, moved = (SCORES[score](codes(kind, VALUES), VALUES) for kind in ("perfect", "permuted"))
    by_dim = score in ("modularity", "disentanglement", "infomec modularity")
    np.testing.assert_allclose(moved.value, found.value, atol=0.01)
    np.testing.assert_allclose(moved.parts, found.parts[:: -1 if by_dim else 1], atol=0.02)


DISCRETE: dict[str, Callable[..., Score]] = {
    "mig": mutual_information_gap,
    "mig, knn": lambda x, y, **settings: mutual_information_gap(x, y, estimator="knn", **settings),
    "sap": separated_attribute_predictability,
    "disentanglement": lambda x, y, **settings: dci(x, y, **settings).disentanglement,
    "informativeness": lambda x, y, **settings: dci(x, y, **settings).informativeness,
    "modularity": modularity,
    "explicitness": explicitness,
    "infomec modularity": lambda x, y, **settings: infomec(x, y, **settings).modularity,
    "infomec explicitness": lambda x, y, **settings: infomec(x, y, **settings).explicitness,
}


@pytest.mark.parametrize("score", DISCRETE)
def test_scores_of_labels(score):
    """Names of classes do not matter, if a metric knows that they are classes: here they have no order."""
    shuffled = np.array([3.0, 0.0, 4.0, 1.0, 2.0])[LABELS.astype(int)]
    noisy = LABELS + RNG.normal(0, 0.05, LABELS.shape)
    high = DISCRETE[score](noisy, shuffled, discrete=True)
    low = DISCRETE[score](NOISE, shuffled, discrete=True).value
    assert low < (0.3 if score == "informativeness" else 0.1) or "modularity" in score  # which is a share of noise then
    # A line cannot tell five classes apart on one dim: the SVM separates some, the logistic regression nearly all.
    assert high.value > {"sap": 0.15, "infomec explicitness": 0.8}.get(score, 0.9)


def test_information_of_labels_is_their_entropy():
    found = mutual_information(LABELS, LABELS, discrete=True)
    shares = np.stack([np.bincount(column.astype(int)) for column in LABELS.T]) / ROWS
    entropies = -(shares * np.log(shares)).sum(1)
    np.testing.assert_allclose(found.entropies, entropies, rtol=1e-12)
    np.testing.assert_allclose(np.diag(found.nats), entropies, rtol=1e-12)
    assert (found.nats[[0, 1], [1, 0]] < 3 * (CLASSES - 1) ** 2 / (2 * ROWS)).all()  # the bias, and its spread


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_information_by_neighbours_is_that_of_two_gaussians(noise):
    x = RNG.normal(size=(ROWS, 1))
    y = x + noise * RNG.normal(size=(ROWS, 1))
    expected = 0.5 * math.log(1 + 1 / noise**2)
    assert mutual_information(x, y, estimator="knn").nats[0, 0] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("score", SCORES)
def test_undefined_attributes_are_left_out_by_row(score):
    """Rows without an attribute change nothing; an attribute that is never defined, or constant, has no part."""
    many = 200
    missing = np.full((many, 2), np.nan)
    x = np.concatenate([RNG.normal(size=(many, 2)), codes("rotated", VALUES)])
    found = SCORES[score](x, np.concatenate([missing, VALUES]))
    alone = SCORES[score](x[many:], VALUES)
    if "infomec" not in score:  # whose active dims depend on all rows
        np.testing.assert_allclose(found.parts, alone.parts, atol=1e-9)
    empty = np.stack([VALUES[:, 0], np.full(ROWS, np.nan), np.ones(ROWS)], 1)
    found = SCORES[score](VALUES, empty)
    assert np.isfinite(found.value)
    if len(found.parts) == 3:
        np.testing.assert_array_equal(np.isfinite(found.parts), [True, False, False])


@pytest.mark.parametrize("rare", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_labels_that_a_half_of_the_rows_lacks_have_a_score_or_none(seed, rare):
    """A label of one row is in one half alone, and a label of all other rows is not enough to fit."""
    labels = np.stack([LABELS[:, 0], np.full(ROWS, 1.0 - rare)], 1)
    labels[7, 1] = rare
    for score in DISCRETE.values():
        order = np.random.default_rng(seed).permutation(ROWS)
        assert np.isfinite(score(NOISE[order], labels[order], discrete=True).value)


@pytest.mark.parametrize("largest", [True, False])
def test_an_attribute_that_is_nearly_always_the_same_has_classes(largest):
    values = VALUES[:, :1].copy()
    usual = RNG.random(ROWS) < 0.9
    values[usual] = values.max() + 1 if largest else values.min() - 1
    assert explicitness(values, values).value > 0.9
    assert explicitness(NOISE, values).value < 0.2


def test_one_family_is_not_enough_to_judge():
    found = leakage(VALUES, VALUES, {"all": slice(None)}, families=np.zeros(ROWS))
    assert np.isnan(found["all"]).all()


def test_the_ceiling_is_that_of_the_attributes_themselves():
    correlated = np.stack([VALUES[:, 0], VALUES[:, 0] + 0.2 * VALUES[:, 1]], 1)
    for gap in (mutual_information_gap, separated_attribute_predictability):
        found = gap(codes("rotated", VALUES), correlated)
        assert found.ceiling == gap(correlated, correlated).value < 0.7
        assert gap(VALUES, VALUES).ceiling == pytest.approx(gap(VALUES, VALUES).value)


def test_one_dim_has_no_second():
    found = mutual_information_gap(LABELS[:, :1], LABELS[:, :1], discrete=True)
    assert found.value == pytest.approx(
        mutual_information(LABELS[:, :1], LABELS[:, :1], discrete=True).nats[0, 0]
        / found.parts.size
        / math.log(CLASSES),
        abs=0.01,
    )


def test_dims_of_little_range_are_not_active():
    still = 1e-3 * RNG.normal(size=(ROWS, 2))
    found = infomec(np.concatenate([VALUES, still], 1), VALUES)
    assert "2 of 4 dims active" in found.modularity.settings
    assert found.modularity.value == pytest.approx(infomec(VALUES, VALUES).modularity.value)
    assert infomec(np.zeros((ROWS, 2)), VALUES).modularity.value == 0


def test_leakage_is_what_other_groups_tell():
    """The group a has the first attribute, the group b a half of each."""
    x = np.concatenate([VALUES[:, :1], codes("rotated", VALUES)[:, :1]], 1)
    found = leakage(x, VALUES, {"a": slice(0, 1), "b": [1]})
    np.testing.assert_allclose(found["a"], [1, 0], atol=0.02)
    np.testing.assert_allclose(found["b"], [0.5, 0.5], atol=0.05)


def test_a_family_is_not_in_both_halves():
    """Codes that know the family and nothing else tell its attribute, unless all of its rows are on one side."""
    family = np.repeat(np.arange(200), 20)
    (value,) = RNG.normal(size=(1, 200))
    x = np.eye(200)[family]
    known = leakage(x, value[family][:, None], {"all": slice(None)})["all"]
    unknown = leakage(x, value[family][:, None], {"all": slice(None)}, families=family)["all"]
    assert known > 0.9 and unknown < 0.05


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.zeros((3, 2)), np.zeros((4, 2))), r"codes of shape \(3, 2\), attributes of shape \(4, 2\): allowed"),
        ((np.zeros(3), np.zeros((3, 2))), r"codes of shape \(3,\)"),
        ((np.zeros((3, 0)), np.zeros((3, 2))), r"codes of shape \(3, 0\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, said):
    scores: list[Callable[..., object]] = [*SCORES.values(), mutual_information, lambda x, y: leakage(x, y, {})]
    for score in scores:
        with pytest.raises(ValueError, match=said):
            score(*arguments)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"estimator": "kde"}, "estimator = 'kde': allowed are 'histogram' and 'knn'"),
        ({"bins": 1}, "bins = 1: allowed is"),
    ],
)
def test_unknown_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        mutual_information_gap(VALUES, VALUES, **settings)
