"""The scripts of experiments/, in a process of their own or in this one."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = ROOT / "experiments"
STEPS = 4


class Ended(NamedTuple):
    """How a script ended."""

    status: int
    out: str
    error: str

    @property
    def message(self) -> str:
        """What it said on standard error, without the lines of boxes."""
        return " ".join("".join(" " if c in "│─╭╮╰╯" else c for c in self.error).split())


def spawn(script: str, *args: object, cwd: Path | None = None) -> Ended:
    """A script in a process of its own, its lines wide enough that none is broken."""
    result = subprocess.run(
        [sys.executable, EXPERIMENTS / script, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return Ended(result.returncode, result.stdout, result.stderr)


@pytest.fixture
def call(monkeypatch, capsys):
    """A script in this process, which has JAX and its compiled functions at hand."""

    def call_(script: str, *args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [script, *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(EXPERIMENTS / script), run_name="__main__")
        out, error = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Ended(stop.value.code, out, error)

    return call_


def train_args(workdir: object, data_dir: str, **fields: object) -> list[str]:
    """Arguments of train.py for a run of a few steps on two measures."""
    settings: dict[str, object] = {
        "data.data_dir": data_dir,
        "data.measures": 2,
        "data.hop": 8,
        "model.dim": 16,
        "train.num_steps": STEPS,
        "train.batch_size": 8,
        "train.log_every": 2,
        "train.eval_every": 2,
        "train.eval_examples": 8,
    }
    settings |= {name.replace("__", "."): value for name, value in fields.items()}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["debug", "--workdir", str(workdir), *flags]
