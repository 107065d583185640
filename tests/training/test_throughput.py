"""Speed of training, on a clock that the tests move, and the peak that it is compared with."""

import types
from typing import Any

import jax
import pytest

from musicvae_jax.training import throughput
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.throughput import Throughput, compiled_flops, matmul_peak, peak_size
from tests.tiny import CONFIG, replace

PARALLEL = make_parallel(replace(CONFIG, train={"num_devices": 4}).train)


def compiled(analysis: Any) -> Any:
    return types.SimpleNamespace(cost_analysis=lambda: analysis)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(throughput, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_means_and_speed_of_two_steps(clock, monkeypatch):
    """Eight windows of 10, then 30 tokens in four seconds, one of them a wait; 6 x 4 x 2 operations a step."""
    monkeypatch.setattr(throughput, "matmul_peak", lambda *_: 96.0)
    config = replace(CONFIG, train={"log_every": 2, "accumulate": 2, "num_steps": 5})
    meter = Throughput(compiled({"flops": 6.0}), PARALLEL, config)
    expected = {
        "loss": 2.0, "tokens": 20.0, "step_seconds": 2.0, "tokens_per_second": 80.0, "data_wait_share": 0.25,
        "flops_per_second": 24.0, "matmul_peak_share": 0.25,
    }  # fmt: skip
    for first in (1, 3):  # each summary starts anew
        clock[0] += 50  # an evaluation
        meter.restart()
        with meter.waiting():
            clock[0] += 1
        assert meter.record(first, {"loss": 1.0, "tokens": 10.0}) is None
        clock[0] += 3
        assert meter.record(first + 1, {"loss": 3.0, "tokens": 30.0}) == pytest.approx(expected)
    clock[0] += 6
    last = meter.record(5, {"loss": 7.0, "tokens": 30.0})
    assert last and last["loss"] == 7 and last["step_seconds"] == pytest.approx(6)


@pytest.mark.parametrize(("analysis", "flops"), [({"flops": 6.0}, 24.0), ([{"flops": 6.0}], 24.0), (None, 0.0)])
def test_operations_are_those_of_all_devices(analysis, flops):
    assert compiled_flops(compiled(analysis), PARALLEL) == flops


@pytest.mark.parametrize(("size", "used"), [(8, 8), (0, 16)])
def test_the_peak_is_that_of_the_fastest_product(monkeypatch, size, used):
    times = iter([0.0, 4.0, 10.0, 12.0, 20.0, 25.0])
    monkeypatch.setattr(throughput, "time", types.SimpleNamespace(perf_counter=lambda: next(times)))
    monkeypatch.setattr(throughput, "peak_size", lambda: 16)
    assert matmul_peak(PARALLEL, size=size, repeats=3) == 2 * used**3 * 4 / 2


@pytest.mark.parametrize(("backend", "size"), [("cpu", 1024), ("gpu", 8192), ("tpu", 8192)])
def test_an_accelerator_multiplies_larger_matrices(monkeypatch, backend, size):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert peak_size() == size
