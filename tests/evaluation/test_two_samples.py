"""Kernel distance and classifiers on samples whose distributions are known."""

import numpy as np
import pytest
from scipy import stats

from musicvae_jax.evaluation.two_samples import CLASSIFIERS, classifier_accuracy, mmd, one_of_each

NUM = 300


def normal(seed, loc=0.0, scale=1.0, num=NUM):
    return np.random.default_rng(seed).normal(loc, scale, (num, 4))


def test_mmd_is_the_sum_over_pairs():
    """Written as three loops, with the median of all distances."""
    x, y = normal(0, num=5), normal(1, 1.0, num=7)
    rows = np.concatenate([x, y])
    squares = ((rows[:, None] - rows) ** 2).sum(-1)
    kernel = np.exp(-squares / (2 * np.median(squares[np.triu_indices(12, 1)])))
    of_x = sum(kernel[i, j] for i in range(5) for j in range(5) if i != j) / 20
    of_y = sum(kernel[i, j] for i in range(5, 12) for j in range(5, 12) if i != j) / 42
    assert mmd(x, y).value == pytest.approx(of_x + of_y - 2 * kernel[:5, 5:].mean(), rel=1e-9)


def test_mmd_of_one_distribution_is_0_in_the_mean_and_its_error_is_known():
    found = [mmd(normal(2 * seed, num=60), normal(2 * seed + 1, num=60), seed, 50) for seed in range(40)]
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(40) and (values < 0).any()
    assert np.mean([one.se for one in found]) == pytest.approx(values.std(ddof=1), rel=0.4)
    assert stats.kstest([one.p for one in found], "uniform").pvalue > 0.01


def test_mmd_of_pairs_is_that_of_rows_that_do_not_depend_on_each_other():
    """x and y share a part; what is left of each is of one distribution."""
    shared = [3 * normal(1000 + seed, num=60) for seed in range(40)]
    pairs = [(part + normal(2 * seed, num=60), part + normal(2 * seed + 1, num=60)) for seed, part in enumerate(shared)]
    found = [mmd(*pair, seed, 50, paired=True) for seed, pair in enumerate(pairs)]
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(40) and (values < 0).any()
    assert np.mean([one.se for one in found]) == pytest.approx(values.std(ddof=1), rel=0.4)
    assert stats.kstest([one.p for one in found], "uniform").pvalue > 0.01
    alone = np.array([mmd(*pair, seed, 50).p for seed, pair in enumerate(pairs)])
    assert alone.mean() > 0.9  # as if they were not pairs, they look too much alike
    moved = mmd(pairs[0][0], pairs[0][1] + 1.0, paired=True)
    assert moved.value > 5 * moved.se and moved.p == pytest.approx(1 / 201)
    with pytest.raises(ValueError, match="5 and 6 rows: allowed are as many of each, with paired"):
        mmd(np.ones((5, 2)), np.ones((6, 2)), paired=True)


@pytest.mark.parametrize("change", [{"loc": 1.0}, {"scale": 2.0}])
def test_mmd_sees_a_shift_and_a_scale(change):
    found = mmd(normal(0), normal(1, **change))
    assert found.value > 5 * found.se and found.p == pytest.approx(1 / 201)


def test_mmd_of_constants():
    same = mmd(np.ones((5, 2)), np.ones((6, 2)))
    assert same.value == pytest.approx(0) and same.p == 1
    assert mmd(np.zeros((50, 2)), np.full((50, 2), 9.0)).value > 0.5


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_guesses_on_one_distribution_and_knows_two_that_are_apart(kind):
    families = np.arange(NUM) // 3
    same = classifier_accuracy(normal(0), normal(1), families, kind)
    assert abs(same.value - 0.5) < 4 * same.se and 0 < same.se < 0.05
    apart = classifier_accuracy(normal(0), normal(1, 8.0), families, kind)
    assert apart.value == 1.0


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("num", [2, 3, 4, 5, 9, 14, 20])
def test_few_rows_are_enough_for_an_accuracy(kind, num):
    families = np.arange(num) // 2 * 2
    found = classifier_accuracy(normal(0, num=num), normal(1, 9.0, num=num), families, kind)
    assert 0 <= found.value <= 1


def test_only_the_network_sees_a_scale():
    families = np.arange(1000)
    linear, mlp = (
        classifier_accuracy(normal(0, num=1000), normal(1, scale=3.0, num=1000), families, kind) for kind in CLASSIFIERS
    )
    assert abs(linear.value - 0.5) < 0.1 and mlp.value > 0.8


def test_rows_of_a_family_are_in_one_half():
    """Each family has a place of its own in each sample: nothing can be learnt from other families."""
    rng, families = np.random.default_rng(0), np.repeat(np.arange(30), 10)
    places = rng.normal(0, 10, (60, 80))
    x, y = (np.repeat(part, 10, 0) + rng.normal(0, 0.1, (NUM, 80)) for part in (places[:30], places[30:]))
    found = classifier_accuracy(x, y, families)
    assert abs(found.value - 0.5) < 4 * found.se
    assert classifier_accuracy(x, y, np.arange(NUM)).value > 0.95  # known places are known by heart


def test_one_row_of_each_family():
    families = np.array([7, 7, 3, 7, 3, 1])
    rows = one_of_each(families)
    assert sorted(families[rows].tolist()) == [1, 3, 7] and (np.diff(rows) > 0).all()
    assert len({tuple(one_of_each(families, seed)) for seed in range(30)}) > 1


def test_wrong_samples_are_refused():
    with pytest.raises(ValueError, match=r"samples of shape \[\(3, 2\), \(3, 1\)\]: allowed are two of \[row, dim\]"):
        mmd(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="3 and 2 rows of 3 families: allowed are as many of each"):
        classifier_accuracy(np.zeros((3, 2)), np.zeros((2, 2)), np.arange(3))
    with pytest.raises(ValueError, match="kind = 'tree': allowed are"):
        classifier_accuracy(normal(0), normal(1), np.arange(NUM), "tree")
