"""Where runs end: what the latest checkpoint holds, and that two runs hold the same."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import Config
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.state import TrainState, init_state, make_model
from musicvae_jax.types import Field


def load(workdir: Path, config: Config, kind: str = "latest"):
    """(state, data iterator state) of a checkpoint."""
    model = make_model(config, (Field("melody", 130),))
    like = jax.eval_shape(partial(init_state, config, model))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like)
    state, data_state, _ = Checkpoints(workdir).restore(like, kind)
    return jax.device_get(state), data_state


def assert_same_end(config: Config, straight: Path, other: Path) -> None:
    """Of two runs: the states that they ended in, and the batch that either would take next."""
    expected, expected_data = load(straight, config)
    state, data_state = load(other, config)
    assert data_state == expected_data  # the next batch is the same
    assert int(state.step) == int(expected.step) == config.train.num_steps
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), state, expected)


def make_state(width: int = 6) -> TrainState:
    """A state as small as one can be."""
    return TrainState(jnp.asarray(3), {"loc": jnp.arange(width, dtype=jnp.float32)}, (), (), {}, ())
