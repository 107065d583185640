"""A run in a process of its own: it is told to stop, and never left behind; a shell program stands in for Python."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from musicvae_jax.evaluation.ablations.definition import Run
from musicvae_jax.evaluation.ablations.queue import RunError, run_in_process
from tests.tiny import CONFIG

RUN = Run("size", "plain", 0, CONFIG, None, 0)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program in Python's place, that says when it is ready and what it is told: (its text) -> its log."""
    log = tmp_path / "log.txt"

    def stand_in_(text: str) -> Path:
        log.unlink(missing_ok=True)
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return log

    return stand_in_


PATIENT = "trap 'kill $!; echo saved; exit 143' TERM; echo ready; sleep 60 & wait"


def test_a_run_whose_time_is_up_is_told_to_stop(stand_in, tmp_path) -> None:
    log = stand_in(PATIENT)
    begun = time.monotonic()
    assert not run_in_process(RUN, tmp_path, 2, 2.0)
    assert 2 <= time.monotonic() - begun < 40 and "saved" in log.read_text()
    for status, end in ((0, True), (143, False)):
        stand_in(f"exit {status}")
        assert run_in_process(RUN, tmp_path, 2, None) is end
    stand_in("echo why; exit 3")
    with pytest.raises(RunError, match=r"(?s)exit status 3; .*log.txt ends with.*why"):
        run_in_process(RUN, tmp_path, 2, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_before_this_process(stand_in, tmp_path, number) -> None:
    log = stand_in(PATIENT)
    before = signal.getsignal(number)

    def send() -> None:
        while not (log.exists() and "ready" in log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    with pytest.raises(SystemExit) as stop:
        run_in_process(RUN, tmp_path, 2, None)
    thread.join()
    assert stop.value.code == 128 + number and "saved" in log.read_text()
    assert signal.getsignal(number) is before
