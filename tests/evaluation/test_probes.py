"""Codes that say an attribute, and codes that do not."""

import dataclasses
import operator

import jax
import numpy as np
import pytest

from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.probes import Codes, over_cells, probe_figures, ridge
from tests.tiny import MODEL

WINDOWS, MEASURES = 120, 8
CONFIG = dataclasses.replace(MODEL, global_dim=3, local_dim=2, fine_dim=2)
CELLS = {"window": 1, "phrase": 2, "measure": 8}


def make_codes(seed=0):
    """Independent codes of every level, and windows of which every fourth ends after five measures."""
    rng = np.random.default_rng(seed)
    times = {"global": 1, "local": 2, "fine": 8}
    means = {level: rng.normal(size=(WINDOWS, times[level], width)) for level, width in CONFIG.widths.items()}
    present = np.ones((WINDOWS, MEASURES), bool)
    present[::4, 5:] = False
    return means, present


def metres(present):
    """4/4 throughout."""
    return np.repeat(present[..., None] * 4, 2, -1)


def test_a_level_explains_what_it_says_and_no_more():
    """Windows: the global code. Phrases: half global, half local. Measures: a third each."""
    means, present = make_codes()
    attributes = {span: np.full((WINDOWS, cells, len(NAMES)), np.nan) for span, cells in CELLS.items()}
    parts = {
        "window": [means["global"]],
        "phrase": [np.repeat(means["global"], 2, 1), means["local"]],
        "measure": [np.repeat(means["global"], 8, 1), np.repeat(means["local"], 4, 1), means["fine"]],
    }
    for span, codes in parts.items():
        # A dim that says more than one attribute is still read by each.
        attributes[span][..., 0] = sum(code[..., 0] for code in codes)
        attributes[span][..., 5] = sum(2 * code[..., -1] for code in codes) + 60
    attributes["measure"][~present] = np.nan
    windows = Codes(means, attributes, metres(present), np.arange(WINDOWS) // 2)
    fitted, held_out = jax.tree.map(lambda leaf: leaf[::2], windows), jax.tree.map(lambda leaf: leaf[1::2], windows)
    figures = probe_figures(fitted, held_out, CONFIG)
    for name in ("global_window", "local_phrase", "fine_measure"):
        assert figures[f"probe_r2_{name}"] == pytest.approx(1, abs=1e-3)
        assert figures[f"probe_r2_{name}_{NAMES[0]}"] == pytest.approx(1, abs=1e-3)
        assert {key for key in figures if key.startswith(f"probe_r2_{name}_")} == {
            f"probe_r2_{name}_{kind}" for kind in (NAMES[0], NAMES[5], "within_metre", "shuffled")
        }
        # Noise explains nothing; what is fitted to it by chance costs about a dim's share of the cells.
        assert abs(figures[f"probe_r2_{name}_shuffled"]) < 5 * 7 / WINDOWS
    for name, share in (("global_phrase", 1 / 2), ("global_measure", 1 / 3), ("local_measure", 2 / 3)):
        # The share is that of the drawn codes' variance: its spread is a few times 1 / sqrt(windows).
        assert figures[f"probe_r2_{name}"] == pytest.approx(share, abs=3 / np.sqrt(WINDOWS))


def test_cells_of_a_piece_do_not_predict_each_other():
    """Three windows of a piece have one code of 60 dims and one attribute, which the code says nothing of.

    Fitted to a copy, such a code would predict it: were pieces split between the folds no penalty would be chosen, and
    R2 far below 0.
    """
    rng = np.random.default_rng(0)
    config = dataclasses.replace(MODEL, global_dim=60)
    codes, noise = (np.repeat(rng.normal(size=(100, 1, width)), 3, 0) for width in (60, 3))
    noise = np.concatenate([noise, np.full((300, 1, len(NAMES) - 3), np.nan)], -1)
    attributes = {span: np.repeat(noise, cells, 1) for span, cells in CELLS.items()}
    pieces, present = np.repeat(np.arange(100), 3), np.ones((300, MEASURES), bool)
    windows = Codes({"global": codes}, attributes, metres(present), pieces)
    odd, even = (jax.tree.map(operator.itemgetter(pieces % 2 == half), windows) for half in (1, 0))
    figures = probe_figures(odd, even, config)
    for span in CELLS:
        assert abs(figures[f"probe_r2_global_{span}"]) < 3 / 50  # the square of a chance correlation of a half


def test_what_the_metre_says_is_not_explained_within_metre():
    """Attributes that are the metre, or what the code says beside it, or both; then the metre and noise."""
    rng = np.random.default_rng(0)
    config = dataclasses.replace(MODEL, global_dim=2)
    beats = rng.integers(2, 5, WINDOWS)
    codes = np.stack([beats - 3.0, rng.normal(size=WINDOWS)], -1)[:, None]
    metre = np.full((WINDOWS, MEASURES, 2), 4)
    metre[..., 0] = beats[:, None]
    fitted = np.arange(WINDOWS) // 2 % 2 == 0

    def explained(code, said):
        attributes = {span: np.full((WINDOWS, cells, len(NAMES)), np.nan) for span, cells in CELLS.items()}
        attributes["window"][..., 0] = said
        windows = Codes({"global": code}, attributes, metre, np.arange(WINDOWS) // 2)
        here, there = (jax.tree.map(operator.itemgetter(rows), windows) for rows in (fitted, ~fitted))
        figures = probe_figures(here, there, config)
        return figures["probe_r2_global_window"], figures["probe_r2_global_window_within_metre"]

    for said, within in ((codes[..., 0], np.nan), (codes[..., 1], 1), (codes.sum(-1), 1)):
        assert explained(codes, said) == pytest.approx((1, within), abs=1e-3, nan_ok=True)
    at_all, within = explained(codes[..., :1].repeat(2, -1), codes[..., 0] + rng.normal(size=(WINDOWS, 1)))
    assert at_all > 0.2
    assert within == pytest.approx(0, abs=1e-3)


def test_codes_of_cells():
    means, present = make_codes()
    assert over_cells(means["fine"], present, 1, "measure").shape == (WINDOWS, 8, 2)
    np.testing.assert_allclose(over_cells(means["fine"], present, 1, "measure")[1], means["fine"][1], rtol=1e-6)
    np.testing.assert_allclose(over_cells(means["local"], present, 4, "phrase"), means["local"], rtol=1e-6)
    np.testing.assert_allclose(over_cells(means["global"], present, 8, "window"), means["global"], rtol=1e-6)
    expected = means["fine"][0, :5].mean(0)  # the measures that are there
    np.testing.assert_allclose(over_cells(means["fine"], present, 1, "window")[0, 0], expected, rtol=1e-5)


def test_ridge_is_least_squares_where_there_is_no_noise_and_the_mean_where_there_is_nothing_else():
    rng = np.random.default_rng(0)
    x, new = rng.normal(3, 2, (200, 4)), rng.normal(3, 2, (50, 4))
    weights = np.array([1.0, -2.0, 0.5, 0.0])
    folds = np.arange(200) % 5
    noise = rng.normal(size=200)
    exact, predicted = ridge(x, np.stack([x @ weights + 7, noise], 1), new, folds).T  # each has its own penalty
    np.testing.assert_allclose(exact, new @ weights + 7, atol=0.01)
    # Least squares would spread predictions by sqrt(dims / cells); a penalty that is chosen spreads them by no more.
    assert np.std(predicted) < np.sqrt(4 / 200)
