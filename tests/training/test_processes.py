"""Two real processes, joined by `train.py --distributed` on one host, train what one process trains."""

import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from musicvae_jax import evaluate, load_workdir
from musicvae_jax.config import UserError
from musicvae_jax.training.devices import join_processes
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config
from tests.scripts import EXPERIMENTS, ROOT, train_args
from tests.training.runs import load

# The script, then an evaluation if that is asked for.
WORKER = """
import os, runpy, signal, sys
from functools import partial
import jax
from musicvae_jax.training.checkpoint import Checkpoints
script, dies_after, patience, evaluates, workdir = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[7]
sys.argv[1:5] = []
jax.distributed.initialize = partial(jax.distributed.initialize, heartbeat_timeout_seconds=patience)
save = Checkpoints.save

def save_and_die(self, kind, step, *args):
    save(self, kind, step, *args)
    if step == dies_after:
        self.wait()
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
assert jax.process_count() == 2 and jax.device_count() == 4
from musicvae_jax import evaluate, load_workdir
vae = load_workdir(workdir)
print(evaluate(vae, "test", num_examples=16).nll if evaluates else vae.step)
"""
NEVER = -1


def start(args: list[str], port: int, rank: int, dies_after: int, patience: int, evaluates: bool) -> subprocess.Popen:
    """One of two processes with two devices each, which dies when the checkpoint of a step is saved.

    JAX waits so many seconds for a process that does not answer.
    """
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "host_platform_device_count" not in flag]
    own = {
        "PYTHONPATH": f"{ROOT}:{EXPERIMENTS}",
        "XLA_FLAGS": " ".join([*flags, "--xla_force_host_platform_device_count=2"]),
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(rank),
    }
    own_args = [str(EXPERIMENTS / "train.py"), str(dies_after), str(patience), str(int(evaluates))]
    command = [sys.executable, "-c", WORKER, *own_args, *args, "--distributed"]
    return subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(args: list[str], dies_after: int = NEVER, *, evaluates: bool) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of two processes, of which the second may die."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    patience = 100 if dies_after == NEVER else 10  # on a busy machine a process may be silent for ten seconds
    workers = [start(args, port, rank, dies, patience, evaluates) for rank, dies in enumerate((NEVER, dies_after))]
    ends = [worker.communicate(timeout=240) for worker in workers]
    return [(worker.returncode, *end) for worker, end in zip(workers, ends, strict=True)]


def arguments(workdir: Path, data_dir: str, mode: str) -> list[str]:
    steps = {"train__num_steps": 6, "train__eval_every": 3, "train__checkpoint_every": 3, "train__log_every": 1}
    fit = {"prior__base": "flow", "prior__num_steps": 4} if mode == "jit" else {}
    return train_args(workdir, data_dir, train__optimizer="sgd", train__parallel=mode, **steps, **fit)


@pytest.fixture
def one_process(call, folk_data_dir, tmp_path):
    """The folder of a run in one process."""
    assert jax.device_count() == 4
    assert call("train.py", *arguments(tmp_path / "one", folk_data_dir, "jit")).status == 0
    return tmp_path / "one"


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("mode", "dies_after", "evaluates"),
    [
        pytest.param("jit", NEVER, False, id="jit"),
        slow("pmap", NEVER, True, id="pmap"),
        slow("jit", 3, True, id="jit, one dies"),
    ],
)
def test_two_processes_equal_one(one_process, folk_data_dir, tmp_path, mode, dies_after, evaluates):
    """If one of the two dies, the other ends with an error, and the same commands continue the run."""
    workdir = tmp_path / "two"
    args = arguments(workdir, folk_data_dir, mode)
    ends = run(args, dies_after, evaluates=evaluates)
    if dies_after != NEVER:
        (status, out, error), (killed, _, _) = ends
        assert killed == -signal.SIGKILL
        assert status != 0 and "2 processes have joined" in out and "another task died" in error
        assert read_metrics(workdir / "metrics.jsonl")[-1]["step"] == dies_after
        ends = run(args, evaluates=evaluates)
    assert [status for status, _, _ in ends] == [0, 0], ends

    one_vae = load_workdir(one_process)
    alone = evaluate(one_vae, "test", num_examples=16).nll if evaluates else one_vae.step
    assert [float(out.split()[-1]) for _, out, _ in ends] == pytest.approx([alone] * 2, rel=1e-5)
    config = read_config(workdir)
    (one, one_data), (two, two_data) = (load(folder, config) for folder in (one_process, workdir))
    assert one_data == two_data
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), one.params, two.params)
    if config.prior.base != "none":  # both processes fit it and print what it gains
        fits = [json.loads((folder / "priors/main/fit.json").read_text())["after"] for folder in (one_process, workdir)]
        assert fits[1] == pytest.approx(fits[0], rel=1e-5)
        assert all(f"{fits[1]['global']:.2f} under flow" in out for _, out, _ in ends)
    rows = [read_metrics(folder / "metrics.jsonl") for folder in (one_process, workdir)]
    assert len(rows[0]) == len(rows[1]) == 8
    compared = {"loss", "kl", "kl_global", "beta_global", "validation.nll"}
    assert compared <= {name for row in rows[0] for name in row}
    for first, second in zip(*rows, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & compared:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("JAX_NUM_PROCESSES", "two"), ("JAX_PROCESS_ID", "-1")])
def test_a_number_that_is_none_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name} = '{value}': allowed is a whole number"):
        join_processes()


def test_processes_that_nothing_tells_of_the_others_are_refused(call, tmp_path, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", jax._src.distributed.State().initialize)
    ended = call("train.py", "debug", "--workdir", tmp_path / "run", "--distributed")
    assert ended.status == 2 and "set JAX_COORDINATOR_ADDRESS=HOST:PORT" in ended.error
    assert not (tmp_path / "run").exists()
