"""Where an ablation's runs and results lie, and how far they have come."""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from musicvae_jax.config import UserError, to_json
from musicvae_jax.evaluation.ablations.definition import Ablation, Run, changes, plan, what_matters
from musicvae_jax.evaluation.ablations.rows import Found, find_rows, locked, read_rows
from musicvae_jax.evaluation.ablations.table import describe_change, make_table
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config, write_text


@dataclasses.dataclass(frozen=True)
class Places:
    """The folders of an ablation.

    Attributes:
        name: of the ablation.
        root: ROOT/NAME/VARIANT-seedN is a run's folder.
        results: RESULTS/NAME.jsonl has a row per finished run, RESULTS/NAME.md is the table.
        data_dir: where prepared data sets live; the variants' own choice if empty.
    """

    name: str
    root: Path
    results: Path
    data_dir: str = ""

    @property
    def rows(self) -> Path:
        return self.results / f"{self.name}.jsonl"

    @property
    def table(self) -> Path:
        return self.results / f"{self.name}.md"

    def plan(self, ablation: Ablation) -> list[Run]:
        """All runs, in order."""
        return plan(self.name, ablation, self.data_dir)

    def find(self, runs: list[Run]) -> Found:
        """What the results file says of runs."""
        return find_rows(runs, read_rows(self.rows))

    def workdir(self, run: Run) -> Path:
        """A run's folder."""
        return self.root / self.name / run.name

    def open(self, run: Run, say: Callable[[str], None] = print) -> Path:
        """Makes a run's folder, or takes the one that is there; one that is of another run is put aside.

        Where data lie, how often a run reports and the like make no other run: they are as of now, see `what_matters`.

        Args:
            run: what is to be made.
            say: takes a line if a folder is put aside.
        """
        workdir = self.workdir(run)
        if strange := _strangeness(workdir, run):
            names = (workdir.with_name(f"{workdir.name}.old{number}") for number in range(1, 1000))
            aside = next(name for name in names if not name.exists())
            workdir.rename(aside)
            say(f"{workdir} is of another run, and now {aside.name}: {strange}")
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "config.json", to_json(run.config))
        return workdir

    @contextlib.contextmanager
    def lock(self, run: Run) -> Iterator[int | None]:
        """A file descriptor that holds the lock of a run's folder, None if another process has it.

        The process that trains inherits it: if this one is killed and the other lives on, nobody else writes there.
        """
        workdir = self.workdir(run)
        workdir.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workdir.with_name(f".{workdir.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        held: int | None = descriptor
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = None
            yield held  # outside: a fork that fails in the block is a BlockingIOError, too
        finally:
            os.close(descriptor)

    def progress(self, run: Run) -> str:
        """How far a run's folder has come."""
        path = self.workdir(run) / "metrics.jsonl"
        rows = read_metrics(path) if path.exists() else []
        return f"step {rows[-1]['step'] if rows else 0} of {run.config.train.num_steps}"

    def write_table(self, ablation: Ablation) -> Path:
        """Writes the table of what is there; no other process writes an older one over it."""
        with locked(self.rows):
            write_text(self.table, make_table(self.name, ablation, read_rows(self.rows)))
        return self.table

    def describe(self, ablation: Ablation) -> str:
        """The plan, a line per run: its index, its name, and what there is of it."""
        runs = self.plan(ablation)
        found = self.find(runs)
        lines = []
        for index, run in enumerate(runs):
            said = "done" if run.name in found.done else "planned"
            if run.name not in found.done and self.workdir(run).exists():
                said = f"begun, {self.progress(run)}"
            if run.name not in found.done and run.name in found.others:
                said += f"; a row of another config does not count: {describe_change(found.others[run.name])}"
            lines.append(f"{index:4}  {run.name:<32} {run.config.train.num_steps:6} steps  {said}")
        return "\n".join([*lines, f"{len(found.done)} of {len(runs)} runs done"])


def _strangeness(workdir: Path, run: Run) -> str:
    """Why a folder cannot serve a run, empty if it can."""
    if not workdir.exists() or (workdir.is_dir() and not (workdir / "config.json").exists()):
        return ""
    try:
        there = read_config(workdir)
    except UserError as error:  # a file, or a config that this version does not know
        return str(error)
    changed = changes(what_matters(there), what_matters(run.config))
    if there.train.seed != run.seed:
        changed["train.seed"] = (there.train.seed, run.seed)
    return describe_change(changed)
