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

from musicvae_jax.config import to_json
from musicvae_jax.training.metrics import read_metrics
from tests.tiny import replace
from tests.trained import small_config
from tests.training.test_loop import load

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
import jax
port, rank, count, config, workdir = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
jax.config.update("jax_num_cpu_devices", 4 // count)
if count > 1:
    jax.distributed.initialize(f"localhost:{port}", count, rank)
from pathlib import Path
from musicvae_jax.config import from_json
from musicvae_jax.training.loop import train
assert jax.device_count() == 4
assert train(from_json(Path(config).read_text()), workdir).finished
"""


def run(count: int, config: Path, workdir: Path) -> None:
    """Trains in ``count`` processes with four devices in all."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(port), str(rank), str(count), str(config), str(workdir)],
            env=environment | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors.decode()


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_two_processes_equal_one(folk_data_dir, tmp_path, mode):
    changes = {"num_steps": 6, "eval_every": 3, "checkpoint_every": 3, "log_every": 1, "optimizer": "sgd"}
    config = replace(small_config(folk_data_dir), train={"parallel": mode, **changes})
    path = tmp_path / "config.json"
    path.write_text(to_json(config))
    for count in (1, 2):
        run(count, path, tmp_path / str(count))
    one, one_data = load(tmp_path / "1", config)
    two, two_data = load(tmp_path / "2", config)
    assert one_data == two_data
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), one.params, two.params)
    rows = [read_metrics(tmp_path / str(count) / "metrics.jsonl") for count in (1, 2)]
    assert len(rows[0]) == len(rows[1]) == 8
    for first, second in zip(*rows, strict=True):
        for name in ("loss", "kl", "validation_nll"):
            np.testing.assert_allclose(first.get(name, 0), second.get(name, 0), rtol=1e-5)
