"""The loss of single examples: what it is made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import LevelObjective
from musicvae_jax.objectives.balance import balance
from musicvae_jax.objectives.controller import ControllerState, init_controller
from musicvae_jax.objectives.elbo import elbo_terms, negative_elbo
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import init_state, make_model, model_variables
from musicvae_jax.training.step import Carried, make_loss
from tests.tiny import CONFIG, FIELDS, make_batch, replace

THREE = {"global_dim": 4, "local_dim": 3, "fine_dim": 2, "local_span": 2, "context": "none"}
BATCH = make_batch(measures=6)
KEYS = row_keys(jax.random.key(3), jnp.arange(8))


@functools.cache
def model_and_state(config):
    model = make_model(config, FIELDS)
    return model, jax.jit(functools.partial(init_state, config, model))()


@functools.cache
def compiled_loss(config):
    return jax.jit(make_loss(config, model_and_state(config)[0]))


def losses(config, step=0, batch=BATCH, **changes):
    """(loss, metrics, moments) of a batch, as a notebook calls for it: no mapped axis, no optimiser."""
    _, state = model_and_state(config)
    carried = Carried(jnp.asarray(step), state.moments, state.controller)._replace(**changes)
    return jax.device_get(compiled_loss(config)(state.params, carried, batch, KEYS))


@pytest.mark.parametrize(("beta", "step", "weight"), [(1.0, 0, 1.0), (0.7, 3, 0.21), (0.7, 10, 0.7)])
def test_without_options_the_loss_is_the_weighted_elbo(beta, step, weight):
    """Golden: nll + beta x KL of every example, by the functions that say so."""
    config = replace(CONFIG, objective={"beta": beta, "beta_warmup_steps": 10 * (beta < 1)})
    loss, metrics, moments = losses(config, step)
    model, state = model_and_state(config)

    @jax.jit
    @jax.vmap
    def outputs(example, key):
        variables = model_variables(state.params, {})
        return model.apply(variables, example, deterministic=False, rngs={"latent": stream(key, "latent")})

    terms = elbo_terms(outputs(BATCH, KEYS), BATCH)
    np.testing.assert_allclose(loss, negative_elbo(terms, weight), rtol=1e-6)
    np.testing.assert_allclose(metrics["nll"], terms.nll, rtol=1e-6)
    np.testing.assert_allclose(metrics["kl"], terms.kl["global"], rtol=1e-6)
    np.testing.assert_array_equal(metrics["phrases"], [1, 2, 2] * 2 + [1, 2])
    assert moments == {} and loss.shape == (8,)
    assert metrics.keys() == {"loss", "nll", "kl", "kl_global", "beta_global", "tokens", "phrases"}


def test_rows_have_noise_of_their_own():
    row = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 8, 0), BATCH)
    _, metrics, _ = losses(CONFIG, batch=row)
    assert len(np.unique(metrics["nll"])) == 8


def test_the_loss_is_the_sum_of_its_metrics():
    """Each level by its weight and its rule, and the span heads."""
    config = replace(
        CONFIG,
        model={**THREE, "span_heads": ("global", "fine"), "level_dropout": 0.5, "batch_norm_levels": ("global",)},
        objective={
            "beta": 0.5,
            "global_level": LevelObjective(free_bits="total", nats=0.9, beta=3.0),
            "local_level": LevelObjective(free_bits="capacity", nats=4.0, capacity_steps=8),
            "fine_level": LevelObjective(beta=0.2),
            "span_weight": 0.3,
        },
    )
    loss, metrics, moments = losses(config, step=4)
    assert moments.keys() == {"global"}
    expected = metrics["nll"] + 0.3 * (metrics["span_nll_global"] + metrics["span_nll_fine"])
    expected += 1.5 * np.maximum(metrics["kl_global"] - 0.9, 0)
    expected += 0.5 * np.where(metrics["phrases_local"] > 0, np.abs(metrics["kl_local"] - 2.0), 0)
    expected += 0.1 * metrics["kl_fine"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    dropped = metrics["phrases_fine"] == 0
    assert 0 < dropped.sum() < len(dropped)
    np.testing.assert_array_equal(metrics["span_nll_fine"] == 0, dropped)  # what the prior draws knows nothing
    np.testing.assert_allclose(metrics["kl"], sum(metrics[f"kl_{level}"] for level in ("global", "local", "fine")))


def test_a_weight_is_schedule_times_controller_times_balance():
    config = replace(
        CONFIG,
        model={**THREE, "level_dropout": 0.4},
        objective={
            "beta": 2.0,
            "local_level": LevelObjective(schedule="linear", schedule_steps=10),
            "fine_level": LevelObjective(kl_per_phrase=1.0),
            "kl_balance_steps": 5,
        },
    )
    controller = init_controller(config.objective, ["global", "local", "fine"])
    assert isinstance(controller, ControllerState)
    controller = controller._replace(integral={"fine": jnp.log(0.3)})
    own = {"global": 2.0, "fine": 0.6}
    _, warm, _ = losses(config, step=4, controller=controller)
    kept = {level: warm[f"phrases_{level}"] > 0 for level in ("global", "local", "fine")}
    assert 0 < kept["fine"].sum() < kept["global"].sum() == 8
    kl = {level: warm[f"kl_{level}"].mean() for level in kept}
    measures = np.where(np.arange(8) % 3 == 0, 2, 6)  # of each row
    latents = {"global": np.ones(8), "local": measures / 2, "fine": measures}
    widths = {"global": 4, "local": 3, "fine": 2}
    factors = balance(kl, {level: width * (latents[level] * kept[level]).mean() for level, width in widths.items()})
    for level, weight in (own | {"local": 0.8}).items():
        np.testing.assert_allclose(warm[f"beta_{level}"], weight * factors[level], rtol=1e-5)
    _, cold, _ = losses(config, step=5, controller=controller)
    for level, weight in (own | {"local": 1.0}).items():
        np.testing.assert_allclose(cold[f"beta_{level}"], weight, rtol=1e-6)
