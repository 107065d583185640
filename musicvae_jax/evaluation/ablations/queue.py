"""The runs of an ablation, one after the other: what is done is skipped, what was stopped goes on."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from musicvae_jax.config import UserError
from musicvae_jax.evaluation.ablations.definition import Ablation, Run
from musicvae_jax.evaluation.ablations.places import Places
from musicvae_jax.evaluation.ablations.rows import Row, append_row, make_row
from musicvae_jax.evaluation.ablations.table import describe_change
from musicvae_jax.objectives.controller import check_set_points

Execute = Callable[[Run, Path, int, float | None], bool]  # see `run_in_process`
_STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)  # it noticed the signal, or it came too early or late to be noticed


class RunError(UserError):
    """A run ended with an error; the message has the last lines that it said."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `run_all` ended: names of runs."""

    done: list[str]
    failed: list[str]
    left: list[str]  # not begun, stopped, or in the hands of another process


def run_all(
    ablation: Ablation,
    places: Places,
    *,
    index: int | None = None,
    budget_minutes: float | None = None,
    execute: Execute | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Makes the planned runs that have no row yet; a row is appended and the table rewritten after each.

    Args:
        ablation: what to run.
        places: where.
        index: make only this one of the planned runs, counted from 0.
        budget_minutes: stop after this time, the run of that moment too; the next call goes on with it.
        execute: how a run is made; `run_in_process` if not given.
        say: takes a line per run.

    Raises:
        UserError: there is no run of that index, a budget of no time, or a variant whose set point nothing reaches.
    """
    runs = places.plan(ablation)
    if index is not None and not 0 <= index < len(runs):
        raise UserError(f"index = {index}: allowed is 0 to {len(runs) - 1}, the runs of {places.name!r}")
    if budget_minutes is not None and budget_minutes <= 0:
        raise UserError(f"budget_minutes = {budget_minutes}: allowed is a number above 0")
    for run in runs:
        check_set_points(run.config)
    start = time.monotonic()
    outcome, took = Outcome([], [], []), []
    there = places.find(runs).done
    chosen = [run for run in (runs if index is None else [runs[index]]) if run.name not in there]
    for number, run in enumerate(chosen):
        label = f"{runs.index(run)} {run.name}"
        begun = time.monotonic()
        seconds = None if budget_minutes is None else 60 * budget_minutes - (begun - start)
        if seconds is not None and seconds <= 0:
            outcome.left.append(run.name)
            continue
        with places.lock(run) as lock:
            found = places.find([run])  # while others ran, another process may have made it
            if run.name in found.done:
                continue
            if lock is None:
                say(f"{label}: in the hands of another process")
                outcome.left.append(run.name)
                continue
            if run.name in found.others:
                say(f"{label}: a row of another config does not count: {describe_change(found.others[run.name])}")
            try:
                row = _make(run, places, lock, seconds, execute or run_in_process, say)
            except RunError as error:
                say(f"{label}: failed with {error}")
                outcome.failed.append(run.name)
                continue
        if row is None:
            say(f"{label}: stopped at {places.progress(run)}; the same command goes on with it")
            outcome.left.append(run.name)
            continue
        took.append((time.monotonic() - begun) / 60)
        outcome.done.append(run.name)
        places.write_table(ablation)
        waiting = len(chosen) - number - 1
        later = f"; {waiting} left, about {waiting * sum(took) / len(took):.0f} min" if waiting else ""
        say(f"{label}: {_figures(ablation, row)} in {took[-1]:.1f} min{later}")
    places.write_table(ablation)
    return outcome


def run_in_process(run: Run, workdir: Path, lock: int, seconds: float | None) -> bool:
    """Trains and evaluates in a fresh process, which says what it says in WORKDIR/log.txt.

    However this function ends, the process has ended too: told to stop, a training saves its state first.

    Args:
        run: what to make.
        workdir: its folder, with its config.json.
        lock: a file descriptor for the process to inherit; see `Places.lock`.
        seconds: after which it is told to stop; None for never.

    Returns:
        Whether it came to its end; if not, the same call goes on.

    Raises:
        RunError: it failed.
    """
    command = [sys.executable, "-m", "musicvae_jax.evaluation.ablations.run", str(workdir)]
    command += ["--num-examples", str(run.num_examples), "--flow-windows", str(run.flow_windows)]
    with open(workdir / "log.txt", "ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=(lock,)
        )
        try:
            with _signals_as_exceptions():
                status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if status and status not in _STOPPED:
        lines = (workdir / "log.txt").read_text(errors="replace").replace("\r", "\n").splitlines()
        raise RunError("\n  ".join([f"exit status {status}; {workdir / 'log.txt'} ends with", *lines[-5:]]))
    return status == 0


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise SystemExit, so that who waits can tidy up before this process ends."""

    def leave(number: int, _: Any) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make(
    run: Run, places: Places, lock: int, seconds: float | None, execute: Execute, say: Callable[[str], None]
) -> Row | None:
    """Makes a run in its folder and appends its row; None if it was stopped."""
    workdir = places.open(run, say)
    if not execute(run, workdir, lock, seconds):
        return None
    row = make_row(run, json.loads((workdir / "evaluation.json").read_text()))
    append_row(places.rows, row)
    return row


def _figures(ablation: Ablation, row: Row) -> str:
    """The first figures of the table, in a line."""
    columns = [column for column in ablation.columns if row.get(column.key) is not None]
    return ", ".join(f"{column.heading} {row[column.key]:{column.format}}" for column in columns[:4])
