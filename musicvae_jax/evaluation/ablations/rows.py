"""The results of an ablation on disk: one JSON object per line and finished run, only ever appended."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from musicvae_jax.evaluation.ablations.definition import Run, changes

Row = dict[str, Any]  # ablation, variant, seed, recipe, and the figures of evaluation.json


class Found(NamedTuple):
    """Rows, held against a plan."""

    done: dict[str, Row]  # run's name -> its row, the newest of several
    others: dict[str, dict[str, tuple[Any, Any]]]  # run's name -> how the recipe of a row that does not count differs


def make_row(run: Run, figures: dict[str, Any]) -> Row:
    """The row of a finished run: its figures, without those of single dims."""
    figures = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    head = {"ablation": run.ablation, "variant": run.variant, "seed": run.seed}
    return {**head, **{name: _short(value) for name, value in figures.items()}, "recipe": run.recipe}


def _short(value: Any) -> Any:
    """A number to six digits: more than seeds leave certain, and less to store."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def append_row(path: Path, row: Row) -> None:
    """Appends a row, whole or not at all as far as a reader can see; several processes may append at once.

    Half a line that a killed process left behind stays a line of its own, which `read_rows` skips.
    """
    with locked(path) as file:
        line = json.dumps(row).encode() + b"\n"
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """A results file, open at its end, whose lock no other process has; it is made if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield file


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file, none if there is no file; lines that are no JSON object are skipped."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:  # half a line, or half a character
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def find_rows(runs: Sequence[Run], rows: Sequence[Row]) -> Found:
    """Which runs have a row of their own recipe; a row counts wherever it was made."""
    found = Found({}, {})
    for run in runs:
        for row in rows:
            if (row.get("variant"), row.get("seed")) != (run.variant, run.seed):
                continue
            changed = changes(row.get("recipe", {}), run.recipe)
            if changed:
                found.others[run.name] = changed
            else:
                found.done[run.name] = row
    return found
