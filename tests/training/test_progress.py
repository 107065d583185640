"""What a run says while it trains."""

import dataclasses
import io
import math
import sys
import time
from typing import Any, cast

import jax
import numpy as np
import pytest

from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.progress import NonFiniteError, Progress, compiling, validation_line
from tests.tiny import CONFIG, replace
from tests.training.test_monitor import figures, validation

TWO = replace(CONFIG, **{"global": {"dim": 20}}, local={"dim": 4})


class Source:
    def describe(self, number: int) -> str:
        return f"window {number}"


@pytest.fixture
def progress(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    yield Progress(0, TWO, None, cast(Any, None), cast(Any, Source()), checkpoints)
    checkpoints.close()


def test_a_validation_is_a_line_with_all_that_levels_carry():
    levels = figures(TWO, global_nats=12.0, local_nats=3.5)
    for group, nats in {"rhythm": 7.0, "pitch": 0.5, "harmony": 4.5}.items():
        levels["global"].groups[group] = dataclasses.replace(levels["global"].groups[group], kl=nats)
    result = dataclasses.replace(validation(levels), nll=90.25)
    assert validation_line(400, result) == (
        "step 400, held out: nll 90.2, kl_global 12.0 (active 1.00 / 0.50, I 1.0, least pitch 0.5), "
        "kl_local 3.5 (active 1.00 / 0.50, I 1.0)"
    )
    drawn = validation_line(400, dataclasses.replace(result, levels=figures(TWO, global_nats=12.0, exact=False)))
    assert "kl_global 12.0 (active 1.00 / 0.50, I 1.0)," in drawn  # of a draw there is no KL by group


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_loss_or_gradient_that_is_no_number_ends_the_run_and_names_its_windows(progress, name):
    metrics = {"loss": np.float32(1), "grad_norm": np.float32(1), name: np.float32(math.nan)}
    with pytest.raises(NonFiniteError, match=rf"{name} = nan at step 3\..* No checkpoint .*: window 7"):
        progress.report(3, metrics, np.array([7]))


@pytest.mark.parametrize("objective", [math.nan, math.inf])
def test_a_validation_without_an_objective_ends_the_run(progress, monkeypatch, objective):
    """It is never the best, and none after it can be compared with it."""
    good = validation(figures(TWO), objective=1e30)
    progress.check_validation(9, good)
    monkeypatch.setattr(progress._checkpoints, "latest_step", lambda: 8)
    with pytest.raises(NonFiniteError, match=rf"objective = {objective}, .* at step 9\. .* step 8 in"):
        progress.check_validation(9, dataclasses.replace(good, objective=objective))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_a_long_compilation_says_how_long_it_takes_and_what_to_try(backend, monkeypatch):
    monkeypatch.setattr("musicvae_jax.training.progress.PATIENCE", (0.01, 0.02))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    # Not capsys: what another thread prints while it reads and clears its buffer is lost.
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    with compiling("the step"):
        while said.getvalue().count("\n") < 3:
            time.sleep(0.001)
    first, *still, last = said.getvalue().splitlines()
    assert (first, last[:11]) == ("compiling the step ...", "compiled in")
    for line, seconds in zip(still, ("0.01", "0.02"), strict=True):
        assert line.startswith(f"still compiling after {seconds} s") and "the next run" in line.lower()
        assert ("--xla_gpu_autotune_level=0" in line) == (backend == "gpu")


def test_a_short_compilation_says_one_line_and_an_error_comes_through(capsys):
    with pytest.raises(ZeroDivisionError), compiling("the step"):
        raise ZeroDivisionError
    assert capsys.readouterr().out == "compiling the step ...\n"
