"""What a run says while it trains."""

import math
from typing import Any, cast

import numpy as np
import pytest

from musicvae_jax.models.groups import group_layout
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.progress import NonFiniteError, Progress, validation_line
from tests.tiny import CONFIG, replace

TWO = replace(CONFIG, model={"global_dim": 20, "local_dim": 4})


class Source:
    def describe(self, number: int) -> str:
        return f"window {number}"


def make_progress(folder) -> tuple[Progress, Checkpoints]:
    checkpoints = Checkpoints(folder)
    return Progress(0, TWO, None, cast(Any, None), cast(Any, Source()), checkpoints), checkpoints


def test_a_validation_is_a_line_of_all_that_levels_carry():
    result = {"nll": 90.25, "kl_global": 12.0, "kl_local": 3.5}
    result |= {"active_units_a_global": 0.5, "active_units_b_global": 0.25, "mutual_information_global": 2.5}
    result |= {"active_units_a_local": 1.0, "active_units_b_local": 0.75, "mutual_information_local": 1.5}
    groups = {"rhythm": 7.0, "pitch": 0.5, "harmony": 4.5}
    assert list(group_layout(TWO.model, "global")) == list(groups)
    result |= {f"kl_global_{group}": nats for group, nats in groups.items()} | {"kl_local_rhythm": 3.5}
    assert validation_line(TWO.model, 400, result) == (
        "step 400, held out: nll 90.2, kl_global 12.0 (active 0.50 / 0.25, I 2.5, least pitch 0.5), "
        "kl_local 3.5 (active 1.00 / 0.75, I 1.5)"
    )


def test_a_loss_that_is_no_number_says_what_is_still_good(tmp_path):
    progress, checkpoints = make_progress(tmp_path)
    for name, message in (("loss", r"loss = nan at step 3"), ("grad_norm", r"grad_norm = nan at step 3")):
        metrics = {"loss": np.float32(1), "grad_norm": np.float32(1), name: np.float32(math.nan)}
        with pytest.raises(NonFiniteError, match=rf"{message}\. There is no checkpoint in .* yet\. .*: window 7"):
            progress.report(3, metrics, np.array([7]))
    checkpoints.close()


@pytest.mark.parametrize("objective", [math.nan, math.inf])
def test_a_validation_without_an_objective_ends_the_run(tmp_path, monkeypatch, objective):
    """It would never be the best, nor would any after it be known to be better."""
    progress, checkpoints = make_progress(tmp_path)
    figures = {"objective": 1e30, "nll": 2.0, "kl": math.inf}
    progress.check_validation(9, figures)
    monkeypatch.setattr(checkpoints, "latest_step", lambda: 8)
    with pytest.raises(
        NonFiniteError, match=rf"objective = {objective}, nll = 2\.0, kl = inf .* at step 9\. .* step 8 in"
    ):
        progress.check_validation(9, figures | {"objective": objective})
    checkpoints.close()
