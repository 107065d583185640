"""The ways to spread a step over devices, and runs of a few steps for the laws that compare them."""

import functools
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from musicvae_jax.config import Config
from musicvae_jax.training.parallel import Parallel, make_parallel
from musicvae_jax.training.state import TrainState, init_state, make_model
from musicvae_jax.training.step import Carried, Metrics, make_device_step
from tests.tiny import CONFIG, FIELDS, make_batch, replace

PLAIN_SGD = {"optimizer": "sgd", "learning_rate": 0.05, "final_learning_rate": 1.0, "weight_decay": 0.0}
NOISY = replace(CONFIG, model={"dropout": 0.2, "token_dropout": 0.2})
SGD = replace(NOISY, train=PLAIN_SGD)
WAYS = {"jit-1": ("jit", 1), "jit-4": ("jit", 4), "pmap-4": ("pmap", 4)}


class Run(NamedTuple):
    """What a few steps did, on the host."""

    states: list[TrainState]  # before the first step and after each
    metrics: list[Metrics]
    traces: int  # how often the step was traced

    @property
    def last(self) -> TrainState:
        return self.states[-1]


@functools.cache  # every way starts from the same arrays, and compiling them costs as much as a step
def first_state(config: Config) -> TrainState:
    """The state before the first step, on the host, its parameters moved: those that start at 0 would hide mistakes."""
    state = jax.device_get(jax.jit(partial(init_state, config, make_model(config, FIELDS)))())
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), state.params)
    return state._replace(params=moved)


def start(config: Config, parallel: Parallel) -> TrainState:
    """The state before the first step on the devices; a copy, because a step is given its memory."""
    return jax.device_put(jax.tree.map(np.array, first_state(config)), parallel.replicated)


def spread(config: Config, way: str):
    mode, num_devices = WAYS[way]
    config = replace(config, train={"parallel": mode, "num_devices": num_devices})
    return config, make_parallel(config.train), make_model(config, FIELDS)


@functools.cache  # the one-device results are compared with several others
def run_steps(config: Config, way: str, steps: int = 5) -> Run:
    """Some steps on a fresh random batch each."""
    first, (config, parallel, model) = config, spread(config, way)
    traces = []
    device_step = make_device_step(config, model)

    def counted(state, batch):
        traces.append(1)
        return device_step(state, batch)

    step, state = parallel.spread(counted), start(first, parallel)
    states, metrics = [first_state(first)], []
    for number in range(steps):
        state, read = step(state, parallel.shard(make_batch(seed=number, measures=config.data.measures)))
        states.append(jax.device_get(state))
        metrics.append(jax.device_get(read))
    return Run(states, metrics, len(traces))


def assert_near(first, second, tolerance):
    """Every array differs by at most ``tolerance`` of its own norm."""

    def near(a, b):
        assert np.linalg.norm(np.asarray(a - b)) <= tolerance * np.linalg.norm(np.asarray(a)) + 1e-12

    jax.tree.map(near, first, second)


def carried(state: TrainState) -> Carried:
    """What the loss depends on beside parameters and data."""
    return Carried(state.step, state.moments, state.controller)
