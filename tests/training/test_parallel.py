"""Devices: which are used, and how batches lie on them."""

import jax
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.config import ConfigError
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.training.parallel import check_platform, make_parallel
from musicvae_jax.training.state import make_model, state_shapes
from musicvae_jax.training.step import make_device_step
from tests.data.test_batch_attributes import SCORES, STYLES
from tests.tiny import CONFIG, replace


def windows(**settings):
    """Eight windows of four measures."""
    return WindowSource(SCORES, MelodyCodec(), 4, 1, **settings).gather(np.arange(8))


@pytest.mark.parametrize(("batch_size", "accumulate", "used"), [(8, 1, 4), (6, 1, 3), (7, 1, 1), (8, 4, 2), (12, 2, 3)])
def test_as_many_devices_are_used_as_divide_a_microbatch(batch_size, accumulate, used):
    train = replace(CONFIG, train={"batch_size": batch_size, "accumulate": accumulate}).train
    assert make_parallel(train).mesh.size == used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6, "num_devices": 4}, r"batch_size = 6.* 4 devices x accumulate = 1, e\.g\. 8"),
        ({"accumulate": 3}, r"batch_size = 8.* accumulate = 3"),
        ({"num_devices": 5}, r"num_devices = 5: .* 4"),
    ],
)
def test_a_batch_that_the_devices_cannot_share_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_parallel(replace(CONFIG, train=changes).train)


def test_float64_is_refused_where_jax_would_compute_in_float32():
    check_platform(CONFIG)
    with pytest.raises(ConfigError, match="dtype = 'float64' needs JAX_ENABLE_X64=1"):
        check_platform(replace(CONFIG, model={"dtype": "float64"}))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_every_part_of_a_batch_is_spread_over_devices_in_the_order_of_rows(mode):
    batch = windows(attributes=True, styles=STYLES)
    sharded = make_parallel(replace(CONFIG, train={"parallel": mode, "num_devices": 4}).train).shard(batch)
    assert sharded.attributes.keys() == batch.attributes.keys()
    for spread, whole in zip(jax.tree.leaves(sharded), jax.tree.leaves(batch), strict=True):
        assert len(spread.sharding.device_set) == 4
        np.testing.assert_array_equal(np.asarray(spread).reshape(whole.shape), whole)


def test_a_step_with_microbatches_takes_attributes():
    config = replace(CONFIG, train={"num_devices": 2, "accumulate": 2}, codec={"slots": 18}, data={"measures": 4})
    model = make_model(config, MelodyCodec().fields)
    step = make_parallel(config.train).spread(make_device_step(config, model))
    state = state_shapes(config, model)
    plain, full = (jax.eval_shape(step, state, windows(attributes=there)) for there in (False, True))
    assert plain == full
