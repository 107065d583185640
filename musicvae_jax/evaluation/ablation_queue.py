"""The runs of an ablation as a queue that several processes can work on.

A run with a row is done. A run that was stopped is resumed from its workdir.
"""

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from musicvae_jax.config import UserError, to_json
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
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config, write_text

STOPPED = 128 + signal.SIGTERM  # exit status of a run that saved its state because it was told to stop
Say = Callable[[str], None]


class RunError(UserError):
    """A run failed; the message has the last lines of its log."""


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

    def work(
        self, *, index: int | None = None, budget_minutes: float | None = None, say: Say = print
    ) -> dict[str, str]:
        """Trains and evaluates the runs that are not done; after each, appends its row and rewrites the table.

        Args:
            index: only this run of the plan, from 0.
            budget_minutes: stop after this time, also within a run; the next call resumes it.
            say: takes a line per run.

        Returns:
            Name of a run -> how it ended: "done", "failed: ..." or "left: ...".

        Raises:
            UserError: no run has that index, or the budget is not above 0.
        """
        runs = self.runs
        if index is not None and not 0 <= index < len(runs):
            raise UserError(f"index = {index}: allowed is 0 to {len(runs) - 1}, the runs of {self.name!r}")
        if budget_minutes is not None and budget_minutes <= 0:
            raise UserError(f"budget_minutes = {budget_minutes}: allowed is a number above 0")
        end = None if budget_minutes is None else time.monotonic() + 60 * budget_minutes
        done, endings = self.done(runs), dict[str, str]()
        for number, run in enumerate(runs):
            if run.name in done or index not in (None, number):
                continue
            seconds = None if end is None else max(end - time.monotonic(), 0)
            if seconds == 0:
                endings[run.name] = "left: no time"
                continue
            with self.lock(run) as lock:
                if self.done([run]):  # another process finished it in the meantime
                    continue
                endings[run.name] = self._make(run, lock, seconds, say)
            say(f"{number} {run.name} {endings[run.name]}")
        self.record()
        return endings

    def _make(self, run: Run, lock: int | None, seconds: float | None, say: Say) -> str:
        """Trains and evaluates a run, appends its row, and says how it ended."""
        if lock is None:
            return "left: another process has it"
        workdir = self.prepare(run, say)
        try:
            if not run_in_process(run, workdir, lock, seconds):
                return f"left: stopped at {self._progress(run)}, the same command resumes it"
        except RunError as error:
            return f"failed: {error}"
        self.record(make_row(run, json.loads((workdir / "evaluation.json").read_text())))
        return "done"

    def prepare(self, run: Run, say: Say = print) -> Path:
        """The workdir of a run; a workdir of another recipe or seed is renamed, and ``say`` takes a line."""
        workdir = self.workdir(run)
        if reason := _mismatch(workdir, run):
            names = (workdir.with_name(f"{workdir.name}.old{number}") for number in itertools.count(1))
            aside = next(path for path in names if not path.exists())
            workdir.rename(aside)
            say(f"{workdir} is of another run, now {aside.name}: {reason}")
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "config.json", to_json(run.config))
        return workdir

    @contextlib.contextmanager
    def lock(self, run: Run) -> Iterator[int | None]:
        """Holds the lock of a run: its file descriptor, or None if another process has it.

        A process that inherits the descriptor holds the lock, too, should this one be killed.
        """
        path = self.workdir(run).with_name(f".{run.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            lock: int | None = file.fileno()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock = None
            yield lock

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


def run_in_process(run: Run, workdir: Path, lock: int, seconds: float | None) -> bool:
    """Trains and evaluates a run in a new process, whose memory and compiled code are its own.

    When this function ends, also by a signal or after so many seconds, that process has ended and saved its state.
    It inherits the lock, and what it prints is in WORKDIR/log.txt.

    Returns:
        False if it was stopped.

    Raises:
        RunError: it failed.
    """
    command = [sys.executable, "-m", "musicvae_jax.evaluation.ablation_run", str(workdir)]
    for name in ("num_examples", "flow_windows"):
        command += [f"--{name.replace('_', '-')}", str(run.recipe[f"evaluation.{name}"])]
    log = workdir / "log.txt"
    with _exit_on_signals(), open(log, "ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(lock,))
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if status in (STOPPED, -signal.SIGTERM):  # negative: the signal came before or after the training
        return False
    if status:
        last = log.read_text(errors="replace").replace("\r", "\n").splitlines()[-5:]
        raise RunError("\n  ".join([f"exit status {status}; {log} ends with", *last]))
    return True


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """SIGTERM and SIGINT raise SystemExit with status 128 + signal."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _mismatch(workdir: Path, run: Run) -> str:
    """Why a workdir cannot be that of a run; empty if it can."""
    if not workdir.exists() or (workdir.is_dir() and not (workdir / "config.json").exists()):
        return ""
    try:
        there = read_config(workdir)
    except UserError as error:  # a file, or a config with unknown fields
        return str(error)
    recipes = [recipe_of(config) | {"train.seed": config.train.seed} for config in (there, run.config)]
    return ", ".join(f"{name} was {before!r}, is {now!r}" for name, (before, now) in changes(*recipes).items())
