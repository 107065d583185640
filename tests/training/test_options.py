"""The law of devices with every option on, in float64, where nothing hides behind rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import LevelObjective
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import init_state, make_model
from musicvae_jax.training.step import make_device_step, make_loss, over_kept_windows
from musicvae_jax.types import LEVELS
from tests.tiny import CONFIG, FIELDS, make_batch, replace
from tests.training.ways import PLAIN_SGD, assert_near, carried, run_steps, spread

SIX = replace(CONFIG, data={"measures": 6})
# Three levels, of windows of six measures or two: two phrases or one; and all that draws noise.
THREE = {
    "global_dim": 4, "local_dim": 3, "fine_dim": 2, "local_span": 2, "dropout": 0.2, "token_dropout": 0.2,
    "level_dropout": 0.4, "skip": True, "span_heads": ("global", "local"), "encoder_slot_layers": 0, "prior_layers": 0,
}  # fmt: skip
TRAIN = {**PLAIN_SGD, "clip_norm": 1e9}  # unclipped, so that the first step shows its gradients
VARIANTS = {
    # Every term that depends on the batch as a whole, a prior with memory, a controller of one level.
    "batch": replace(
        SIX,
        model={
            **THREE, "batch_norm_levels": ("global",), "delta_levels": ("local",), "context": "previous",
            "remat": True,
        },
        objective={
            "beta": 0.7,
            "global_level": LevelObjective(free_bits="capacity", nats=4.0, capacity_steps=6),
            "local_level": LevelObjective(
                free_bits="per_dim", nats=0.5, schedule="cyclical_cosine", schedule_steps=8, cycles=2
            ),
            "fine_level": LevelObjective(free_bits="per_dim_per_example", nats=0.2, beta=1.5, kl_per_phrase=6.0),
            "kl_balance_steps": 3,
            "span_weight": 0.1,
        },
        train=TRAIN,
    ),
    # Latents drawn one after the other; a controller of the total; nothing that depends on the batch as a whole.
    "ladder": replace(
        SIX,
        model={**THREE, "inference": "ladder", "prior_context": "causal", "context": "none", "slotwise": True},
        objective={
            "beta_warmup_steps": 4,
            "local_level": LevelObjective(free_bits="total", nats=0.5),
            "fine_level": LevelObjective(free_bits="per_dim_per_example", nats=0.2),
            "kl_per_phrase": 2.0,
            "span_weight": 0.1,
        },
        train=TRAIN,
    ),
}  # fmt: skip
METRICS = {
    "loss", "nll", "kl", "kl_global", "kl_local", "kl_fine", "beta_global", "beta_local", "beta_fine",
    "span_nll_global", "span_nll_local", "tokens", "phrases", "grad_norm", "learning_rate",
}  # fmt: skip


def run(variant, way, steps=5, **train):
    with jax.enable_x64(True):
        return run_steps(replace(VARIANTS[variant], model={"dtype": "float64"}, train=train), way, steps)


def first_gradients(result):
    """What plain gradient descent subtracted, over its learning rate."""
    before, after = (state.params for state in result.states[:2])
    return jax.tree.map(lambda one, other: (one - other) / PLAIN_SGD["learning_rate"], before, after)


@pytest.mark.parametrize(
    ("variant", "way"),
    [
        ("batch", "jit-4"),
        ("batch", "pmap-4"),
        pytest.param("ladder", "jit-4", marks=pytest.mark.slow),  # below it is held on four devices, with microbatches
        pytest.param("ladder", "pmap-4", marks=pytest.mark.slow),
    ],
)
def test_one_and_four_devices_train_the_same_model(variant, way):
    one, four = run(variant, "jit-1"), run(variant, way)
    assert one.traces == four.traces == 1
    assert_near(first_gradients(one), first_gradients(four), 1e-9)
    assert_near(one.last, four.last, 1e-9)  # parameters, moments, controller
    for first, second in zip(one.metrics, four.metrics, strict=True):
        assert first.keys() == second.keys() == METRICS
        for name, value in first.items():
            np.testing.assert_allclose(value, second[name], rtol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_everything_moves(variant):
    """A part without a gradient, or a state that stays, would make the law of devices hold for nothing."""
    result = run(variant, "jit-1")
    gradients = jax.tree.leaves_with_path(first_gradients(result))
    silent = [jax.tree_util.keystr(path) for path, leaf in gradients if not np.abs(leaf).max() > 1e-7]
    assert silent == ["['encoder']['embed']['specials']['embedding']"]  # no pool lets a padded slot through
    norm = np.sqrt(sum(np.square(leaf).sum() for _, leaf in gradients))
    np.testing.assert_allclose(result.metrics[0]["grad_norm"], norm, rtol=1e-9)
    for name in ("moments", "controller"):
        first, last = (jax.tree.leaves(getattr(state, name)) for state in (result.states[0], result.last))
        assert all((one != other).all() for one, other in zip(first, last, strict=True))
    for level in ("local", "fine"):
        assert len({float(metrics[f"beta_{level}"]) for metrics in result.metrics}) > 2


@pytest.mark.parametrize(("way", "accumulate"), [pytest.param("jit-1", 4, marks=pytest.mark.slow), ("pmap-4", 2)])
def test_terms_of_single_examples_do_not_see_microbatches(way, accumulate):
    whole, parts = run("ladder", "jit-1"), run("ladder", way, accumulate=accumulate)
    assert_near(first_gradients(whole), first_gradients(parts), 1e-9)
    assert_near(whole.last, parts.last, 1e-9)
    for first, second in zip(whole.metrics, parts.metrics, strict=True):
        for name, value in first.items():
            np.testing.assert_allclose(value, second[name], rtol=1e-9)


@functools.cache
def microbatches():
    """Gradients, metrics and moments of the two halves of a batch, by the loss as a notebook calls it."""
    with jax.enable_x64(True):
        config = replace(VARIANTS["batch"], model={"dtype": "float64"})
        loss = make_loss(config, make_model(config, FIELDS))
        state = run("batch", "jit-1", 1, accumulate=2).states[0]
        keys = row_keys(stream(jax.random.key(config.train.seed), "train", 0), jnp.arange(8))

        @jax.jit
        def half(params, batch, keys):
            def mean_loss(params):
                values, metrics, moments = loss(params, carried(state), batch, keys)
                return values.mean(), (jax.tree.map(jnp.mean, metrics), moments)

            return jax.grad(mean_loss, has_aux=True)(params)

        batch = make_batch(seed=0, measures=6)
        rows = (slice(0, 8, 2), slice(1, 8, 2))
        return jax.device_get(
            [half(state.params, jax.tree.map(lambda leaf, n=n: leaf[n], batch), keys[n]) for n in rows]
        )


def test_terms_of_the_batch_are_those_of_microbatches_in_the_mean():
    parts = run("batch", "jit-1", 1, accumulate=2)
    gradients, (metrics, moments) = jax.tree.map(lambda *halves: sum(halves) / 2, *microbatches())
    gradients = jax.tree.map(lambda leaf: leaf / metrics["tokens"], gradients)
    assert_near(gradients, first_gradients(parts), 1e-9)
    assert_near(moments, parts.last.moments, 1e-9)
    spread_out = run("batch", "pmap-4", 1, accumulate=2)  # a microbatch has the same rows on any devices
    assert_near(parts.last, spread_out.last, 1e-9)
    with jax.enable_x64(True):
        metrics = jax.device_get(over_kept_windows(metrics, LEVELS))
    for name, value in metrics.items():
        np.testing.assert_allclose(value, parts.metrics[0][name], rtol=1e-9)
    whole = run("batch", "jit-1")
    assert abs(whole.metrics[0]["loss"] - metrics["loss"]) > 1e-3  # so it is not the whole batch's


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("batch", "bfloat16"),
        ("ladder", "float32"),
        pytest.param("batch", "float32", marks=pytest.mark.slow),
        pytest.param("ladder", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_the_state_keeps_its_types(variant, dtype):
    """A type that changes in a step would be traced again in the next; latents and statistics stay float32."""
    config, parallel, model = spread(replace(VARIANTS[variant], model={"dtype": dtype}), "jit-4")
    state = jax.eval_shape(functools.partial(init_state, config, model))
    after, metrics = jax.eval_shape(parallel.spread(make_device_step(config, model)), state, make_batch(measures=6))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), after
    )
    types = {leaf.dtype for leaf in jax.tree.leaves((after, metrics))}
    assert types <= {np.dtype("float32"), np.dtype("int32")}


def test_controllers_and_metrics_see_a_level_in_the_windows_that_keep_it():
    """Where level dropout draws it from its prior it has no KL, which must not pass for a level that says little."""
    result = run("batch", "jit-1")
    with jax.enable_x64(True):
        config, _, model = spread(replace(VARIANTS["batch"], model={"dtype": "float64"}), "jit-1")
        state, batch = result.states[0], make_batch(seed=0, measures=6)
        keys = row_keys(stream(jax.random.key(config.train.seed), "train", 0), jnp.arange(len(batch.index)))
        _, metrics, _ = jax.device_get(jax.jit(make_loss(config, model))(state.params, carried(state), batch, keys))
    dropped = {level: np.asarray(metrics[f"phrases_{level}"]) == 0 for level in LEVELS}
    assert dropped["global"].sum() == 0 < dropped["fine"].sum() < len(batch.index)
    for level, rows in dropped.items():
        assert (np.asarray(metrics[f"kl_{level}"])[rows] == 0).all()
        per_phrase = metrics[f"kl_{level}"].sum() / metrics[f"phrases_{level}"].sum()
        np.testing.assert_allclose(result.metrics[0][f"kl_{level}"], per_phrase * metrics["phrases"].mean(), rtol=1e-9)
    error = np.log(per_phrase / 6.0)  # of the fine level
    assert abs(error) < 1  # else it would be clipped
    np.testing.assert_allclose(result.states[1].controller.error["fine"], error, rtol=1e-9)


@pytest.mark.parametrize("point", ["fine", "total"])
def test_a_controller_waits_where_no_window_of_the_batch_keeps_the_level(point):
    """A KL that was not measured must not pass for one of 0, which would lower the weight."""
    objective: dict = {"fine_level": LevelObjective(kl_per_phrase=3.0)} if point == "fine" else {"kl_per_phrase": 3.0}
    model = {"global_dim": 4, "fine_dim": 2, "level_dropout": 0.999}
    config = replace(CONFIG, model=model, objective={**objective, "kl_balance_steps": 9}, train=TRAIN)
    result = run_steps(config, "jit-4", 2)
    first, last = result.states[0].controller, result.last.controller
    assert result.metrics[0]["kl_fine"] == 0 < result.metrics[0]["kl_global"]
    for name in ("integral", "error"):
        assert getattr(first, name)[point] == getattr(last, name)[point]
    # Of the balance nothing is left: the one level that is there has all of it.
    assert result.metrics[0]["beta_global"] == pytest.approx(1.0 if point == "fine" else 1e-3, rel=1e-6)
