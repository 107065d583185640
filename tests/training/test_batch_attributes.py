"""Attributes in the batch go through sharding, training and evaluation."""

from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import init_state, make_model
from musicvae_jax.training.step import make_device_step
from tests.data.test_batch_attributes import SCORES, STYLES
from tests.tiny import CONFIG, replace
from tests.trained import small_config


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_attributes_are_spread_over_devices_with_their_rows(mode):
    batch = WindowSource(SCORES, MelodyCodec(), 4, 1, attributes=True, styles=STYLES).gather(np.arange(8))
    parallel = make_parallel(replace(CONFIG, train={"parallel": mode, "num_devices": 4}).train)
    sharded = parallel.shard(batch)
    assert sharded.attributes.keys() == batch.attributes.keys()
    for spread, whole in zip(jax.tree.leaves(sharded), jax.tree.leaves(batch), strict=True):
        assert len(spread.sharding.device_set) == 4
        np.testing.assert_array_equal(np.asarray(spread).reshape(whole.shape), whole)


def test_a_step_with_microbatches_takes_them():
    config = replace(CONFIG, train={"num_devices": 2, "accumulate": 2}, codec={"slots": 18}, data={"measures": 4})
    parallel, model = make_parallel(config.train), make_model(config, MelodyCodec().fields)
    step = parallel.spread(make_device_step(config, model))
    state = jax.eval_shape(partial(init_state, config, model))
    plain, full = (
        WindowSource(SCORES, MelodyCodec(), 4, 1, attributes=on).gather(np.arange(8)) for on in (False, True)
    )
    assert jax.eval_shape(step, state, plain) == jax.eval_shape(step, state, full)


@pytest.mark.slow
def test_a_run_with_attributes_is_the_run_without(folk_data_dir, tmp_path, trained_workdir):
    config = replace(small_config(folk_data_dir), data={"attributes": True})
    assert train(config, tmp_path / "run").finished
    with_them, without = (read_metrics(folder / "metrics.jsonl") for folder in (tmp_path / "run", trained_workdir))
    for row, expected in zip(with_them, without, strict=True):
        for name in {"step", "nll", "kl", "grad_norm", "validation_nll"} & expected.keys():
            assert row[name] == pytest.approx(expected[name], rel=1e-5), name
