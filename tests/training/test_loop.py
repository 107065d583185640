"""A run that is stopped, killed or spoilt, and what is left of it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config, UserError, to_json
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import TrainIterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.training import loop
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import MetricWriter, read_metrics
from musicvae_jax.training.monitor import CollapseError, CollapseMonitor
from musicvae_jax.training.progress import NonFiniteError
from musicvae_jax.training.workdir import WorkdirError, hold_workdir, open_workdir, read_config
from tests.tiny import CONFIG, replace
from tests.trained import small_config
from tests.training.runs import assert_same_end, load, make_state

METRICS = {
    "step", "loss", "nll", "kl", "kl_global", "tokens", "phrases", "grad_norm", "beta_global", "learning_rate",
    "step_seconds", "tokens_per_second", "data_wait_share", "flops_per_second", "matmul_peak_share",
}  # fmt: skip
VALIDATION = {
    f"validation_{name}"
    for name in (
        "nll", "kl", "objective", "kl_per_phrase", "perplexity", "perplexity_elbo", "kl_global",
        "kl_global_per_phrase", "kl_global_per_latent", "kl_global_rhythm", "active_units_a_global",
        "mutual_information_global", "mutual_information_global_rhythm",
        "active_units_b_global", "active_units_a_raw_global", "active_units_b_raw_global",
        "active_units_a_global_rhythm", "active_units_b_global_rhythm", "active_units_a_raw_global_rhythm",
        "active_units_b_raw_global_rhythm", "kl_global_rhythm_per_phrase", "kl_global_rhythm_per_latent",
    )
}  # fmt: skip


SCRIPT = """
import sys
from pathlib import Path
from musicvae_jax.config import from_json
from musicvae_jax.training.loop import train
result = train(from_json(Path(sys.argv[1]).read_text()), sys.argv[2])
Path(sys.argv[2]).with_suffix(".step").write_text(str(result.step))
sys.exit(0 if result.finished else 143)
"""


def start(config: Config, workdir: Path) -> subprocess.Popen:
    path = workdir.parent / "run.json"
    path.write_text(to_json(config))
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(workdir)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    path = workdir / "metrics.jsonl"
    for _ in range(2400):
        if path.exists() and any(row["step"] >= step for row in read_metrics(path)):
            return
        assert process.poll() is None, "the run ended before it could be stopped"
        time.sleep(0.05)
    pytest.fail(f"no step {step} after two minutes")


@pytest.fixture
def straight(trained_workdir):
    """The config and the folder of a run that nothing interrupted."""
    return read_config(trained_workdir), trained_workdir


def test_terminated_then_killed_then_resumed_equals_straight(straight, tmp_path):
    """One run that is told to stop, and saves; goes on and is killed at random; goes on, and ends as if nothing was."""
    config, uninterrupted = straight
    workdir = tmp_path / "run"
    process = start(config, workdir)
    wait_for_step(process, workdir, 5)
    for _ in range(2):  # one for the group that the process is in, another from who started it
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert process.wait(timeout=120) == 143
    stopped = int(workdir.with_suffix(".step").read_text())
    assert 5 <= stopped < 40
    assert Checkpoints(workdir).latest_step() == stopped  # whatever its number: it was saved for the signal

    process = start(config, workdir)
    wait_for_step(process, workdir, random.randrange(min(stopped // 5 * 5 + 5, 35), 36, 5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert start(config, workdir).wait(timeout=240) == 0
    assert_same_end(config, uninterrupted, workdir)
    steps = [row["step"] for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(5, 41, 5))  # no row twice, none missing


def test_metrics_have_their_names(straight):
    _, workdir = straight
    rows = read_metrics(workdir / "metrics.jsonl")
    assert {frozenset(row) for row in rows} == {frozenset(METRICS), frozenset({"step", *VALIDATION})}
    assert [row["step"] for row in rows if "loss" in row] == list(range(5, 41, 5))
    assert [row["step"] for row in rows if "validation_nll" in row] == [20, 40]


def test_training_lowers_the_loss(straight):
    losses = [row["loss"] for row in read_metrics(straight[1] / "metrics.jsonl") if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_a_finished_run_stays_as_it_is(straight):
    config, workdir = straight
    before = {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*") if path.is_file()}
    result = train(config, workdir)
    assert result.finished and result.step == 40
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_loss_that_is_no_number_stops_the_run(folk_data_dir, tmp_path):
    config = replace(
        small_config(folk_data_dir),
        train={"optimizer": "sgd", "learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30, "checkpoint_every": 1},
    )
    with pytest.raises(
        NonFiniteError, match=r"(loss|grad_norm) = (nan|inf) at step \d+.*last good checkpoint"
    ) as error:
        train(config, tmp_path / "run")
    assert "measures" in str(error.value)  # the windows are named, e.g. "ryan/0012 measures 5-6"
    assert Checkpoints(tmp_path / "run").latest_step() == 1  # of which nothing came that is no number
    state, _ = load(tmp_path / "run", config)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_collapse_stops_the_run_with_a_checkpoint_and_again_whenever_it_is_called(folk_data_dir, tmp_path, capsys):
    config = replace(
        small_config(folk_data_dir),
        train={"on_collapse": "stop", "collapse_nats": 1e6, "collapse_patience": 2, "eval_every": 3},
    )
    for _ in range(2):
        with pytest.raises(
            CollapseError, match=r"level 'global' carries .* nats a window at step 6 .* stops at step 6"
        ):
            train(config, tmp_path / "run")
        assert Checkpoints(tmp_path / "run").latest_step() == 6
    assert capsys.readouterr().out.count("collapse: level 'global'") == 1


def test_a_folder_in_which_another_process_trains_is_refused(folk_data_dir, tmp_path):
    config = small_config(folk_data_dir)
    folder = open_workdir(tmp_path / "run", config)
    with hold_workdir(folder):
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(WorkdirError, match=r"run: another process is training here; .* another --workdir"):
            train(config, folder)
        assert sorted(path.name for path in folder.iterdir()) == before


def test_without_held_out_windows_nothing_begins(folk_data_dir, tmp_path, monkeypatch):
    empty = WindowSource([], make_codec(CONFIG.codec), 2, 2)
    load = lambda config, split: empty if split == "validation" else load_windows(config, split)  # noqa: E731
    monkeypatch.setattr(loop, "load_windows", load)
    with pytest.raises(UserError, match=r"no windows to evaluate: 0 pieces"):
        train(small_config(folk_data_dir), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_workdir_with_another_config_is_refused(tmp_path):
    open_workdir(tmp_path, CONFIG)
    other = replace(CONFIG, model={"dim": 24})
    with pytest.raises(WorkdirError, match=r"model\.dim: 16 there, 24 here"):
        open_workdir(tmp_path, other)
    assert read_config(tmp_path) == CONFIG


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(WorkdirError, match=r"config\.json is missing"):
        read_config(tmp_path)


def test_a_checkpoint_of_another_model_names_both_sides(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 3, make_state(), {"next_batch": 3}, {})
    checkpoints.wait()
    wider = make_state(7)
    with pytest.raises(WorkdirError, match=r"of another model.*\n.*6.* in the checkpoint, .*7.* in the model"):
        checkpoints.restore(wider)
    restored, data_state, _ = checkpoints.restore(make_state())
    assert data_state == {"next_batch": 3}
    jax.tree.map(np.testing.assert_array_equal, restored, make_state())


def test_metrics_after_the_resumed_step_are_dropped(tmp_path):
    with MetricWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    with MetricWriter(tmp_path, resume_step=2) as writer:
        writer.write(3, {"loss": 0.5})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 0.5}]


@pytest.fixture
def closed(monkeypatch):
    """The names of what has been closed."""
    names = []
    for kind in (TrainIterator, Checkpoints):
        close = kind.close

        def noted(self, close=close, kind=kind):
            names.append(kind.__name__)
            close(self)

        monkeypatch.setattr(kind, "close", noted)
    return names


def test_a_finished_run_leaves_nothing_open(straight, tmp_path, closed):
    config, workdir = straight
    run = shutil.copytree(workdir, tmp_path / "run")
    result = train(config, run)
    assert result.finished and result.step == config.train.num_steps
    assert closed[-2:] == ["Checkpoints", "TrainIterator"]  # before them the iterator that stood at the beginning


def test_a_run_that_cannot_begin_leaves_nothing_open(straight, tmp_path, closed, monkeypatch):
    config, _ = straight

    def dead(self, step):
        raise CollapseError(f"dead at step {step}")

    monkeypatch.setattr(CollapseMonitor, "check", dead)
    with pytest.raises(CollapseError, match="dead at step 0"):
        train(config, tmp_path / "run")
    assert closed == ["Checkpoints", "TrainIterator"]
