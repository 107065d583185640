"""The files of a run: config, checkpoints, metrics; and what is left when writing them went wrong."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.metrics import MetricWriter
from musicvae_jax.training.workdir import WorkdirError, open_workdir, read_config
from musicvae_jax.types import Moments
from tests.tiny import CONFIG, replace
from tests.training.runs import make_state

FULL_DISK = """
import sys, resource
from pathlib import Path
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.workdir import WorkdirError
from tests.training.runs import make_state
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save("latest", 1, make_state(), {}, {})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
try:
    checkpoints.save("latest", 2, make_state(), {}, {})
    checkpoints.wait()
except WorkdirError as error:
    print(error)
    sys.exit(7)
"""


def test_a_full_disk_is_named_and_spares_the_checkpoint_before(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 7, result.stderr
    assert "checkpoint of step 2" in result.stdout and "MiB free" in result.stdout
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step() == 1
    checkpoints.restore(make_state())


def test_only_the_run_that_trains_deletes_half_written_checkpoints(tmp_path):
    """A reader would delete what the run is writing."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, make_state(), {}, {})
    checkpoints.close()
    half = tmp_path / "checkpoints" / "latest" / "2.orbax-checkpoint-tmp-0"
    half.mkdir()
    for before, clean in ((1, False), (3, True)):
        checkpoints = Checkpoints(tmp_path, clean=clean)
        assert checkpoints.latest_step() == before
        checkpoints.save("latest", before + 2, make_state(), {}, {})
        checkpoints.close()
        assert half.exists() != clean


def test_a_checkpoint_restores_its_own_model_only(tmp_path):
    state = make_state()._replace(moments={"fine": Moments(jnp.zeros(2), jnp.ones(2))})
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(WorkdirError, match="no 'best' checkpoint"):
        checkpoints.restore(state, "best")
    checkpoints.save("latest", 3, state, {"next_batch": 3}, {"objective": 2.5})
    checkpoints.wait()
    restored, data_state, metrics = checkpoints.restore(jax.tree.map(jnp.zeros_like, state))
    assert data_state == {"next_batch": 3} and metrics == checkpoints.metrics("latest") == {"objective": 2.5}
    assert str(jax.tree.structure(restored)) == str(jax.tree.structure(state))
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    for other, message in (
        (make_state(7)._replace(moments=state.moments), r"params/loc: \(6,\) in the checkpoint, \(7,\) in the model"),
        (make_state(), r"2 arrays differ:\n  moments/fine/mean: \(2,\) in the checkpoint, absent in the model"),
    ):
        with pytest.raises(WorkdirError, match=message):
            checkpoints.restore(other)


def test_a_workdir_serves_one_config(tmp_path):
    with pytest.raises(WorkdirError, match=r"config\.json is missing"):
        read_config(tmp_path)
    open_workdir(tmp_path, CONFIG)
    with pytest.raises(WorkdirError, match=r"model\.dim: 16 there, 24 here"):
        open_workdir(tmp_path, replace(CONFIG, model={"dim": 24}))
    assert read_config(tmp_path) == CONFIG


def test_metrics_after_the_resumed_step_are_dropped(tmp_path):
    with closing(MetricWriter(tmp_path)) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    with closing(MetricWriter(tmp_path, resume_step=2)) as writer:
        writer.write(3, {"loss": 0.5})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 0.5}]
