"""Laws of the training step: devices, microbatches, precision, and the state that it carries."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.inference import forward, reconstruct
from musicvae_jax.objectives.loss import objective
from musicvae_jax.objectives.rates import final_weights, weights_at
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import (
    from_vectors,
    init_state,
    learning_rate_schedule,
    make_model,
    model_variables,
    state_shapes,
)
from musicvae_jax.training.step import carried_by, make_device_gradients, make_device_step, make_loss, over_kept_windows
from musicvae_jax.training.validation import make_validator
from musicvae_jax.types import LEVELS
from tests.tiny import CONFIG, FIELDS, make_batch, replace
from tests.training import runs
from tests.training.runs import (
    NAMED,
    NOISE,
    NOISY,
    PLAIN_SGD,
    THREE,
    VARIANTS,
    assert_near,
    assert_same_metrics,
    run_steps,
    spread,
    start,
)

PITCHED = (FIELDS[0]._replace(first_pitch=2), FIELDS[1])
METRICS = {
    "loss", "nll", "kl", "kl_global", "kl_local", "kl_fine", "beta_global", "beta_local", "beta_fine",
    "span_nll_global", "span_nll_local", "tokens", "phrases", "grad_norm", "learning_rate",
}  # fmt: skip


def run(variant: str, way: str, steps: int = 5, **train):
    """In float64, where no difference hides behind rounding."""
    with jax.enable_x64(True):
        return run_steps(replace(VARIANTS[variant], model={"dtype": "float64"}, train=train), way, steps)


def first_gradients(result):
    """What plain gradient descent subtracted in the first step, over its learning rate."""
    before, after = (state.params for state in result.states[:2])
    return jax.tree.map(lambda one, other: (one - other) / PLAIN_SGD["learning_rate"], before, after)


def step_keys(config, rows: int = 8):
    """The keys of the first step."""
    return row_keys(stream(jax.random.key(config.train.seed), "train", 0), jnp.arange(rows))


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("variant", "way"),
    [("batch", "jit-4"), ("batch", "pmap-4"), slow("ladder", "jit-4"), slow("ladder", "pmap-4")],
)
def test_one_and_four_devices_train_the_same_model_with_every_option(variant, way):
    one, four = run(variant, "jit-1"), run(variant, way)
    assert one.traces == four.traces == 1
    assert one.metrics[0].keys() == METRICS
    assert_near(first_gradients(one), first_gradients(four), 1e-9)
    assert_near(one.last, four.last, 1e-9)  # parameters, moments, controller
    assert_same_metrics(one.metrics, four.metrics, 1e-9)


@pytest.mark.parametrize("way", ["jit-4", slow("pmap-4")])
def test_terms_over_several_latents_are_over_those_of_all_devices(way, monkeypatch):
    monkeypatch.setattr(runs, "FIELDS", PITCHED)  # so that the decoder expects pitches
    config = replace(NAMED, model={"dtype": "float64"}, objective={"control_weight": 2.0})
    with jax.enable_x64(True):
        one, four = (run_steps(config, where, 2) for where in ("jit-1", way))
    assert_near(first_gradients(one), first_gradients(four), 1e-9)
    assert_near(one.last, four.last, 1e-9)
    assert_same_metrics(one.metrics, four.metrics, 1e-9)
    terms = ("attributes", "group_heads", "leakage", "orthogonality", "group_correlation", "dim_correlation", "dip")
    assert all(one.metrics[0][f"{term}_fine"] != 0 for term in (*terms, "factor"))
    first, last = (jax.tree.leaves(carried_by(state).discriminators) for state in (one.states[0], one.last))
    assert all((before != after).any() for before, after in zip(first, last, strict=True))
    assert one.metrics[0]["control"] > 0


@pytest.mark.parametrize("way", ["jit-4", slow("pmap-4")])
def test_one_and_four_devices_take_the_same_steps_of_adam(way):
    """Adam divides small gradients by their own size, rounding errors included: only float64 can show the law."""
    config = replace(NOISY, model={"dtype": "float64"})
    with jax.enable_x64(True):
        one, four = run_steps(config, "jit-1"), run_steps(config, way)
    assert {leaf.dtype for leaf in jax.tree.leaves(one.last.params)} == {np.dtype("float64")}
    assert one.traces == four.traces == 1
    assert_near(one.last, four.last, 1e-9)
    assert_same_metrics(one.metrics, four.metrics, 1e-9)
    rates = [learning_rate_schedule(config.train)(step) for step in range(5)]
    assert len({*map(float, rates)}) == 5
    np.testing.assert_allclose([metrics["learning_rate"] for metrics in one.metrics], rates, rtol=1e-6)


@pytest.mark.parametrize("variant", ["batch", slow("ladder")])
def test_every_parameter_has_a_gradient_and_every_state_moves(variant):
    """Otherwise the laws of devices would hold for nothing."""
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


@pytest.mark.parametrize(("way", "accumulate"), [slow("jit-1", 4), slow("pmap-4", 2)])
def test_microbatches_do_not_change_terms_of_single_examples(way, accumulate):
    whole, parts = run("ladder", "jit-1"), run("ladder", way, accumulate=accumulate)
    assert_near(first_gradients(whole), first_gradients(parts), 1e-9)
    assert_near(whole.last, parts.last, 1e-9)
    assert_same_metrics(whole.metrics, parts.metrics, 1e-9)


@pytest.mark.parametrize("way", ["jit-1", slow("pmap-4")])
def test_terms_of_the_batch_are_means_over_microbatches(way):
    with jax.enable_x64(True):
        config = replace(VARIANTS["batch"], model={"dtype": "float64"})
        make_terms = make_loss(config, make_model(config, FIELDS))
        state, batch, keys = run("batch", way, 1, accumulate=2).states[0], make_batch(measures=6), step_keys(config)

        @jax.jit
        def half(params, batch, keys):
            def mean_loss(params):
                terms, metrics, moments = make_terms(params, carried_by(state), batch, keys)
                return terms.loss(), ({"loss": terms.loss(), **jax.tree.map(jnp.mean, metrics)}, moments)

            return jax.grad(mean_loss, has_aux=True)(params)

        halves = [
            half(state.params, jax.tree.map(lambda leaf, n=number: leaf[n::2], batch), keys[number::2])
            for number in (0, 1)
        ]
        gradients, (metrics, moments) = jax.tree.map(lambda *parts: sum(parts) / 2, *jax.device_get(halves))
        metrics = jax.device_get(over_kept_windows(metrics, LEVELS))
    parts = run("batch", way, 1, accumulate=2)
    assert_near(jax.tree.map(lambda leaf: leaf / metrics["tokens"], gradients), first_gradients(parts), 1e-9)
    assert_near(moments, parts.last.moments, 1e-9)
    assert_same_metrics([metrics], [{name: parts.metrics[0][name] for name in metrics}], 1e-9)
    assert (
        abs(run("batch", "jit-1").metrics[0]["loss"] - metrics["loss"]) > 1e-3
    )  # so it is not that of the whole batch


def test_step_validation_and_notebook_have_the_same_loss_on_the_same_latents():
    """Also where a term depends on the batch as a whole, and the step spreads the batch over devices."""
    config = replace(
        THREE,
        model=dict.fromkeys(NOISE, 0.0) | {"skip": False},
        objective={"beta": 0.7},
        **{"global": {"free_bits": "total", "nats": 0.5}},
        local={"free_bits": "per_dim", "nats": 0.2},
        fine={"free_bits": "capacity", "nats": 3.0, "beta": 1.5},
    )
    batch, model = make_batch(measures=6), make_model(config, FIELDS)
    step = run_steps(config, "jit-4", 1)
    variables = model_variables(step.states[0].params, {})

    training = jax.jit(partial(forward, model, deterministic=False))
    output = training(variables, batch, step_keys(config))
    loss = objective(config, output, batch, weights_at(config, 0)).loss()
    np.testing.assert_allclose(step.metrics[0]["loss"], loss, rtol=1e-5)
    assert step.metrics[0]["phrases"] == 13 / 8 and step.metrics[0]["tokens"] == 2 * batch.mask.sum() / 8

    again = reconstruct(model, variables, batch, step_keys(replace(config, train={"seed": 1})), output.latents)
    # Span heads help training; they do not choose a checkpoint.
    bound = objective(config, output, batch, weights_at(config, 0)._replace(span=0.0)).loss()
    assert bound < loss
    np.testing.assert_allclose(objective(config, again, batch, final_weights(config)).loss(), bound, rtol=1e-5)

    keys = row_keys(stream(jax.random.key(config.train.seed), "validation"), batch.index)
    held_out = reconstruct(model, variables, batch, keys)
    config, parallel, _ = spread(config, "jit-4")
    figures = make_validator(model, parallel, config)(jax.device_put(variables, parallel.replicated), [batch])
    np.testing.assert_allclose(
        figures.objective, objective(config, held_out, batch, final_weights(config)).loss(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [("batch", "bfloat16"), ("ladder", "float32"), slow("batch", "float32"), slow("ladder", "bfloat16")],
)
def test_the_state_keeps_its_shapes_and_types(variant, dtype):
    """A type that changes in a step would be traced again in the next; latents and statistics stay float32."""
    config, parallel, model = spread(replace(VARIANTS[variant], model={"dtype": dtype}), "jit-4")
    state = state_shapes(config, model)
    after, metrics = jax.eval_shape(parallel.spread(make_device_step(config, model)), state, make_batch(measures=6))
    before, later = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), each) for each in (state, after)
    )
    assert before == later
    assert {leaf.dtype for leaf in jax.tree.leaves((after, metrics))} <= {np.dtype("float32"), np.dtype("int32")}


def test_metrics_and_controllers_measure_a_level_in_the_windows_that_keep_it():
    """A level that is drawn from its prior has a KL of 0, which says nothing about the level."""
    result = run("batch", "jit-1")
    with jax.enable_x64(True):
        config, _, model = spread(replace(VARIANTS["batch"], model={"dtype": "float64"}), "jit-1")
        state, batch = result.states[0], make_batch(measures=6)
        loss = jax.jit(lambda params: make_loss(config, model)(params, carried_by(state), batch, step_keys(config))[1])
        metrics = jax.device_get(loss(state.params))
    dropped = {level: metrics[f"phrases_{level}"] == 0 for level in LEVELS}
    assert dropped["global"].sum() == 0 < dropped["fine"].sum() < len(batch.index)
    for level, rows in dropped.items():
        assert (metrics[f"kl_{level}"][rows] == 0).all()
        per_phrase = metrics[f"kl_{level}"].sum() / metrics[f"phrases_{level}"].sum()
        np.testing.assert_allclose(result.metrics[0][f"kl_{level}"], per_phrase * metrics["phrases"].mean(), rtol=1e-9)
    error = np.log(per_phrase / 6.0)  # of the fine level
    assert abs(error) < 1  # else it would be clipped
    np.testing.assert_allclose(result.states[1].controller.error["fine"], error, rtol=1e-9)


@pytest.mark.parametrize("point", ["fine", "total"])
def test_a_controller_waits_while_no_window_keeps_its_level(point):
    """An unknown KL is not 0: a controller that took it for 0 would lower the weight."""
    steered = {"fine": {"dim": 2, "kl_per_phrase": 3.0}} if point == "fine" else {"fine": {"dim": 2}}
    objective = {"kl_balance_steps": 9} | ({"kl_per_phrase": 3.0} if point == "total" else {})
    model = {"level_dropout": 0.999, "encoder_slot_layers": 0}
    config = replace(CONFIG, model=model, objective=objective, train=PLAIN_SGD, **steered)
    result = run_steps(config, "jit-4", 2)
    first, last = result.states[0].controller, result.last.controller
    assert result.metrics[0]["kl_fine"] == 0 < result.metrics[0]["kl_global"]
    for name in ("integral", "error"):
        assert getattr(first, name)[point] == getattr(last, name)[point]
    # The balance is over the one level that is there, whose factor is 1.
    assert result.metrics[0]["beta_global"] == pytest.approx(1.0 if point == "fine" else 1e-3, rel=1e-6)


def test_the_average_of_the_parameters_has_weights_that_decay_and_add_up_to_1():
    """Over the parameters after each step so far, without those before the first step."""
    states, decay = run("batch", "jit-1").states, CONFIG.train.ema_decay
    for number in range(1, len(states)):
        weights = decay ** np.arange(number)[::-1]
        steps = [state.params for state in states[1 : number + 1]]
        average = jax.tree.map(lambda *leaves, w=weights: np.average(leaves, 0, w), *steps)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-9), from_vectors(states[number].ema_params, average), average
        )


def test_noise_differs_between_steps_and_seeds():
    results = []
    for seed, steps in ((0, (0, 0, 1)), (1, (0,))):
        config, parallel, model = spread(replace(NOISY, train={"seed": seed}), "jit-4")
        gradients = make_device_gradients(config, model)
        nll = parallel.spread(
            lambda state, batch, found=gradients: found(state.params, carried_by(state), batch)[1]["nll"]
        )
        for number in steps:
            state = start(NOISY, parallel)  # the same parameters for any seed
            results.append(float(nll(state._replace(step=jnp.asarray(number)), parallel.shard(make_batch()))))
    assert results[0] == results[1] and len(set(results)) == 3


def test_first_parameters_differ_between_seeds():
    small = replace(CONFIG, model={"encoder_slot_layers": 0})
    model = make_model(small, FIELDS)
    params = [init_state(replace(small, train={"seed": seed}), model).params for seed in (0, 1)]
    assert any((one != other).all() for one, other in zip(*map(jax.tree.leaves, params), strict=True) if one.ndim > 1)


def test_the_state_is_donated():
    config, parallel, model = spread(replace(CONFIG, model={"encoder_slot_layers": 0}), "jit-4")
    step = parallel.spread(make_device_step(config, model))
    state = parallel.init(config, model)
    step(state, parallel.shard(make_batch()))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state, state.ema_params)))
