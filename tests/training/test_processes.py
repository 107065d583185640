"""Two real processes, joined by jax.distributed on one host, train what one process trains."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from musicvae_jax import evaluate, load_workdir
from musicvae_jax.config import Config, to_json
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics
from tests.tiny import replace
from tests.trained import small_config
from tests.training.runs import load

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
import jax
port, rank, count, config, workdir = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
jax.config.update("jax_num_cpu_devices", 4 // count)
jax.distributed.initialize(f"localhost:{port}", count, rank)
from pathlib import Path
from musicvae_jax.config import from_json
from musicvae_jax.training.loop import train
assert jax.device_count() == 4
assert train(from_json(Path(config).read_text()), workdir).finished
from musicvae_jax import evaluate, load_workdir
print(evaluate(load_workdir(workdir), "test", num_examples=16).nll)
"""


def run(config: Config, workdir: Path, count: int = 2) -> list[float]:
    """Trains in ``count`` processes with four devices in all, and returns the nll that each of them evaluates."""
    path = workdir.with_suffix(".json")
    path.write_text(to_json(config))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # The workers choose their number of devices themselves.
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "host_platform_device_count" not in flag]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(port), str(rank), str(count), str(path), str(workdir)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": " ".join(flags)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    evaluated = []
    for worker in workers:
        out, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors.decode()
        evaluated.append(float(out.split()[-1]))
    return evaluated


def make_config(data_dir: str, mode: str) -> Config:
    changes = {"num_steps": 6, "eval_every": 3, "checkpoint_every": 3, "log_every": 1, "optimizer": "sgd"}
    return replace(small_config(data_dir), train={"parallel": mode, **changes})


@pytest.fixture(scope="module")
def one_process(folk_data_dir, tmp_path_factory):
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    assert jax.device_count() == 4
    assert train(make_config(folk_data_dir, "jit"), folder).finished
    return folder


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_two_processes_equal_one(one_process, folk_data_dir, tmp_path, mode):
    config = make_config(folk_data_dir, mode)
    evaluated = run(config, tmp_path / "run")
    alone = evaluate(load_workdir(one_process), "test", num_examples=16).nll
    assert evaluated == pytest.approx([alone] * 2, rel=1e-5)
    (one, one_data), (two, two_data) = (load(folder, config) for folder in (one_process, tmp_path / "run"))
    assert one_data == two_data
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), one.params, two.params)
    rows = [read_metrics(workdir / "metrics.jsonl") for workdir in (one_process, tmp_path / "run")]
    assert len(rows[0]) == len(rows[1]) == 8
    compared = {"loss", "kl", "kl_global", "beta_global", "validation.nll"}
    assert compared <= {name for row in rows[0] for name in row}
    for first, second in zip(*rows, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & compared:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-5)
