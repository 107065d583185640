"""The runs of an ablation as a queue that several processes can work on.

A run with a row is done. A run that was stopped is resumed from its workdir.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from musicvae_jax.config import UserError, to_json
from musicvae_jax.config.checks import check
from musicvae_jax.evaluation.ablation_table import make_table
from musicvae_jax.evaluation.ablations import (
    Ablation,
    Row,
    Run,
    changes,
    find_rows,
    make_row,
    plan,
    read_rows,
    recipe_of,
)
from musicvae_jax.evaluation.evaluate import evaluate
from musicvae_jax.evaluation.figures import write_evaluation
from musicvae_jax.evaluation.information_flow import information_flow
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.prior_distance import prior_figures
from musicvae_jax.evaluation.prior_fitting import fit_main
from musicvae_jax.evaluation.samples import sample_figures
from musicvae_jax.figures import flatten, without_nan
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics, train_seconds
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.workdir import read_config, write_text

SPLIT = "validation"  # what decisions are made on
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Queue:
    """The runs of an ablation, and the folders of runs and results."""

    name: str
    ablation: Ablation
    root: Path  # workdirs: ROOT/NAME/VARIANT-seedN
    results: Path  # RESULTS/NAME.jsonl: a row per finished run; RESULTS/NAME.md: the table
    data_dir: str = ""

    @property
    def runs(self) -> list[Run]:
        return plan(self.name, self.ablation, self.data_dir)

    @property
    def table(self) -> Path:
        return self.results / f"{self.name}.md"

    def workdir(self, run: Run) -> Path:
        return self.root / self.name / run.name

    def done(self, runs: Sequence[Run]) -> dict[str, Row]:
        """Which of the runs have a row: name -> row."""
        return find_rows(runs, read_rows(self.results / f"{self.name}.jsonl"))

    def describe(self) -> str:
        """The plan, one line per run: index, name, steps, and how far it is."""
        runs, lines = self.runs, []
        done = self.done(runs)
        for index, run in enumerate(runs):
            begun = f"begun, {self._progress(run)}" if self.workdir(run).exists() else "planned"
            state = "done" if run.name in done else begun
            lines.append(f"{index:4}  {run.name:<32} {run.config.train.num_steps:6} steps  {state}")
        return "\n".join([*lines, f"{len(done)} of {len(runs)} runs done"])

    def work(self, *, index: int | None = None, say: Say = print) -> dict[str, str]:
        """Trains and evaluates the runs that are not done; after each, appends its row and rewrites the table.

        Args:
            index: only this run of the plan, from 0.
            say: takes a line per run.

        Returns:
            Name of a run -> how it ended: "done", "failed: ..." or "left: ..."; nothing follows a run that was stopped.

        Raises:
            UserError: no run has that index.
        """
        runs, last = self.runs, len(self.runs) - 1
        check(index is None or 0 <= index <= last, "index", index, f"0 to {last}, the runs of {self.name!r}")
        done, endings = self.done(runs), dict[str, str]()
        for number, run in enumerate(runs):
            if run.name in done or index not in (None, number):
                continue
            with self.lock(run) as held:
                if self.done([run]):  # another process finished it in the meantime
                    continue
                endings[run.name] = self._make(run) if held else "left: another process has it"
            say(f"{number} {run.name} {endings[run.name]}")
            if endings[run.name].startswith("left: stopped"):
                break
        self.record()
        return endings

    def _make(self, run: Run) -> str:
        """Trains and evaluates a run, appends its row, and says how it ended."""
        try:
            workdir = self.prepare(run)
            if not train(run.config, workdir).finished:
                return f"left: stopped at {self._progress(run)}, the same command resumes it"
            if run.config.prior.base != "none":
                fit_main(workdir, "latest")
            self.record(measure(run, workdir))
        except (UserError, RuntimeError) as error:  # JAX raises RuntimeErrors, such as one for memory that is full
            return f"failed: {error}"
        finally:
            jax.clear_caches()  # the next run compiles its own programs
        return "done"

    def prepare(self, run: Run) -> Path:
        """The workdir of a run, with its config: the data and the devices may have changed since it was begun.

        Raises:
            UserError: the folder is of another recipe or seed.
        """
        workdir = self.workdir(run)
        if (workdir / "config.json").exists():
            there = read_config(workdir)
            recipes = [recipe_of(config) | {"train.seed": config.train.seed} for config in (there, run.config)]
            if changed := changes(*recipes):
                listed = ", ".join(f"{name} was {before!r}, is {now!r}" for name, (before, now) in changed.items())
                raise UserError(f"{workdir} is of another run: {listed}; move it away, or name another --root")
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "config.json", to_json(run.config))
        return workdir

    @contextlib.contextmanager
    def lock(self, run: Run) -> Iterator[bool]:
        """Holds the lock of a run, which ends with the process; False if another process holds it."""
        path = self.workdir(run).with_name(f".{run.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            held = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = False
            yield held

    def record(self, row: Row | None = None) -> None:
        """Appends a row, if given, and writes the table anew; other processes wait."""
        self.results.mkdir(parents=True, exist_ok=True)
        rows = self.results / f"{self.name}.jsonl"
        with open(rows, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if row is not None:
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                is_whole = file.read(1) in (b"", b"\n")  # not so after half a line of a killed process
                file.write((b"" if is_whole else b"\n") + json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            write_text(self.table, make_table(self.name, self.ablation, read_rows(rows)))

    def _progress(self, run: Run) -> str:
        path = self.workdir(run) / "metrics.jsonl"
        rows = read_metrics(path) if path.exists() else []
        return f"step {rows[-1]['step'] if rows else 0} of {run.config.train.num_steps}"


def measure(run: Run, workdir: Path) -> Row:
    """Evaluates the last checkpoint of a finished training, writes its evaluation, and returns the row."""
    vae, settings, devices = load_workdir(workdir, "latest"), run.recipe, make_parallel(run.config.train).mesh.devices
    draws, windows = settings.get("evaluation.iwae_draws", 0), settings["evaluation.num_examples"]
    evaluation = evaluate(vae, SPLIT, num_examples=windows, iwae_draws=draws)
    if windows := settings["evaluation.flow_windows"]:
        flow = information_flow(vae, SPLIT, num_windows=windows, num_probed=4 * windows)
        evaluation = dataclasses.replace(evaluation, flow=flow)
    if windows := settings.get("evaluation.samples", 0):
        evaluation = dataclasses.replace(
            evaluation,
            priors=prior_figures(vae, SPLIT, num_windows=windows),
            samples=sample_figures(vae, SPLIT, num_windows=windows),
        )
    evaluation = dataclasses.replace(
        evaluation,
        prior=vae.prior,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(vae.variables["params"])),
        train_seconds=train_seconds(workdir / "metrics.jsonl"),
        devices=f"{devices.size} {devices.flat[0].device_kind} device{'s' * (devices.size > 1)}",
    )
    write_evaluation(workdir, evaluation)
    return make_row(run, without_nan(flatten(evaluation)))
