"""Probes of latents that determine attributes, and of latents that do not."""

import operator

import jax
import numpy as np
import pytest

from musicvae_jax.config import Config, LevelConfig, LevelsConfig
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.probes import ProbeData, over_cells, probe_figures, ridge

WINDOWS, MEASURES = 120, 8


def make_config(**widths: int) -> Config:
    return Config(levels=LevelsConfig(**{name: LevelConfig(dim=width) for name, width in widths.items()}))


CONFIG = make_config(global_=3, local=2, fine=2)
CELLS = {"window": 1, "phrase": 2, "measure": 8}


def make_means(seed=0):
    """Independent means of every level, and which measures there are: every fourth window has five."""
    rng = np.random.default_rng(seed)
    shapes = {name: (WINDOWS, level.num_latents(MEASURES), level.dim) for name, level in CONFIG.levels.on.items()}
    means = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    present = np.ones((WINDOWS, MEASURES), bool)
    present[::4, 5:] = False
    return means, present


def metres(present):
    """4/4 in every measure that is there."""
    return np.repeat(present[..., None] * 4, 2, -1)


def test_r2_is_the_share_of_variance_that_the_levels_determine():
    """Attributes are sums of latents: of windows, global ones; of phrases, global and local ones; of measures, all."""
    means, present = make_means()
    attributes = {span: np.full((WINDOWS, cells, len(NAMES)), np.nan) for span, cells in CELLS.items()}
    parts = {
        "window": [means["global"]],
        "phrase": [np.repeat(means["global"], 2, 1), means["local"]],
        "measure": [np.repeat(means["global"], 8, 1), np.repeat(means["local"], 4, 1), means["fine"]],
    }
    for span, latents in parts.items():
        attributes[span][..., 0] = sum(z[..., 0] for z in latents)
        attributes[span][..., 5] = sum(2 * z[..., -1] for z in latents) + 60
    attributes["measure"][~present] = np.nan
    windows = ProbeData(means, attributes, metres(present), np.arange(WINDOWS) // 2)
    fitted, held_out = jax.tree.map(lambda leaf: leaf[::2], windows), jax.tree.map(lambda leaf: leaf[1::2], windows)
    figures = probe_figures(fitted, held_out, CONFIG)
    for span, level in (("window", "global"), ("phrase", "local"), ("measure", "fine")):
        found = figures[span][level]
        assert (found.r2, found.attributes[NAMES[0]]) == pytest.approx((1, 1), abs=1e-3)
        assert set(found.attributes) == {NAMES[0], NAMES[5]}
        assert (
            found.shuffled is not None and abs(found.shuffled) < 5 * 7 / WINDOWS
        )  # by chance a dim explains about 1 / cells
    for span, level, share in (("phrase", "global", 1 / 2), ("measure", "global", 1 / 3), ("measure", "local", 2 / 3)):
        # The share is that of the drawn latents' variance: its error is a few times 1 / sqrt(windows).
        assert figures[span][level].r2 == pytest.approx(share, abs=3 / np.sqrt(WINDOWS))


def test_windows_of_a_family_are_in_one_fold():
    """The three windows of a family have the same 60 dims and the same attributes, which are independent of the dims.

    With a copy of a window in the fit, its dims would predict its attributes, and the smallest penalty would be chosen.
    """
    rng = np.random.default_rng(0)
    means, noise = (np.repeat(rng.normal(size=(100, 1, width)), 3, 0) for width in (60, 3))
    noise = np.concatenate([noise, np.full((300, 1, len(NAMES) - 3), np.nan)], -1)
    attributes = {span: np.repeat(noise, cells, 1) for span, cells in CELLS.items()}
    families, present = np.repeat(np.arange(100), 3), np.ones((300, MEASURES), bool)
    windows = ProbeData({"global": means}, attributes, metres(present), families)
    odd, even = (jax.tree.map(operator.itemgetter(families % 2 == half), windows) for half in (1, 0))
    figures = probe_figures(odd, even, make_config(global_=60))
    for span in CELLS:
        assert abs(figures[span]["global"].r2) < 3 / 50  # 50 families: a squared correlation by chance


def test_what_the_metre_says_is_not_explained_within_metre():
    """Attributes are dim 0, which is the metre, or dim 1, or their sum; then the metre plus noise."""
    rng = np.random.default_rng(0)
    config = make_config(global_=2)
    beats = rng.integers(2, 5, WINDOWS)
    means = np.stack([beats - 3.0, rng.normal(size=WINDOWS)], -1)[:, None]
    metre = np.full((WINDOWS, MEASURES, 2), 4)
    metre[..., 0] = beats[:, None]
    fitted = np.arange(WINDOWS) // 2 % 2 == 0

    def explained(means, said):
        attributes = {span: np.full((WINDOWS, cells, len(NAMES)), np.nan) for span, cells in CELLS.items()}
        attributes["window"][..., 0] = said
        windows = ProbeData({"global": means}, attributes, metre, np.arange(WINDOWS) // 2)
        here, there = (jax.tree.map(operator.itemgetter(rows), windows) for rows in (fitted, ~fitted))
        found = probe_figures(here, there, config)["window"]["global"]
        return found.r2, found.within_metre

    for said, within in ((means[..., 0], np.nan), (means[..., 1], 1), (means.sum(-1), 1)):
        assert explained(means, said) == pytest.approx((1, within), abs=1e-3, nan_ok=True)
    at_all, within = explained(means[..., :1].repeat(2, -1), means[..., 0] + rng.normal(size=(WINDOWS, 1)))
    assert at_all > 0.2
    assert within == pytest.approx(0, abs=1e-3)


def test_means_of_cells():
    means, present = make_means()
    for level, level_span, span in (("fine", 1, 1), ("local", 4, 4), ("global", 8, 0)):
        found = over_cells(means[level], present, level_span, span)
        np.testing.assert_allclose(found[1], means[level][1], rtol=1e-6)
    expected = means["fine"][0, :5].mean(0)  # the measures that are there
    np.testing.assert_allclose(over_cells(means["fine"], present, 1, 0)[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("num_folds", [1, 5])
def test_ridge_is_least_squares_for_a_linear_target_and_the_mean_for_noise(num_folds):
    """Each target has its own penalty; one fold alone chooses none, and has the smallest."""
    rng = np.random.default_rng(0)
    x, new = rng.normal(3, 2, (200, 4)), rng.normal(3, 2, (50, 4))
    weights, noise = np.array([1.0, -2.0, 0.5, 0.0]), rng.normal(size=200)
    folds = np.arange(200) % num_folds
    exact, predicted = ridge(x, np.stack([x @ weights + 7, noise], 1), new, folds).T
    np.testing.assert_allclose(exact, new @ weights + 7, atol=0.01)
    (alone,) = ridge(x, (x @ weights + 7)[:, None], new, folds).T
    np.testing.assert_allclose(alone, exact, rtol=1e-9)
    if num_folds > 1:  # predictions of least squares would have a deviation of sqrt(dims / cells)
        assert np.std(predicted) < np.sqrt(4 / 200)


def test_ridge_is_the_closed_form_on_standardised_columns():
    """argmin over w of |y - x w|^2 + cells x penalty x |w|^2, with the penalty that one fold alone has."""
    rng = np.random.default_rng(0)
    x, new = rng.normal(3, [1, 20], (100, 2)), rng.normal(3, [1, 20], (9, 2))
    y = x @ np.array([[1.0], [0.1]]) + rng.normal(size=(100, 1))
    scaled, scaled_new = ((values - x.mean(0)) / x.std(0) for values in (x, new))
    w = np.linalg.solve(scaled.T @ scaled + 100 * 1e-4 * np.eye(2), scaled.T @ (y - y.mean()))
    np.testing.assert_allclose(ridge(x, y, new, np.zeros(100, int)), scaled_new @ w + y.mean(), rtol=1e-6)


def test_constant_attributes_are_left_out():
    """Also where they are all that is known of some cells."""
    means, present = make_means()
    attributes = {span: np.full((WINDOWS, cells, len(NAMES)), np.nan) for span, cells in CELLS.items()}
    attributes["window"][..., 0] = means["global"][..., 0]
    attributes["window"][::2, :, 1] = 3.0  # another set of cells than column 0
    windows = ProbeData(means, attributes, metres(present), np.arange(WINDOWS))
    figures = probe_figures(windows, windows, CONFIG)
    assert list(figures["window"]["global"].attributes) == [NAMES[0]]
    assert np.isnan(figures["phrase"]["local"].r2)
