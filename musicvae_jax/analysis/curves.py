"""Curves: the metrics of a run, the KL of each latent level, results over the KL, cost over the window's length, and
what samples have in common with music.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from musicvae_jax.analysis.page import GREY, INK, OKABE_ITO, Page, add_legend, style_axes
from musicvae_jax.config import UserError
from musicvae_jax.config.checks import check
from musicvae_jax.types import LEVELS

Series = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> (steps float[row], values float[row])

# Names in metrics.jsonl. All code of this file that knows them is here.
_VALIDATION = "validation."  # prefix of metrics of the validation split
_LEVEL_KL = {level: f"kl_{level}" for level in LEVELS}
_LEVEL_BETA = {level: f"beta_{level}" for level in LEVELS}
_EXACT = (*_LEVEL_BETA.values(), "learning_rate")  # functions of the step: without noise, so not smoothed
# (title, unit, metrics). A metric that the run does not have is left out, and so is a panel without metrics.
_PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("loss", "nats per window", ("loss",)),
    ("nll", "nats per window", ("nll", f"{_VALIDATION}nll")),
    ("KL", "nats per window", ("kl", f"{_VALIDATION}kl", *_LEVEL_KL.values())),
    ("perplexity per token (validation)", "", (f"{_VALIDATION}perplexity", f"{_VALIDATION}perplexity_elbo")),
    ("KL per phrase (validation)", "nats", (f"{_VALIDATION}kl_per_phrase",)),
    ("beta", "", tuple(_LEVEL_BETA.values())),
    ("learning rate", "", ("learning_rate",)),
    ("gradient norm", "", ("grad_norm",)),
    ("speed", "tokens per second", ("tokens_per_second",)),
)

_RED = OKABE_ITO["vermilion"]
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.1, 1.9  # training curves: panels per row; inches of a panel
_SKIPPED = 0.05  # share of the steps that does not set the y range, because the first losses are much larger
_LEVEL_WIDTH, _LEVEL_HEIGHT = 3.6, 2.4  # KL per level: inches of a panel
_LEVEL_COLOURS = dict(zip(LEVELS, (OKABE_ITO["blue"], OKABE_ITO["orange"], OKABE_ITO["green"]), strict=True))
_MIN_KL = 0.01  # nats: lower end of the logarithmic axis
_MAX_COST = 1.15  # aim: a measure of a long window costs at most this many times a measure of a window of 16


def plot_training_curves(rows: Sequence[Mapping[str, Any]], *, smoothing: float = 0.02) -> Figure:
    """Loss, its terms, schedules and speed over steps, one panel each.

    Thin lines are measured values of training batches, thick lines their moving average; dots are validation.

    Args:
        rows: of metrics.jsonl, see `training.metrics.read_metrics`.
        smoothing: width of the moving average as a share of the rows; 0 for none.

    Raises:
        UserError: there is no row to draw, or `smoothing` is negative or not finite.
    """
    check(0 <= smoothing < math.inf, "smoothing", smoothing, "0 (none) or more")
    series = _to_series(rows)
    if len(present := series.keys() & _LEVEL_KL.values()) == 1:  # the KL of the only level is the total KL
        del series[present.pop()]
    panels = [panel for panel in _PANELS if any(name in series for name in panel[2])]
    if not panels:
        raise UserError("no rows to draw: the first is written after train.log_every steps")
    num_rows = -(-len(panels) // _COLUMNS)
    page = Page(_COLUMNS * (_WIDTH + 0.75) + 0.1, num_rows * (_HEIGHT + 0.8) + 0.1)
    for number, (title, unit, names) in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        ax = page.place_axes(0.7 + column * (_WIDTH + 0.75), 0.35 + row * (_HEIGHT + 0.8), _WIDTH, _HEIGHT)
        _draw_metrics(ax, {name: series[name] for name in names if name in series}, smoothing)
        ax.set_title(f"{title}, {unit}" if unit else title, fontsize=9.5, color=INK, loc="left")
    return page


def plot_level_kl(runs: Mapping[str, Sequence[Mapping[str, Any]]], *, smoothing: float = 0.05) -> Figure:
    """KL of each latent level over steps, nats per window, log scale; one panel per run, all with the same axes.

    Thin lines are measured values of training batches, thick lines their moving average in the log domain. The dotted
    line marks 1 nat; a level below it counts as collapsed.

    Args:
        runs: label -> rows of the run's metrics.jsonl.
        smoothing: width of the moving average as a share of the rows; 0 for none.

    Raises:
        UserError: there is no run, a run has no KL of a level, or `smoothing` is negative or not finite.
    """
    check(0 <= smoothing < math.inf, "smoothing", smoothing, "0 (none) or more")
    check(bool(runs), "runs", list(runs), "one run or more")
    kl_of = {label: kl_per_level(rows) for label, rows in runs.items()}
    for label, levels in kl_of.items():
        if not levels:
            raise UserError(f"no rows to draw of {label!r}: the first is written after train.log_every steps")
    values = np.concatenate([kl for levels in kl_of.values() for _, kl in levels.values()])
    last_step = max(float(steps[-1]) for levels in kl_of.values() for steps, _ in levels.values())
    page = Page(0.65 + len(kl_of) * (_LEVEL_WIDTH + 0.25), _LEVEL_HEIGHT + 0.85)
    for number, (label, levels) in enumerate(kl_of.items()):
        ax = page.place_axes(0.65 + number * (_LEVEL_WIDTH + 0.25), 0.35, _LEVEL_WIDTH, _LEVEL_HEIGHT)
        for level, (steps, kl) in levels.items():
            shown = np.maximum(kl, _MIN_KL / 10)
            smoothed = np.exp(smooth(np.log(shown), int(smoothing * len(kl))))
            ax.plot(steps, shown, color=_LEVEL_COLOURS[level], linewidth=0.7, alpha=0.3)
            ax.plot(steps, smoothed, color=_LEVEL_COLOURS[level], linewidth=1.8, label=level)
        ax.axhline(1.0, color=GREY, linewidth=0.9, linestyle=":")
        style_axes(ax)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.set_ylim(max(0.7 * float(values.min()), _MIN_KL), 1.4 * float(values.max()))
        ax.set_xlim(0, last_step)
        ax.set_title(label, fontsize=9.5, color=INK, loc="left", parse_math=False)
        ax.set_ylabel("" if number else "KL, nats per window", fontsize=9, color=INK)
        ax.tick_params(labelleft=not number)
    add_legend(ax, loc="lower right")
    return page


def plot_rate_curve(curves: Mapping[str, Sequence[np.ndarray]], quantity: str) -> Figure:
    """A result over the KL, one curve per model: dots are seeds, the line goes through their means.

    Args:
        curves: label -> points of the curve, each float[seed, 2]: KL in nats per phrase, and the result.
        quantity: name of the result, for the y axis.

    Raises:
        UserError: there is no curve, a curve has no points, or a point has no seeds.
    """
    empty = [label for label, points in curves.items() if not points or not all(len(point) for point in points)]
    if empty or not curves:
        names = ", ".join(empty) or "any curve"
        raise UserError(f"no rows to draw of {names}: allowed are variants with finished runs")
    page = Page(6.6, 2.9)
    ax = page.place_axes(0.65, 0.25, 3.8, 2.1)
    for (label, points), colour in zip(curves.items(), itertools.cycle(OKABE_ITO.values()), strict=False):
        means = np.stack([np.mean(point, 0) for point in points])
        ax.plot(*means[means[:, 0].argsort()].T, "o-", color=colour, linewidth=1.6, markersize=3.5, label=label)
        ax.plot(*np.concatenate(points).T, "o", color=colour, markersize=3.5, alpha=0.6)
    style_axes(ax, "KL, nats per phrase")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_ylabel(quantity, fontsize=9, color=INK)
    add_legend(ax, loc="upper left", bbox_to_anchor=(1.01, 1))  # outside, where it cannot hide a curve
    return page


def plot_overlaps(overlaps: Mapping[str, Mapping[str, float]], reference: Mapping[str, float]) -> Figure:
    """How much the features of samples overlap with those of held-out music: a line a feature, a dot a prior.

    Args:
        overlaps: label -> feature -> overlapping area, between 0 and 1, see `SampleFigures`.
        reference: feature -> that of training music in place of samples, a grey line.
    """
    check(bool(reference), "reference", dict(reference), "one feature or more")
    page = Page(6.6, 0.6 + 0.22 * len(reference))
    ax = page.place_axes(1.7, 0.15, 3.2, 0.22 * len(reference))
    rows = np.arange(len(reference))[::-1]
    ax.vlines(list(reference.values()), rows - 0.4, rows + 0.4, color=GREY, linewidth=1.6, label="training music")
    marks = zip(OKABE_ITO.values(), itertools.cycle("osD^v"), strict=False)
    for (label, areas), (colour, mark) in zip(overlaps.items(), itertools.cycle(marks), strict=False):
        values = [areas.get(feature, math.nan) for feature in reference]
        ax.plot(values, rows, mark, color=colour, markersize=4.5, label=label)
    style_axes(ax, "overlapping area")
    ax.set_yticks(rows, [feature.replace("_", " ") for feature in reference])
    ax.set_xlim(0, 1)
    ax.grid(visible=True, axis="y", linewidth=0.4, color=GREY, alpha=0.4)
    add_legend(ax, loc="upper left", bbox_to_anchor=(1.01, 1))
    return page


def plot_scaling(seconds: Mapping[int, float]) -> Figure:
    """Training time per measure over the window's length, as a ratio to 16 measures (without 16: to the first entry).

    Args:
        seconds: measures per window -> seconds per measure.
    """
    page = Page(4.6, 2.7)
    ax = page.place_axes(0.6, 0.5, 3.8, 1.85)
    lengths = sorted(seconds)
    base = 16 if 16 in seconds else next(iter(seconds))
    ratios = [seconds[length] / seconds[base] for length in lengths]
    style_axes(ax, "measures in a window")
    ax.margins(x=0.05)
    ax.plot(lengths, ratios, "o-", color=OKABE_ITO["blue"], linewidth=1.6)
    ax.axhline(_MAX_COST, color=_RED, linewidth=1, linestyle="--")
    right, aim = ax.get_yaxis_transform(), f"aim: at most {_MAX_COST}"
    ax.text(0.99, _MAX_COST + 0.02, aim, fontsize=8, color=_RED, ha="right", va="bottom", transform=right)
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(length) for length in lengths])
    ax.set_ylim(0, max(1.6, 1.1 * max(ratios)))
    ax.set_title(f"training time per measure, {base} measures = 1", fontsize=9.5, color=INK, loc="left")
    return page


def kl_per_level(rows: Sequence[Mapping[str, Any]]) -> Series:
    """KL of training batches, nats per window: level -> (steps, KL), coarse to fine, only levels that have rows."""
    series = _to_series(rows)
    return {level: series[name] for level, name in _LEVEL_KL.items() if name in series}


def kl_per_dim(rows: Sequence[Mapping[str, Any]], step: int | None = None) -> dict[str, dict[str, float]]:
    """KL of each dim on validation, nats per window: level -> dim -> KL.

    Args:
        rows: of metrics.jsonl.
        step: of the validation; the last if not given, or if there is none of this step.
    """
    own = [row for row in rows if any(".kl_per_dim." in name for name in row)]
    row = next((row for row in own if row["step"] == step), own[-1] if own else {})
    found: dict[str, dict[str, float]] = {}
    for name, value in row.items():
        if name.startswith(_VALIDATION) and ".kl_per_dim." in name:
            dim = name.rpartition(".")[2]
            found.setdefault(dim.partition("/")[0], {})[dim] = float(value)
    return found


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average, float[step] -> float[step]. Near the ends the window contains fewer values."""
    kernel = np.ones(min(max(width, 1), len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _to_series(rows: Sequence[Mapping[str, Any]]) -> Series:
    """The finite numbers of all rows, by name."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, []).append((row["step"], value))
    return {name: (np.array(pairs, float)[:, 0], np.array(pairs, float)[:, 1]) for name, pairs in points.items()}


def _draw_metrics(ax: Axes, series: Series, smoothing: float) -> None:
    settled = []
    for (name, (steps, values)), colour in zip(series.items(), OKABE_ITO.values(), strict=False):
        label = name.removeprefix(_VALIDATION).replace("_", " ")
        if name.startswith(_VALIDATION):
            label += " (validation)" * (len(series) > 1)
            ax.plot(steps, values, "o-", color=colour, markersize=4, linewidth=1.2, zorder=3, label=label)
        else:
            width = 1 if name in _EXACT else int(smoothing * len(values))
            ax.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
            ax.plot(steps, smooth(values, width), color=colour, linewidth=1.6, label=label)
        settled.append(values if name in _EXACT else values[int(len(values) * _SKIPPED) :])
    low = min(float(values.min()) for _, values in series.values())
    high = float(np.quantile(np.concatenate(settled), 0.995))
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 0.1
    ax.set_ylim(low - pad, high + pad)
    if len(series) > 1:
        add_legend(ax)
    style_axes(ax)
