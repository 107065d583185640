"""The Markdown table of an ablation: mean and standard error over seeds, a row per variant."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from musicvae_jax.evaluation.ablations.definition import Ablation, plan
from musicvae_jax.evaluation.ablations.rows import Found, Row, find_rows

_MINUTE, _MILLION = 60, 1e6


def make_table(name: str, ablation: Ablation, rows: Sequence[Row]) -> str:
    """The results so far, as the text of a Markdown file.

    Args:
        name: of the ablation.
        ablation: what is planned.
        rows: what is there, rows of other configs too.
    """
    found = find_rows(plan(name, ablation), rows)
    headings = ["variant", "runs", "steps", "parameters", "minutes", *(column.heading for column in ablation.columns)]
    lines = [_line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
    for variant, config in ablation.variants.items():
        done = [found.done[f"{variant}-seed{seed}"] for seed in ablation.seeds if f"{variant}-seed{seed}" in found.done]
        cells = [variant, f"{len(done)}/{len(ablation.seeds)}", f"{config.train.num_steps:,}"]
        cells.append(mean_and_error([row["parameters"] / _MILLION for row in done], ".2f", " M"))
        cells.append(mean_and_error([row["train_seconds"] / _MINUTE for row in done], ".1f"))
        cells += [mean_and_error(_numbers(done, column.key), column.format) for column in ablation.columns]
        lines.append(_line(cells))
    parts = [f"# Ablation `{name}`", ablation.text, f"    python experiments/ablate.py {name}"]
    parts += [_budget(ablation, list(found.done.values())), "\n".join(lines), *_absent(name, ablation, found)]
    return "\n\n".join(parts) + "\n"


def mean_and_error(values: Sequence[float], form: str, unit: str = "") -> str:
    """Mean ± standard error over seeds: sample standard deviation / sqrt(number). One value has no error, none no text.

    Args:
        values: one per seed.
        form: a format, such as ``.3f``.
        unit: what follows the mean.
    """
    if not values:
        return ""
    mean = format(float(np.mean(values)), form) + unit
    if len(values) == 1:
        return mean
    error = format(float(np.std(values, ddof=1) / math.sqrt(len(values))), form)
    # Counts and sizes that all seeds share need no error.
    return mean if len(set(values)) == 1 else f"{mean} ± {error}"


def _numbers(rows: Sequence[Row], key: str) -> list[float]:
    """The finite values of a figure; rows that do not have it are left out."""
    values = [row.get(key) for row in rows]
    return [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _budget(ablation: Ablation, done: Sequence[Row]) -> str:
    """The paragraph that says what a run may use, and what its figures are."""
    steps = sorted({config.train.num_steps for config in ablation.variants.values()})
    batches = sorted({config.train.batch_size for config in ablation.variants.values()})
    said = f"A run: {_span(steps)} steps of {_span(batches)} windows"
    for devices in sorted({row["devices"] for row in done}):
        minutes = [row["train_seconds"] / _MINUTE for row in done if row["devices"] == devices]
        said += f"; {_span([round(min(minutes), 1), round(max(minutes), 1)])} minutes of training steps on {devices}"
    windows = sorted({row["num_examples"] for row in done})
    splits = sorted({row["split"] for row in done})
    where = f" on {_span(windows)} windows of {' and '.join(map(repr, splits))}" if done else ""
    decoded = [row for row in done if "flow_windows" in row]
    if decoded and any("_r2_" in column.key for column in ablation.columns):
        few, draws = (sorted({row[f"flow_{name}"] for row in decoded}) for name in ("windows", "draws"))
        where += f", R2 on {_span(few)} windows, decoded {_span(draws)} times"
    return (
        f"{said}. Figures of the last step's checkpoint{where}: mean ± standard error over "
        f"seeds ({', '.join(map(str, ablation.seeds))}); `runs` is done/planned."
    )


def _span(values: Sequence[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def describe_change(changed: dict[str, tuple[Any, Any]]) -> str:
    """How the config of a row that does not count differs from that of today: at most three fields."""
    said = ", ".join(f"{field} was {before!r}, is {after!r}" for field, (before, after) in list(changed.items())[:3])
    return f"{said}{', ...' if len(changed) > 3 else ''}"


def _absent(name: str, ablation: Ablation, found: Found) -> list[str]:
    """What the table lacks, run by run."""
    missing = [run.name for run in plan(name, ablation) if run.name not in found.done]
    stale = [f"{run} ({describe_change(found.others[run])})" for run in missing if run in found.others]
    said = (
        (missing, f"Not done yet: {', '.join(missing)}."),
        (stale, f"Rows of another config do not count: {'; '.join(stale)}."),
    )
    return [text for there, text in said if there]
