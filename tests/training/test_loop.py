"""A run that is stopped, killed, resumed or spoilt, and what is left of it."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config, UserError, to_json
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import TrainIterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.training import loop
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.monitor import CollapseError, CollapseMonitor
from musicvae_jax.training.progress import NonFiniteError, Progress
from musicvae_jax.training.workdir import WorkdirError, hold_workdir, open_workdir, read_config
from tests.tiny import CONFIG, replace
from tests.trained import small_config
from tests.training.runs import assert_same_end, load
from tests.training.test_monitor import figures, validation

METRICS = {
    "step", "loss", "nll", "kl", "kl_global", "tokens", "phrases", "grad_norm", "beta_global", "learning_rate",
    "averaged_steps", "step_seconds", "tokens_per_second", "data_wait_share", "flops_per_second", "matmul_peak_share",
}  # fmt: skip
OF_GROUP = {
    "kl", "kl_per_phrase", "kl_per_latent", "active_a", "active_b", "active_a_raw", "active_b_raw",
    "mutual_information",
}  # fmt: skip
VALIDATION = {"nll", "kl", "objective", "kl_per_phrase", "perplexity", "perplexity_elbo"}
VALIDATION |= {f"levels.global.{name}" for name in OF_GROUP}
VALIDATION |= {f"levels.global.groups.rhythm.{name}" for name in OF_GROUP}
VALIDATION |= {f"levels.global.kl_per_dim.global/rhythm[{number}]" for number in range(6)}

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
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(workdir)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
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


def test_a_run_that_is_terminated_killed_and_resumed_ends_like_one_that_is_not(straight, tmp_path):
    config, uninterrupted = straight
    workdir = tmp_path / "run"
    process = start(config, workdir)
    wait_for_step(process, workdir, 5)
    for _ in range(2):  # one for the process group, another from whoever started it
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert process.wait(timeout=120) == 143
    stopped = int(workdir.with_suffix(".step").read_text())
    assert 5 <= stopped < 40
    assert Checkpoints(workdir).latest_step() == stopped  # it was saved for the signal

    process = start(config, workdir)
    wait_for_step(process, workdir, random.randrange(min(stopped // 5 * 5 + 5, 35), 36, 5))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert train(config, workdir).finished
    assert_same_end(config, uninterrupted, workdir)
    steps = [row["step"] for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(5, 41, 5))  # no row twice, none missing


def scripted_validator(objectives: list[float]):
    """In place of `make_validator`: every level lives, and the objectives come from a list.

    Parameters that are tried before they are written, on one batch alone, are always good.
    """
    coming = iter(objectives)

    def make(_model, _parallel, config: Config):
        return lambda _, batches: validation(figures(config), next(coming) if len(batches) > 1 else 0.0)

    return make


def test_moments_controllers_and_the_best_checkpoint_survive_a_resume(folk_data_dir, tmp_path, monkeypatch):
    config = replace(
        small_config(folk_data_dir),
        objective={"beta_warmup_steps": 3},
        train={"num_steps": 9, "eval_every": 3, "checkpoint_every": 9, "num_devices": 1},
        **{"global": {"kl_per_phrase": 2.0}},
        fine={"dim": 3, "batch_norm": 0.5},
    )
    monkeypatch.setattr(loop, "make_validator", scripted_validator([9.0, 9.0, 9.0, 1.0, 2.0, 1.5]))
    assert train(config, tmp_path / "straight").finished
    report = Progress.report

    def interrupted(self, step, metrics, index):
        report(self, step, metrics, index)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    wait, default, heard = Checkpoints.wait, signal.getsignal(signal.SIGTERM), []

    def watched(self):
        heard.append(signal.getsignal(signal.SIGTERM) != default)
        wait(self)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "report", interrupted)
        patch.setattr(Checkpoints, "wait", watched)
        stopped = train(config, tmp_path / "run")
    assert not stopped.finished and stopped.step == 5
    assert heard[0] and signal.getsignal(signal.SIGTERM) == default  # a second signal does not end the saving
    assert train(config, tmp_path / "run").finished
    assert_same_end(config, tmp_path / "straight", tmp_path / "run")
    for run in ("straight", "run"):  # an equal objective at step 6 is not better, nor is a worse one after a resume
        assert Checkpoints(tmp_path / run).latest_step("best") == int(load(tmp_path / run, config, "best")[0].step) == 3
    state, _ = load(tmp_path / "run", config)
    assert state.moments["fine"].mean.all() and state.controller.error["global"] != 0


def test_a_run_lowers_the_loss_and_writes_metrics_by_name(straight):
    rows = read_metrics(straight[1] / "metrics.jsonl")
    of_validation = {"step", *(f"validation.{name}" for name in VALIDATION)}
    assert {frozenset(row) for row in rows} == {frozenset(METRICS), frozenset(of_validation)}
    assert [row["step"] for row in rows if "validation.nll" in row] == [20, 40]
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    assert [*losses] == list(range(5, 41, 5)) and losses[40] < 0.8 * losses[5]


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


def test_a_finished_run_stays_as_it_is_and_leaves_nothing_open(straight, tmp_path, closed):
    config, workdir = straight
    run = shutil.copytree(workdir, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*") if path.is_file()}
    result = train(config, run)
    assert result.finished and result.step == 40
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert closed[-2:] == ["Checkpoints", "TrainIterator"]  # before these an iterator that began at the first step


def test_a_run_that_cannot_begin_leaves_nothing_open(straight, tmp_path, closed, monkeypatch):
    def dead(self, step):
        raise CollapseError(f"dead at step {step}")

    monkeypatch.setattr(CollapseMonitor, "check", dead)
    with pytest.raises(CollapseError, match="dead at step 0"):
        train(straight[0], tmp_path / "run")
    assert closed == ["Checkpoints", "TrainIterator"]


@pytest.mark.parametrize(
    ("checkpoint_every", "said"),
    [
        # The update of step 1 is finite and far too large: its parameters are tried before they are written.
        (1, r"objective = nan, .* on the validation split at step 1\. No checkpoint"),
        # Windows are named, such as "ryan/0012 measures 5-6".
        (5, r"(loss|grad_norm) = (nan|inf) at step \d+.*checkpoint.* measures"),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run_before_it_spoils_a_checkpoint(
    checkpoint_every, said, folk_data_dir, tmp_path
):
    train_settings = {"optimizer": "sgd", "learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    config = replace(small_config(folk_data_dir), train=train_settings | {"checkpoint_every": checkpoint_every})
    with pytest.raises(NonFiniteError, match=said):
        train(config, tmp_path / "run")
    assert Checkpoints(tmp_path / "run").latest_step() is None


def test_a_collapse_stops_the_run_with_a_checkpoint_and_again_whenever_it_is_called(folk_data_dir, tmp_path, capsys):
    config = replace(
        small_config(folk_data_dir),
        train={"on_collapse": "stop", "collapse_nats": 1e6, "collapse_patience": 2, "eval_every": 3},
    )
    for _ in range(2):
        with pytest.raises(CollapseError, match=r"level 'global' carries .* at step 6 .* stops at step 6"):
            train(config, tmp_path / "run")
        assert Checkpoints(tmp_path / "run").latest_step() == 6
    assert capsys.readouterr().out.count("collapse: level 'global'") == 1


def test_a_folder_in_which_another_process_trains_is_refused(folk_data_dir, tmp_path):
    config = small_config(folk_data_dir)
    folder = open_workdir(tmp_path / "run", config)
    with hold_workdir(folder):
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(WorkdirError, match="run: another process is training here"):
            train(config, folder)
        assert sorted(path.name for path in folder.iterdir()) == before


def test_without_held_out_windows_nothing_begins(folk_data_dir, tmp_path, monkeypatch):
    empty = WindowSource([], make_codec(CONFIG.codec), 2, 2)
    load = lambda config, split: empty if split == "validation" else load_windows(config, split)  # noqa: E731
    monkeypatch.setattr(loop, "load_windows", load)
    with pytest.raises(UserError, match="no windows to evaluate"):
        train(small_config(folk_data_dir), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_attributes_do_not_change_a_run(straight, tmp_path):
    config = dataclasses.replace(straight[0], data=dataclasses.replace(straight[0].data, attributes=True))
    assert train(config, tmp_path / "run").finished
    with_them, without = (read_metrics(folder / "metrics.jsonl") for folder in (tmp_path / "run", straight[1]))
    for row, expected in zip(with_them, without, strict=True):
        for name in {"step", "nll", "kl", "grad_norm", "validation.nll"} & expected.keys():
            assert row[name] == pytest.approx(expected[name], rel=1e-5), name
