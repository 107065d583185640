"""Training curves from a run's metrics.jsonl."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from musicvae_jax.analysis.figures import INK, OKABE_ITO, Page, tidy
from musicvae_jax.config import UserError
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.types import LEVELS

_COLUMNS, _WIDTH, _HEIGHT = 3, 3.1, 1.9  # panels in a row; inches of a panel's frame
_SCHEDULES = (*(f"beta_{level}" for level in LEVELS), "learning_rate")
_SKIPPED = 0.05  # share of the steps at the start that does not set the scale: the first losses dwarf the rest

# title, unit, names of metrics in it; names that a run does not have are left out, and so are empty panels
_PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("loss", "nats per window", ("loss",)),
    ("nll", "nats per window", ("nll", "validation_nll")),
    ("KL", "nats per window", ("kl", "validation_kl", *(f"kl_{level}" for level in LEVELS))),
    ("perplexity per token (validation)", "", ("validation_perplexity", "validation_perplexity_elbo")),
    ("KL per phrase (validation)", "nats", ("validation_kl_per_phrase",)),
    ("beta", "", tuple(f"beta_{level}" for level in LEVELS)),
    ("learning rate", "", ("learning_rate",)),
    ("gradient norm", "", ("grad_norm",)),
    ("speed", "tokens per second", ("tokens_per_second",)),
)


def plot_training_curves(
    metrics: str | os.PathLike[str], path: str | os.PathLike[str], *, smoothing: float = 0.02
) -> None:
    """Draws loss, its parts, the schedules and the speed over steps.

    Training numbers are faint as measured and strong when smoothed; validation numbers are dots.

    Args:
        metrics: a metrics.jsonl; rows of ``{"step": ..., name: number, ...}``.
        path: of the PNG.
        smoothing: width of the moving average as a share of the rows; 0 for none.

    Raises:
        UserError: if the file has no row.
        ValueError: if smoothing is negative.
    """
    if smoothing < 0:
        raise ValueError(f"smoothing = {smoothing}: allowed is 0 or more")
    series = _series(read_metrics(Path(metrics)))
    panels = [panel for panel in _PANELS if any(name in series for name in panel[2])]
    if not panels:
        raise UserError(f"{metrics} has no rows to draw; the first is written some steps into the training")
    rows = -(-len(panels) // _COLUMNS)
    page = Page(_COLUMNS * (_WIDTH + 0.75) + 0.1, rows * (_HEIGHT + 0.8) + 0.1)
    for number, (title, unit, names) in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        ax = page.axes(0.7 + column * (_WIDTH + 0.75), 0.35 + row * (_HEIGHT + 0.8), _WIDTH, _HEIGHT)
        _draw_panel(ax, {name: series[name] for name in names if name in series}, smoothing)
        ax.set_title(f"{title}, {unit}" if unit else title, fontsize=9.5, color=INK, loc="left")
    page.save(path)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average, float[step] -> float[step]; at the ends it is over what there is."""
    kernel = np.ones(min(max(width, 1), len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _series(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (steps, values), finite values only."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, []).append((row["step"], value))
    levels = [f"kl_{level}" for level in LEVELS if f"kl_{level}" in points]
    if len(levels) == 1:  # the only level's KL is the KL
        del points[levels[0]]
    return {name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in points.items()}


def _draw_panel(ax: Axes, series: dict[str, tuple[np.ndarray, np.ndarray]], smoothing: float) -> None:
    settled = []
    for (name, (steps, values)), colour in zip(series.items(), OKABE_ITO.values(), strict=False):
        if name.startswith("validation_"):
            label = name.removeprefix("validation_").replace("_", " ") + " (validation)" * (len(series) > 1)
            ax.plot(steps, values, "o-", color=colour, markersize=4, linewidth=1.2, zorder=3, label=label)
        else:
            width = 1 if name in _SCHEDULES else int(smoothing * len(values))
            ax.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
            ax.plot(steps, smooth(values, width), color=colour, linewidth=1.6, label=name.replace("_", " "))
        settled.append(values if name in _SCHEDULES else values[int(len(values) * _SKIPPED) :])
    low = min(float(values.min()) for _, values in series.values())
    high = float(np.quantile(np.concatenate(settled), 0.995))
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 0.1
    ax.set_ylim(low - pad, high + pad)
    if len(series) > 1:
        ax.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4)
    tidy(ax)
