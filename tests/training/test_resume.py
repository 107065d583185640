"""What a run carries besides parameters goes on where it stopped, and older checkpoints still serve."""

import os
import signal
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config, LevelObjective
from musicvae_jax.models.groups import group_layout
from musicvae_jax.training import loop
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.loop import train
from musicvae_jax.training.progress import Progress
from musicvae_jax.training.state import TrainState
from musicvae_jax.training.workdir import WorkdirError
from musicvae_jax.types import Moments
from tests.tiny import replace
from tests.trained import small_config
from tests.training.runs import assert_same_end, load, make_state
from tests.training.test_monitor import figures


def scripted_validator(objectives: list[float]):
    """In place of `make_validator`: everything lives, and the objectives come from a list."""
    coming = iter(objectives)

    def make(_model, _parallel, config: Config):
        result = {"nll": 1.0} | figures(config)
        for level in config.model.widths:
            result |= {f"active_units_{rule}_{level}": 1.0 for rule in "ab"} | {f"mutual_information_{level}": 1.0}
            result |= {f"kl_{level}_{group}": 1.0 for group in group_layout(config.model, level)}
        return lambda _variables, _batches: result | {"objective": next(coming)}

    return make


def test_stopped_then_resumed_equals_straight_with_all_that_a_state_carries(folk_data_dir, tmp_path, monkeypatch):
    """Batch moments and a controller are as much of the state as parameters are; the best so far stays the best."""
    config = replace(
        small_config(folk_data_dir),
        model={"fine_dim": 3, "batch_norm_levels": ("fine",)},
        objective={"global_level": LevelObjective(kl_per_phrase=2.0), "beta_warmup_steps": 3},
        train={"num_steps": 9, "eval_every": 3, "checkpoint_every": 9, "num_devices": 1},
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
    assert heard[0] and signal.getsignal(signal.SIGTERM) == default  # a second one finds the run saving, and waits
    assert train(config, tmp_path / "run").finished
    assert_same_end(config, tmp_path / "straight", tmp_path / "run")
    for run in ("straight", "run"):  # after a resume, too, and where an equal one comes later
        assert Checkpoints(tmp_path / run).latest_step("best") == int(load(tmp_path / run, config, "best")[0].step) == 3
    state, _ = load(tmp_path / "run", config)
    assert state.moments["fine"].mean.all() and state.controller.error["global"] != 0


class OlderState(NamedTuple):
    """The state as it was before batch moments and controllers."""

    step: jax.Array
    params: dict
    opt_state: tuple
    ema_params: dict | tuple


def test_a_checkpoint_from_before_moments_and_controllers(tmp_path):
    """It restores where there are none, and is refused by name where there are some."""
    state = make_state()._replace(ema_params={"loc": jnp.ones(6)})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 3, cast(TrainState, OlderState(*state[:4])), {"next_batch": 3}, {})
    checkpoints.wait()
    restored, data_state, _ = checkpoints.restore(make_state()._replace(ema_params={"loc": jnp.zeros(6)}))
    assert str(jax.tree.structure(restored)) == str(jax.tree.structure(state)) and data_state == {"next_batch": 3}
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    normalised = state._replace(moments={"fine": Moments(jnp.zeros(2), jnp.ones(2))})
    with pytest.raises(WorkdirError, match=r"2 arrays differ:\n  moments/fine/mean: absent in the checkpoint, \(2,\)"):
        checkpoints.restore(normalised)
