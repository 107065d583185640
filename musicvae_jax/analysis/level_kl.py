"""What the latent levels carry over training, for several runs side by side."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from musicvae_jax.analysis.curves import smooth
from musicvae_jax.analysis.figures import GREY, INK, OKABE_ITO, Page, tidy
from musicvae_jax.config import UserError
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.types import LEVELS

_WIDTH, _HEIGHT = 3.6, 2.4  # inches of a panel's frame
_FLOOR = 0.01  # nats; below this a level is empty, however little it carries
_COLOURS = dict(zip(LEVELS, (OKABE_ITO["blue"], OKABE_ITO["orange"], OKABE_ITO["green"]), strict=True))


def plot_level_kl(
    runs: Mapping[str, str | os.PathLike[str]], path: str | os.PathLike[str], *, smoothing: float = 0.05
) -> None:
    """Draws the KL of every level over steps, in nats per window, on a logarithmic axis that all runs share.

    Faint as measured on training batches, strong when smoothed. Below the dotted line, 1 nat, a level counts as dead.

    Args:
        runs: label -> the run's metrics.jsonl.
        path: of the PNG.
        smoothing: width of the moving average as a share of the rows; 0 for none.

    Raises:
        UserError: if there are no runs, a file is missing or has no row of a level's KL.
        ValueError: if smoothing is negative.
    """
    if smoothing < 0:
        raise ValueError(f"smoothing = {smoothing}: allowed is 0 or more")
    if not runs:
        raise UserError("no runs to draw: allowed is one or more")
    series = {label: level_series(metrics) for label, metrics in runs.items()}
    values = np.concatenate([kl for levels in series.values() for _, kl in levels.values()])
    last = max(float(steps[-1]) for levels in series.values() for steps, _ in levels.values())
    page = Page(0.65 + len(series) * (_WIDTH + 0.25), _HEIGHT + 0.85)
    for number, (label, levels) in enumerate(series.items()):
        ax = page.axes(0.65 + number * (_WIDTH + 0.25), 0.35, _WIDTH, _HEIGHT)
        _draw(ax, levels, smoothing)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.set_ylim(max(0.7 * float(values.min()), _FLOOR), 1.4 * float(values.max()))
        ax.set_xlim(0, last)
        ax.set_title(label, fontsize=9.5, color=INK, loc="left", parse_math=False)
        if number:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel("KL, nats per window", fontsize=9, color=INK)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=1.4, loc="lower right")
    page.save(path)


def level_series(metrics: str | os.PathLike[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """level -> (steps, KL in nats per window), from the rows of training batches, coarse to fine.

    Raises:
        UserError: if the file is missing or has no such row.
    """
    if not Path(metrics).is_file():
        raise UserError(f"{metrics} is missing: allowed is the metrics.jsonl of a run")
    rows = read_metrics(Path(metrics))
    series = {}
    for level in LEVELS:
        points = [(row["step"], row[f"kl_{level}"]) for row in rows if f"kl_{level}" in row]
        if points:
            steps, kl = np.array(points, float).T
            series[level] = (steps, kl)
    if not series:
        raise UserError(f"{metrics} has no rows to draw; the first is written some steps into the training")
    return series


def _draw(ax: Axes, levels: dict[str, tuple[np.ndarray, np.ndarray]], smoothing: float) -> None:
    for level, (steps, kl) in levels.items():
        shown = np.maximum(kl, _FLOOR / 10)
        # In the logarithm, as the axis shows it: a mean of the numbers would follow the largest.
        smoothed = np.exp(smooth(np.log(shown), int(smoothing * len(kl))))
        ax.plot(steps, shown, color=_COLOURS[level], linewidth=0.7, alpha=0.3)
        ax.plot(steps, smoothed, color=_COLOURS[level], linewidth=1.8, label=level)
    ax.axhline(1.0, color=GREY, linewidth=0.9, linestyle=":")
    tidy(ax)
