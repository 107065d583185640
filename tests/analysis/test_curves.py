"""Curves of metrics, of the KL of levels, and of the cost of a measure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.analysis.curves import (
    kl_per_dim,
    kl_per_level,
    plot_level_kl,
    plot_overlaps,
    plot_scaling,
    plot_training_curves,
    smooth,
)
from musicvae_jax.config import UserError


def test_training_curves_draw_the_metrics_that_exist():
    names = ["loss", "nll", "kl", "kl_global", "kl_local", "learning_rate", "grad_norm", "tokens_per_second"]
    rows = [{"step": step, **dict.fromkeys(names, step**0.5)} for step in range(1, 50)]
    validation = [{"step": 25, "validation.nll": float("nan")}, {"step": 49, "validation.nll": 2.0}]
    panels = ["loss", "nll", "KL", "learning rate", "gradient norm", "speed"]
    for kept, nll_lines in ((rows[:1], 2), (rows, 2), (rows + validation, 3)):
        axes = plot_training_curves(kept).axes
        assert [ax.get_title(loc="left").split(",")[0] for ax in axes] == panels
        assert [len(ax.lines) for ax in axes] == [2, nll_lines, 6, 2, 2, 2]  # measured and smoothed; validation
        assert all(np.isfinite(ax.get_ylim()).all() for ax in axes)
    np.testing.assert_array_equal(axes[0].lines[0].get_xydata(), [(row["step"], row["loss"]) for row in rows])


@pytest.mark.parametrize("levels", [["kl_fine"], ["kl_global", "kl_fine"]])
def test_the_kl_of_the_only_level_is_not_drawn_twice(levels):
    (ax,) = plot_training_curves([{"step": 1, "kl": 3.0, **dict.fromkeys(levels, 3.0)}]).axes
    assert len(ax.lines) == (2 if len(levels) == 1 else 6)


@pytest.mark.parametrize("rows", [[], [{"step": 1}], [{"step": 1, "loss": float("inf")}]])
def test_training_curves_without_numbers_are_refused(rows):
    with pytest.raises(UserError, match="no rows to draw"):
        plot_training_curves(rows)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 40))
def test_smoothing_is_a_moving_average(values, width):
    array = np.array(values)
    smoothed = smooth(array, width)
    assert smoothed.shape == array.shape
    assert array.min() - 1e-6 <= smoothed.min()
    assert smoothed.max() <= array.max() + 1e-6
    np.testing.assert_allclose(smooth(np.full(9, 3.0), width), 3.0, rtol=1e-12)
    np.testing.assert_array_equal(smooth(array, 1), array)
    if width % 2 and width <= len(array):
        near = [array[max(0, i - width // 2) : i + width // 2 + 1].mean() for i in range(len(array))]
        np.testing.assert_allclose(smoothed, near, rtol=1e-9, atol=1e-9)


def test_the_kl_of_each_level_is_drawn_in_a_panel_per_run_with_equal_axes():
    rows = [{"step": step, "kl_fine": 3.0 * step, "kl_global": 0.0, "loss": 1.0} for step in (10, 20, 30)]
    rows.insert(1, {"step": 15, "validation.kl_fine": 7.0})
    levels = kl_per_level(rows)
    assert list(levels) == ["global", "fine"]
    np.testing.assert_array_equal(levels["fine"], [[10, 20, 30], [30, 60, 90]])
    figure = plot_level_kl({"first $1": rows, "second": rows[:2]})
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["first $1", "second"]
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    np.testing.assert_array_equal(figure.axes[0].lines[2].get_data(), levels["fine"])


@pytest.mark.parametrize(("runs", "said"), [({}, "runs = "), ({"a": [{"step": 1, "loss": 2.0}]}, "to draw of 'a'")])
def test_runs_without_the_kl_of_a_level_are_refused(runs, said):
    with pytest.raises(UserError, match=said):
        plot_level_kl(runs)


@pytest.mark.parametrize("smoothing", [-1, float("inf")])
@pytest.mark.parametrize("plot", [lambda rows, **more: plot_level_kl({"a": rows}, **more), plot_training_curves])
def test_a_smoothing_width_below_0_or_without_end_is_refused(plot, smoothing):
    with pytest.raises(UserError, match=f"smoothing = {smoothing}"):
        plot([{"step": 1, "kl_fine": 1.0}], smoothing=smoothing)


@pytest.mark.parametrize(("seconds", "base"), [({4: 2.0, 8: 1.0}, 4), ({4: 1.0, 16: 2.0, 64: 6.0}, 16)])
def test_the_cost_of_a_measure_is_drawn_relative_to_16_measures_or_to_the_first(seconds, base):
    (ax,) = plot_scaling(seconds).axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(m, s / seconds[base]) for m, s in seconds.items()])
    assert ax.get_title(loc="left").endswith(f"{base} measures = 1")
    assert [text.get_text() for text in ax.texts] == ["aim: at most 1.15"]
    assert ax.get_ylim()[1] > max(1.15, np.asarray(ax.lines[0].get_xydata())[:, 1].max())


def test_the_kl_of_dims_is_that_of_the_step_asked_for_or_of_the_last_validation():
    name = "validation.levels.{}.kl_per_dim.{}"
    rows = [
        {"step": step, name.format("fine", "fine/rhythm[0]"): 1.0 * step, name.format("global", "global/pitch[3]"): 0.5}
        for step in (10, 20)
    ]
    rows.append({"step": 21, "validation.nll": 1.0})
    assert kl_per_dim(rows) == {"fine": {"fine/rhythm[0]": 20.0}, "global": {"global/pitch[3]": 0.5}}
    assert kl_per_dim(rows, 10)["fine"] == {"fine/rhythm[0]": 10.0} and kl_per_dim(rows, 15) == kl_per_dim(rows)
    assert kl_per_dim(rows[2:]) == {}


def test_overlaps_have_a_line_a_feature_and_a_dot_a_prior():
    reference = {"note_density": 0.9, "contour": 0.8}
    priors = {"own": {"note_density": 0.5, "contour": 0.6}, "flow": {"contour": 0.7}}
    (ax,) = plot_overlaps(priors, reference).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["note density", "contour"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(0.5, 1), (0.6, 0)])
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [(np.nan, 1), (0.7, 0)])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training music", "own", "flow"]
    with pytest.raises(UserError, match=r"reference = \{\}: allowed is one feature or more"):
        plot_overlaps({}, {})
