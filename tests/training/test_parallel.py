"""The law of devices: one device, four under jit and four under pmap train the same model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ConfigError
from musicvae_jax.training.parallel import check_platform, make_parallel
from musicvae_jax.training.state import init_state, learning_rate_schedule
from musicvae_jax.training.step import make_device_gradients, make_device_step
from tests.tiny import CONFIG, make_batch, replace
from tests.training.ways import NOISY, SGD, assert_near, carried, first_state, run_steps, spread, start


@pytest.mark.parametrize("way", ["jit-4", "pmap-4"])
def test_same_parameters_after_5_sgd_steps_on_1_and_4_devices(way):
    one, four = run_steps(SGD, "jit-1"), run_steps(SGD, way)
    assert four.traces == 1  # nothing retraces
    assert_near(one.last.params, four.last.params, 1e-5)
    assert_near(one.last.ema_params, four.last.ema_params, 1e-5)
    assert one.metrics[-1].keys() == four.metrics[-1].keys()
    for name, value in one.metrics[-1].items():
        np.testing.assert_allclose(value, four.metrics[-1][name], rtol=1e-5)


@pytest.mark.parametrize("way", ["jit-4", pytest.param("pmap-4", marks=pytest.mark.slow)])
def test_same_parameters_after_5_adam_steps_in_float64_on_1_and_4_devices(way):
    """Adam divides small gradients by their own size, rounding errors included: only float64 can show the law."""
    config = replace(NOISY, model={"dtype": "float64"})
    with jax.enable_x64(True):
        one = run_steps(config, "jit-1")
        assert {leaf.dtype for leaf in jax.tree.leaves(one.last.params)} == {np.dtype("float64")}
        assert_near(one.last.params, run_steps(config, way).last.params, 1e-9)


def test_a_step_moves_the_average_of_the_parameters():
    """Of the parameters after each step so far, each with a weight that is d times that of the next; not of those
    before the first step."""
    states, decay = run_steps(SGD, "jit-1").states, SGD.train.ema_decay
    for number in range(1, len(states)):
        weights = decay ** np.arange(number)[::-1]
        steps = [state.params for state in states[1 : number + 1]]
        average = jax.tree.map(lambda *leaves, w=weights: np.average(leaves, 0, w), *steps)
        near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        jax.tree.map(near, states[number].ema_params, average)


def test_a_step_reports_its_rate():
    with jax.enable_x64(True):
        result = run_steps(replace(NOISY, model={"dtype": "float64"}), "jit-1")
    schedule = learning_rate_schedule(NOISY.train)
    rates = [float(schedule(step)) for step in range(5)]
    np.testing.assert_allclose([metrics["learning_rate"] for metrics in result.metrics], rates, rtol=1e-6)
    assert len(set(rates)) == 5


def test_noise_differs_between_steps_and_seeds():
    results = []
    for seed, steps in ((0, (0, 0, 1)), (1, (0,))):
        config, parallel, model = spread(replace(NOISY, train={"seed": seed}), "jit-4")
        gradients = make_device_gradients(config, model)
        run = parallel.spread(lambda state, batch, found=gradients: found(state.params, carried(state), batch)[1])
        for number in steps:
            state = start(NOISY, parallel)  # whatever the seed, the same parameters
            results.append(float(run(state._replace(step=jnp.asarray(number)), parallel.shard(make_batch()))["nll"]))
    assert results[0] == results[1] and len(set(results)) == 3


def test_first_parameters_differ_between_seeds():
    matrices = [
        [leaf for leaf in jax.tree.leaves(first_state(config).params) if leaf.ndim > 1]
        for config in (SGD, replace(SGD, train={"seed": 1}))
    ]
    assert any((one != other).all() for one, other in zip(*matrices, strict=True))


def test_state_is_donated():
    config, parallel, model = spread(CONFIG, "jit-4")
    step = parallel.spread(make_device_step(config, model))
    state = parallel.init(partial(init_state, config, model))
    step(state, parallel.shard(make_batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state, state.ema_params)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6, "num_devices": 4}, r"batch_size = 6.* multiple of 4 devices x accumulate = 1, e\.g\. 8"),
        ({"accumulate": 3}, r"batch_size = 8.* accumulate = 3"),
        ({"num_devices": 5}, r"num_devices = 5: this process has 4"),
    ],
)
def test_what_the_devices_cannot_do_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_parallel(replace(CONFIG, train=changes).train)


def test_float64_is_refused_where_it_would_be_float32():
    check_platform(CONFIG)
    with pytest.raises(ConfigError, match="dtype = 'float64' needs JAX_ENABLE_X64=1"):
        check_platform(replace(CONFIG, model={"dtype": "float64"}))


@pytest.mark.parametrize(("batch_size", "accumulate", "used"), [(8, 1, 4), (6, 1, 3), (7, 1, 1), (8, 4, 2), (12, 2, 3)])
def test_as_many_devices_as_the_batch_can_be_spread_over(batch_size, accumulate, used):
    train = replace(CONFIG, train={"batch_size": batch_size, "accumulate": accumulate}).train
    assert make_parallel(train).mesh.size == used
