"""The Markdown table of an ablation: one row per variant, mean and standard error over seeds."""

import fnmatch
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from musicvae_jax.evaluation.ablations import Ablation, Row, find_rows, plan


def make_table(name: str, ablation: Ablation, rows: Sequence[Row]) -> str:
    """The results so far, as a Markdown page; rows of other recipes are left out."""
    runs = plan(name, ablation)
    found = find_rows(runs, rows)
    headings = ["variant", "runs", "steps", "parameters", "minutes", *(column.heading for column in ablation.columns)]
    table = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for variant, config in ablation.variants.items():
        own = [row for row in found.values() if row["variant"] == variant]
        cells = [variant, f"{len(own)}/{len(ablation.seeds)}", f"{config.train.num_steps:,}"]
        cells.append(mean_and_error([row["parameters"] / 1e6 for row in own], ".2f", " M"))
        cells.append(mean_and_error([row["train_seconds"] / 60 for row in own], ".1f"))
        cells += [mean_and_error(_numbers(own, column.key), column.format) for column in ablation.columns]
        table.append(cells)
    parts = [f"# Ablation `{name}`", ablation.text, f"    python experiments/ablate.py {name}"]
    parts += [_setting(ablation, list(found.values())), "\n".join(f"| {' | '.join(cells)} |" for cells in table)]
    missing = [run.name for run in runs if run.name not in found]
    parts += [f"Not done yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join(parts) + "\n"


def mean_and_error(values: Sequence[float], form: str, unit: str = "") -> str:
    """Mean ± standard error, sample std / sqrt(number); no error for one value or equal values."""
    if not values:
        return ""
    mean = format(float(np.mean(values)), form) + unit
    if len(set(values)) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / math.sqrt(len(values)):{form}}"


def _numbers(rows: Sequence[Row], key: str) -> list[float]:
    """The figure of every row that has it; with ``*`` in its name the mean over the figures that fit."""
    found = []
    for row in rows:
        values = [row[name] for name in fnmatch.filter(row, key)]
        known = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
        if known:
            found.append(float(np.mean(known)))
    return found


def _setting(ablation: Ablation, done: Sequence[Row]) -> str:
    """What a run costs, and on what its figures are measured."""
    configs = ablation.variants.values()
    steps = _range(config.train.num_steps for config in configs)
    said = f"A run: {steps} steps of {_range(config.train.batch_size for config in configs)} windows"
    for devices in sorted({row["devices"] for row in done}):
        minutes = (round(row["train_seconds"] / 60, 1) for row in done if row["devices"] == devices)
        said += f"; {_range(minutes)} minutes of training steps on {devices}"
    said += ". Figures of the last step's checkpoint"
    if done:
        splits = " and ".join(repr(split) for split in sorted({row["split"] for row in done}))
        said += f" on {_range(row['num_examples'] for row in done)} windows of {splits}"
    decoded = [row for row in done if "flow.windows" in row]
    if decoded and any(".r2" in column.key for column in ablation.columns):
        windows, draws = (_range(row[f"flow.{what}"] for row in decoded) for what in ("windows", "draws"))
        said += f", R2 on {windows} windows, decoded {draws} times"
    seeds = ", ".join(map(str, ablation.seeds))
    return f"{said}: mean ± standard error over seeds ({seeds}); `runs` is done/planned."


def _range(values: Iterable[Any]) -> str:
    low, *_, high = sorted([*values] * 2)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
