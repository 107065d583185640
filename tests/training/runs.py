"""Runs of a few steps over devices, where runs end, and when two of them are equal."""

import functools
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.parallel import Parallel, make_parallel
from musicvae_jax.training.state import TrainState, make_model, start_state, state_shapes
from musicvae_jax.training.step import Metrics, make_device_step
from tests.tiny import CONFIG, FIELDS, make_batch, replace, with_attributes

PLAIN_SGD = {"optimizer": "sgd", "learning_rate": 0.05, "final_learning_rate": 1.0, "weight_decay": 0.0}
NOISY = replace(CONFIG, model={"dropout": 0.2, "token_dropout": 0.2})
WAYS = {"jit-1": ("jit", 1), "jit-4": ("jit", 4), "pmap-4": ("pmap", 4)}

# Three levels, of windows of six measures or two: two phrases or one; and all that draws noise.
NOISE = {"dropout": 0.2, "token_dropout": 0.2, "level_dropout": 0.4, "skip": True}
THREE = replace(
    CONFIG,
    data={"measures": 6},
    model=NOISE | {"encoder_slot_layers": 0, "prior_layers": 0},
    objective={"span_weight": 0.1},
    train={**PLAIN_SGD, "clip_norm": 1e9},  # unclipped, so that the first step shows its gradients
    **{"global": {"dim": 4, "span_head": True}},
    local={"dim": 3, "span": 2, "span_head": True},
    fine={"dim": 2},
)
VARIANTS = {
    # Every term that depends on the batch as a whole, an AR(1) base, a controller of one level.
    "batch": replace(
        THREE,
        model={"context": "previous", "remat": True},
        objective={"beta": 0.7, "kl_balance_steps": 3},
        **{"global": {"batch_norm": 0.5, "free_bits": "capacity", "nats": 4.0, "capacity_steps": 6}},
        local={
            "base": "ar1", "free_bits": "per_dim", "nats": 0.5, "schedule": "cyclical_cosine", "schedule_steps": 8,
            "cycles": 2,
        },
        fine={"free_bits": "per_dim_per_example", "nats": 0.2, "beta": 1.5, "kl_per_phrase": 6.0},
    ),
    # Latents drawn one after the other; a controller of the total; nothing that depends on the batch as a whole.
    "ladder": replace(
        THREE,
        model={"inference": "ladder", "context": "none", "slotwise": True},
        objective={"beta_warmup_steps": 4, "kl_per_phrase": 2.0},
        local={"prior_context": "causal", "free_bits": "total", "nats": 0.5},
        fine={"prior_context": "causal", "free_bits": "per_dim_per_example", "nats": 0.2},
    ),
}  # fmt: skip
# Dims that follow attributes, and groups that are kept apart, over the latents of all devices.
NAMED = replace(
    CONFIG,
    data={"measures": 6, "attributes": True},
    model={"level_dropout": 0.4},
    objective={
        "attribute_weight": 3.0, "attribute_rule": "rank", "leakage_weight": 2.0, "orthogonality_weight": 1.0,
        "group_correlation_weight": 0.5, "dim_correlation_weight": 0.25, "dip_weight": 0.1,
        "factor_weight": 0.7, "discriminator_dim": 8, "discriminator_layers": 2,
        "group_head_weight": 1.5,
    },
    train={**PLAIN_SGD, "clip_norm": 1e9},
    **{"global": {"dim": 4, "attributes": ("note_density",)}},
    fine={
        "dim": 3, "groups": (1, 2, 0, 0, 0), "attributes": ("contour", "mean_pitch", "syncopation"),
        "group_heads": True,
    },
)  # fmt: skip


class Run(NamedTuple):
    """What a few steps did, on the host."""

    states: list[TrainState]  # before the first step and after each
    metrics: list[Metrics]
    traces: int  # how often the step was traced

    @property
    def last(self) -> TrainState:
        return self.states[-1]


def first_state(config: Config) -> TrainState:
    """The state before the first step, on the host. No parameter is 0: zeros would hide mistakes."""
    return _first_state(replace(config, train={"accumulate": 1}))  # on which no state depends


@functools.cache
def _first_state(config: Config) -> TrainState:
    rng, shapes = np.random.default_rng(0), state_shapes(config, make_model(config, FIELDS))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        size = 0.1 if len(leaf.shape) < 2 else leaf.shape[0] ** -0.5
        is_gain = jax.tree_util.keystr(path).endswith("['scale']")
        return (is_gain + rng.normal(0, size, leaf.shape)).astype(leaf.dtype)

    params = jax.tree.map_with_path(draw, shapes.params)
    return jax.device_get(jax.jit(partial(start_state, config))(params))


def start(config: Config, parallel: Parallel) -> TrainState:
    """The state before the first step on the devices; a copy, because a step takes its memory."""
    return jax.device_put(jax.tree.map(np.array, first_state(config)), parallel.replicated)


def spread(config: Config, way: str):
    """The config, the mesh and the model of a way to run."""
    mode, num_devices = WAYS[way]
    config = replace(config, train={"parallel": mode, "num_devices": num_devices})
    return config, make_parallel(config.train), make_model(config, FIELDS)


@functools.cache
def run_steps(config: Config, way: str, steps: int = 5) -> Run:
    """Some steps, each on a new random batch."""
    first, (config, parallel, model) = config, spread(config, way)
    traces = []
    device_step = make_device_step(config, model)

    def counted(state, batch):
        traces.append(1)
        return device_step(state, batch)

    step, state = parallel.spread(counted), start(first, parallel)
    states, metrics = [first_state(first)], []
    for number in range(steps):
        batch = make_batch(seed=number, measures=config.data.measures)
        batch = with_attributes(batch, config, number) if config.data.attributes else batch
        state, read = step(state, parallel.shard(batch))
        states.append(jax.device_get(state))
        metrics.append(jax.device_get(read))
    return Run(states, metrics, len(traces))


def assert_near(first: Any, second: Any, tolerance: float) -> None:
    """Every array differs by at most ``tolerance`` of its own norm."""

    def near(a, b):
        assert np.linalg.norm(np.asarray(a - b)) <= tolerance * np.linalg.norm(np.asarray(a)) + 1e-12

    jax.tree.map(near, first, second)


def assert_same_metrics(first: list[Metrics], second: list[Metrics], tolerance: float) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_allclose(value, other[name], rtol=tolerance, err_msg=name)


def load(workdir: Path, config: Config, kind: str = "latest"):
    """(state, data iterator state) of a checkpoint."""
    like = state_shapes(config, make_model(config, make_codec(config.codec).fields))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like)
    state, data_state, _ = Checkpoints(workdir).restore(like, kind)
    return jax.device_get(state), data_state


def assert_same_end(config: Config, straight: Path, other: Path) -> None:
    """Two runs ended in the same state, and would take the same batch next."""
    expected, expected_data = load(straight, config)
    state, data_state = load(other, config)
    assert data_state == expected_data
    assert int(state.step) == int(expected.step) == config.train.num_steps
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), state, expected)


def make_state(width: int = 6) -> TrainState:
    """A state as small as one can be."""
    return TrainState(jnp.asarray(3), {"loc": jnp.arange(width, dtype=jnp.float32)}, (), (), {}, ())
