"""The files of a run: config, checkpoints, metrics; and what is left when writing them went wrong."""

import gc
import json
import logging
import os
import shutil
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
from tests.disk import largest_file
from tests.tiny import CONFIG, replace
from tests.training.runs import make_state

FULL_DISK = """
import sys, resource
from pathlib import Path
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.workdir import WorkdirError
from tests.training.runs import make_state
sys.unraisablehook = lambda _: None  # as in scripts: callbacks of tensorstore come after their event loop has gone
checkpoints = Checkpoints(Path(sys.argv[1]), clean=True)
checkpoints.save("latest", 1, make_state(), {}, {})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    checkpoints.save("latest", 2, make_state(), {}, {})
    checkpoints.wait()
except WorkdirError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.parametrize("size", [0, 64])
def test_a_full_disk_is_named_and_spares_the_checkpoint_before(tmp_path, size):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(size)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 7, result.stderr
    assert "checkpoint of step 2" in result.stdout and "MiB free): File too large\n" in result.stdout
    assert not result.stderr  # orbax's tracebacks would hide the line
    checkpoints = Checkpoints(tmp_path, clean=True)
    assert not list(tmp_path.glob("checkpoints/*/*tmp*"))
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


def two_steps(folder: Path):
    """A workdir with the latest checkpoints of steps 1 and 2, and their states."""
    states = {step: jax.tree.map(lambda leaf, step=step: leaf + step, make_state()) for step in (1, 2)}
    with closing(Checkpoints(folder)) as checkpoints:
        for step, state in states.items():
            checkpoints.save("latest", step, state, {"next_batch": step}, {"objective": float(step)})
    return states


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def half_read():
    """Coroutines of orbax that end in the middle of a damaged file; Python reports them when it frees them."""
    yield
    gc.collect()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("half_read")
@pytest.mark.parametrize("damage", [remove, truncate, flip])
def test_a_damaged_checkpoint_gives_the_one_before_or_itself_and_never_something_else(tmp_path, damage, capfd):
    """Every file of a checkpoint is damaged, one at a time."""
    states = two_steps(tmp_path / "whole")
    root = tmp_path / "whole" / "checkpoints" / "latest" / "2"
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) > 4
    fell_back = 0
    for number, file in enumerate(files):
        workdir = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", workdir)
        damage(workdir / "checkpoints" / "latest" / "2" / file)
        capfd.readouterr()
        with closing(Checkpoints(workdir)) as checkpoints:
            state, data, metrics = checkpoints.restore(jax.tree.map(jnp.zeros_like, states[1]))
        step = data["next_batch"]
        jax.tree.map(np.testing.assert_array_equal, state, states[step])
        assert metrics == {"objective": float(step)}
        said = capfd.readouterr().err
        assert (step == 1) == ("damaged: the 'latest' checkpoint of step 2" in said)
        assert (step == 1) == ("'latest' checkpoint of step 1 is used in its place" in said)
        fell_back += step == 1
    assert fell_back >= 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("half_read")
def test_a_run_that_trains_sets_damaged_checkpoints_aside_and_writes_their_step_again(tmp_path):
    states = two_steps(tmp_path)
    truncate(next((tmp_path / "checkpoints" / "latest" / "2").rglob("manifest.ocdbt")))
    with closing(Checkpoints(tmp_path)) as reader:
        reader.restore(states[1])
        assert reader.latest_step() == 2  # somebody who only reads changes nothing
    with closing(Checkpoints(tmp_path, clean=True)) as checkpoints:
        assert checkpoints.restore(states[1])[1] == {"next_batch": 1}
        assert checkpoints.latest_step() == 1
        checkpoints.save("latest", 2, states[2], {"next_batch": 2}, {})
        checkpoints.wait()
        assert checkpoints.restore(states[1])[1] == {"next_batch": 2}
    assert [path.name[:16] for path in (tmp_path / "checkpoints").glob("damaged-*")] == ["damaged-latest-2"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("half_read")
def test_the_best_checkpoint_serves_where_all_latest_are_damaged_and_the_other_way_round(tmp_path, capfd):
    states = two_steps(tmp_path)
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save("best", 1, states[1], {"next_batch": 1}, {"objective": 0.5})
    for step in (1, 2):
        shutil.rmtree(tmp_path / "checkpoints" / "latest" / str(step) / "state")
    with closing(Checkpoints(tmp_path)) as checkpoints:
        assert checkpoints.restore(states[1])[2] == {"objective": 0.5}
        assert "the 'best' checkpoint of step 1 is used in its place" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "checkpoints" / "best" / "1" / "figures")
    with closing(Checkpoints(tmp_path)) as checkpoints:
        with pytest.raises(WorkdirError, match=r"every checkpoint in .* is damaged"):
            checkpoints.restore(states[1], "best")
        assert checkpoints.metrics("best") == {}


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


def test_a_full_disk_is_named_by_the_file_of_metrics(tmp_path):
    writer = MetricWriter(tmp_path)
    with largest_file(0):
        for call in (lambda: writer.write(1, {"loss": 1.0}), writer.close):
            with pytest.raises(OSError, match=r"File too large: '.*metrics\.jsonl'$"):
                call()


@pytest.mark.parametrize(
    ("name", "path", "text", "kept"),
    [
        ("absl", "/lib/orbax/checkpoint/future.py", "a thread raised", False),
        ("asyncio", "/lib/asyncio/tasks.py", "never retrieved: ValueError('Error reading x in OCDBT database')", False),
        (
            "asyncio",
            "/lib/asyncio/tasks.py",
            "never retrieved: <coro at /lib/orbax/checkpoint/serialization.py>",
            False,
        ),
        ("asyncio", "/lib/asyncio/tasks.py", "never retrieved: ValueError('of a notebook')", True),
        ("absl", "/lib/jax/mesh.py", "of another library", True),
    ],
)
def test_what_orbax_logs_and_raises_is_not_logged(tmp_path, name, path, text, kept):
    Checkpoints(tmp_path).close()
    record = logging.LogRecord(name, logging.ERROR, path, 1, text, (), None)
    assert bool(logging.getLogger(name).filter(record)) == kept
