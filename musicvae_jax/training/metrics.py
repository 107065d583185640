"""The metrics of a run on disk."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any, TextIO

from musicvae_jax.files import naming
from musicvae_jax.training.workdir import WorkdirError, write_text


class MetricWriter:
    """Appends rows to ``metrics.jsonl``, and to TensorBoard if that is installed.

    A run that resumes deletes the rows of later steps, which a killed process may have written.
    """

    def __init__(self, workdir: Path, resume_step: int = 0):
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            kept = [row for row in read_metrics(self.path) if row["step"] <= resume_step]
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file: TextIO = open(self.path, "a", buffering=1)  # noqa: SIM115 - closed by close()
        self._board = None
        if importlib.util.find_spec("tensorboard"):
            from tensorboard.summary import Writer  # optional, and slow to import

            self._board = Writer(str(workdir / "tensorboard"))

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends a row: the step and its numbers. An `OSError`, as of a full disk, names the file."""
        with naming(self.path):
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        with naming(self.path):
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a last line that a killed process left incomplete.

    Raises:
        WorkdirError: another line is no row.
    """
    rows, lines = [], Path(path).read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            for value in row.values():
                math.isfinite(value)  # it is a number, of a size that a float can hold
            rows.append({**row, "step": int(row["step"])})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            if number < len(lines):
                detail = f"{line[:40]!r}; allowed: an object with a step and numbers"
                raise WorkdirError(f"{path}, line {number}: {detail}") from None
    return rows


def train_seconds(path: Path) -> float:
    """Seconds in training steps, over all parts of a run, without compilation, evaluation and checkpoints."""
    rows = [row for row in read_metrics(path) if "step_seconds" in row]
    steps = [0, *(row["step"] for row in rows)]
    return sum(row["step_seconds"] * (row["step"] - before) for row, before in zip(rows, steps, strict=False))
