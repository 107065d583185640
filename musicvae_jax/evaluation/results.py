"""The file of an evaluation: where it lies, and what JSON has no word for."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicvae_jax.config import UserError
from musicvae_jax.training.workdir import write_text


def evaluation_path(workdir: str | Path, split: str) -> Path:
    """``evaluation.json`` for the test split, ``evaluation.<split>.json`` for another: none takes another's place."""
    return Path(workdir) / ("evaluation.json" if split == "test" else f"evaluation.{split}.json")


def write_evaluation(workdir: str | Path, evaluation: Mapping[str, Any]) -> Path:
    """Writes the figures of a split to a run's folder, and says where."""
    path = evaluation_path(workdir, evaluation["split"])
    write_text(path, json.dumps(finite(evaluation), indent=2, allow_nan=False) + "\n")
    return path


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """The figures of such a file, wherever it lies.

    Raises:
        UserError: it is none.
    """
    try:
        evaluation = json.loads(Path(path).read_text())
    except ValueError:
        evaluation = None
    if not isinstance(evaluation, dict) or not {"split", "num_examples", "step"} <= set(evaluation):
        raise UserError(f"{path} is no evaluation: allowed is what experiments/evaluate.py writes")
    return evaluation


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """None in place of what is no number: windows that have no onset, or no attribute that varies, leave some open."""
    return {name: finite(value) if isinstance(value, Mapping) else _finite(value) for name, value in figures.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
