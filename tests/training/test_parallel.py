"""The law of devices: one device, four under jit and four under pmap train the same model."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config, ConfigError
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import init_state, make_model
from musicvae_jax.training.step import make_device_gradients, make_device_step
from tests.tiny import CONFIG, FIELDS, make_batch, replace

NOISY = replace(CONFIG, model={"dropout": 0.2, "token_dropout": 0.2})
SGD = replace(NOISY, train={"optimizer": "sgd", "learning_rate": 0.05, "final_learning_rate": 1.0, "weight_decay": 0.0})
WAYS = {"jit-1": ("jit", 1), "jit-4": ("jit", 4), "pmap-4": ("pmap", 4)}


@functools.cache  # every way starts from the same arrays, and compiling them costs as much as a step
def first_state(config: Config):
    """The state before the first step, on the host."""
    return jax.device_get(jax.jit(partial(init_state, config, make_model(config, FIELDS)))())


def start(config: Config, parallel):
    """The state before the first step on the devices; a copy, because a step is given its memory."""
    return jax.device_put(jax.tree.map(np.array, first_state(config)), parallel.replicated)


def spread(config: Config, way: str):
    mode, num_devices = WAYS[way]
    config = replace(config, train={"parallel": mode, "num_devices": num_devices})
    return config, make_parallel(config.train), make_model(config, FIELDS)


@functools.cache  # the one-device results are compared with several others
def run_steps(config: Config, way: str, steps: int = 5):
    """The state after some steps, and how often the step was traced."""
    first, (config, parallel, model) = config, spread(config, way)
    traces = []
    device_step = make_device_step(config, model)

    def counted(state, batch):
        traces.append(1)
        return device_step(state, batch)

    step = parallel.spread(counted)
    state = start(first, parallel)
    for number in range(steps):
        state, metrics = step(state, parallel.shard(make_batch(seed=number)))
    return jax.device_get(state), jax.device_get(metrics), len(traces)


def assert_near(first, second, tolerance):
    """Every array differs by at most ``tolerance`` of its own norm."""

    def near(a, b):
        assert np.linalg.norm(np.asarray(a - b)) <= tolerance * np.linalg.norm(np.asarray(a)) + 1e-12

    jax.tree.map(near, first, second)


@functools.cache
def first_gradients(config, way):
    config, parallel, model = spread(config, way)
    gradients = make_device_gradients(config, model)
    spread_gradients = parallel.spread(lambda state, batch: gradients(state.params, batch, state.step))
    state = start(NOISY, parallel)
    return jax.device_get(spread_gradients(state, parallel.shard(make_batch()))[0])


@pytest.mark.parametrize("way", ["jit-4", "pmap-4"])
def test_same_gradients_of_the_first_step_on_1_and_4_devices(way):
    assert_near(first_gradients(NOISY, "jit-1"), first_gradients(NOISY, way), 1e-5)


@pytest.mark.parametrize("way", ["jit-4", "pmap-4"])
def test_same_parameters_after_5_sgd_steps_on_1_and_4_devices(way):
    one, one_metrics, _ = run_steps(SGD, "jit-1")
    four, four_metrics, traces = run_steps(SGD, way)
    assert traces == 1  # nothing retraces
    assert_near(one.params, four.params, 1e-5)
    assert_near(one.ema_params, four.ema_params, 1e-5)
    for name, value in one_metrics.items():
        np.testing.assert_allclose(value, four_metrics[name], rtol=1e-5)


def test_same_parameters_after_5_adam_steps_in_float64_on_1_and_4_devices():
    """Adam divides small gradients by their own size, rounding errors included: only float64 can show the law."""
    config = replace(NOISY, model={"dtype": "float64"})
    with jax.enable_x64(True):
        one, *_ = run_steps(config, "jit-1")
        assert {leaf.dtype for leaf in jax.tree.leaves(one.params)} == {np.dtype("float64")}
        for way in ("jit-4", "pmap-4"):
            four, *_ = run_steps(config, way)
            assert_near(one.params, four.params, 1e-9)


def test_accumulated_gradients_are_the_gradients():
    """Noise belongs to rows, so that microbatches of a row each have the same noise as the whole batch."""
    whole = first_gradients(NOISY, "jit-1")
    config = replace(NOISY, train={"accumulate": 4})
    assert_near(whole, first_gradients(config, "jit-1"), 1e-5)
    config = replace(NOISY, train={"accumulate": 2})
    assert_near(whole, first_gradients(config, "pmap-4"), 1e-5)


def test_noise_differs_between_rows_and_steps():
    config, parallel, model = spread(NOISY, "jit-4")
    gradients = make_device_gradients(config, model)
    row = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 8, 0), make_batch())
    run = parallel.spread(lambda state, batch: gradients(state.params, batch, state.step)[1])
    results = []
    for number in (0, 0, 1):
        state = start(NOISY, parallel)
        results.append(float(run(state._replace(step=jnp.asarray(number)), parallel.shard(row))["nll"]))
    assert results[0] == results[1] != results[2]


def test_state_is_donated():
    config, parallel, model = spread(CONFIG, "jit-4")
    step = parallel.spread(make_device_step(config, model))
    state = parallel.init(partial(init_state, config, model))
    step(state, parallel.shard(make_batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state, state.ema_params)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, r"batch_size = 6.* multiple of 4 devices x accumulate = 1, e\.g\. 8"),
        ({"accumulate": 3}, r"batch_size = 8.* accumulate = 3"),
        ({"num_devices": 5}, r"num_devices = 5: this process has 4"),
    ],
)
def test_what_the_devices_cannot_do_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_parallel(replace(CONFIG, train=changes).train)
