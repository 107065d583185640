"""Speed of training, on a clock that the tests move, and the peak that it is compared with."""

import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.training import throughput
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.throughput import Throughput, matmul_peak, peak_size, product_flops
from tests.tiny import CONFIG, replace

PARALLEL = make_parallel(replace(CONFIG, train={"num_devices": 4}).train)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(throughput, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_means_and_speed_of_two_steps(clock, monkeypatch):
    """Eight windows of 10, then 30 tokens in four seconds, one of them a wait; 48 operations a step."""
    monkeypatch.setattr(throughput, "matmul_peak", lambda *_: 96.0)
    config = replace(CONFIG, train={"log_every": 2, "accumulate": 2, "num_steps": 5})
    meter = Throughput(48.0, PARALLEL, config)
    expected = {
        "loss": 2.0, "tokens": 20.0, "averaged_steps": 2, "step_seconds": 2.0, "tokens_per_second": 80.0,
        "data_wait_share": 0.25, "flops_per_second": 24.0, "matmul_peak_share": 0.25,
    }  # fmt: skip
    for first in (1, 3):  # each summary starts anew
        clock[0] += 50  # an evaluation
        meter.restart()
        with meter.waiting():
            clock[0] += 1
        assert meter.record(first, {"loss": 1.0, "tokens": 10.0}) is None
        clock[0] += 3
        assert meter.record(first + 1, {"loss": 3.0, "tokens": 30.0}) == pytest.approx(expected)
    resumed = Throughput(48.0, PARALLEL, config)
    clock[0] += 6
    last = meter.record(5, {"loss": 7.0, "tokens": 30.0})
    between = resumed.record(4, {"loss": 1.0, "tokens": 10.0})  # the run resumed between two rows
    assert between and between["averaged_steps"] == 1
    assert last and last["loss"] == 7 and last["averaged_steps"] == 1 and last["step_seconds"] == pytest.approx(6)


def flops_of(function: Callable[..., Any], *arguments: Any) -> float:
    return product_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


PRODUCT = 2 * 3 * 5 * 7
X, Y = np.ones((3, 5)), np.ones((5, 7))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: jnp.sin(x) @ y + 1, PRODUCT),
        (lambda x, y: jnp.einsum("abk,akc->abc", *(jnp.stack([z] * 4) for z in (x, y))), 4 * PRODUCT),
        (lambda x, y: jax.lax.scan(lambda total, row: (total + row @ y, 0), jnp.zeros(7), x)[0], PRODUCT),
        (jax.jit(jnp.matmul), PRODUCT),
        (lambda x, y: jax.grad(lambda x: (x @ y).sum())(x), 2 * PRODUCT),
        (lambda x, y: jax.grad(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x) @ y).sum()))(x), 3 * PRODUCT),
        (lambda x, y: jax.lax.cond(x[0, 0] > 0, lambda: x @ y, lambda: 2 * (x @ y) + x @ y), 2 * PRODUCT),
        (lambda x, y: jax.lax.fori_loop(0, x.astype(int)[0, 0], lambda _, z: z + x @ y, jnp.zeros((3, 7))), PRODUCT),
        (lambda x, y: x.sum() * y, 0),
    ],
    ids=["plain", "batched", "scan", "jit", "gradient", "remat", "cond", "while", "none"],
)
def test_operations_are_those_of_the_products(function, expected):
    assert flops_of(function, X, Y) == expected


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_operations_are_those_of_all_devices(mode):
    def device_step(state: Any, batch: Any) -> Any:
        return state, {"product": batch.reshape(X.shape) @ state}

    step = make_parallel(replace(CONFIG, train={"num_devices": 4, "parallel": mode}).train).spread(device_step)
    assert flops_of(step, Y, jnp.stack([X] * 4)) == 4 * PRODUCT


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
