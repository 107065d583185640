"""Laws of the objective: its terms, their weights, and what costs nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.inference import forward
from musicvae_jax.objectives.controller import ControllerState
from musicvae_jax.objectives.loss import elbo_terms, objective, token_nll
from musicvae_jax.objectives.rates import balance, balanced_weights, final_weights, weights_at
from musicvae_jax.rng import row_keys
from musicvae_jax.types import LEVELS, VAEOutput, existing_fields
from tests.models.variants import THREE, make_features
from tests.tiny import CONFIG, ENDING, FIELDS, make_batch, make_ending_batch, make_vae, replace

BATCH = make_batch(measures=6)
KEYS = row_keys(jax.random.key(3), jnp.arange(8))
# Every kind of rule, with nats around which the KLs of the model lie.
RULES = replace(
    THREE,
    model={"level_dropout": 0.5},
    objective={"beta": 0.5, "span_weight": 0.3},
    **{"global": {"free_bits": "total", "nats": 0.9, "beta": 3.0, "span_head": True}},
    local={"free_bits": "capacity", "nats": 4.0, "capacity_steps": 8},
    fine={"free_bits": "per_dim", "nats": 0.2, "beta": 0.2, "span_head": True},
)


def output_of(config, deterministic=False) -> VAEOutput:
    vae, variables = make_vae(config)
    run = jax.jit(lambda variables: forward(vae, variables, BATCH, KEYS, deterministic=deterministic))
    return jax.device_get(run(variables))


def test_a_uniform_guess_costs_log_vocab_for_each_field():
    logits = tuple(jnp.zeros((*BATCH.mask.shape, field.size)) for field in FIELDS)
    cost = sum(np.log(field.size) for field in FIELDS) * BATCH.mask.sum((-2, -1))
    np.testing.assert_allclose(token_nll(logits, BATCH).sum((-3, -2, -1)), cost, rtol=1e-6)


def test_fields_that_do_not_exist_cost_nothing_and_get_no_gradient():
    vae, variables = make_vae(CONFIG, fields=ENDING)
    batch = make_ending_batch()
    exists = existing_fields(batch.tokens, batch.mask, ENDING)
    assert not exists[batch.mask].all()

    @jax.jit
    def nll(params):
        logits = vae.apply({"params": params}, {"global": jnp.ones((8, 1, 6))}, batch, method="decode")
        return token_nll(logits, batch)

    costs = np.asarray(nll(variables["params"]))
    assert (costs[~exists] == 0).all()
    certain = np.zeros_like(exists)
    certain[..., -1, 0] = exists[..., -1, 0]  # the END of a full measure
    assert certain.any() and (costs[certain] == 0).all() and (costs[exists & ~certain] > 0).all()
    absent = jax.jit(jax.grad(lambda params: jnp.where(exists, 0, nll(params)).sum()))(variables["params"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(absent))


@pytest.mark.parametrize("config", [THREE, replace(RULES, model={"level_dropout": 0.0})], ids=["elbo", "rules"])
def test_masked_slots_and_absent_latents_have_a_gradient_of_exactly_0(config):
    vae, variables = make_vae(config)
    batch, features = make_batch(), make_features(config)

    @jax.jit
    def loss(features, added):
        def run(module):
            found = module.stack.infer(features, batch.metre)
            return found, module.decoder(found.latents, batch)

        found, logits = vae.apply(variables, method=run, rngs={"latent": jax.random.key(1)})
        shifted = tuple(map(jnp.add, logits, added))
        output = VAEOutput(logits=shifted, span_nll={}, **found._asdict())
        return objective(config, output, batch, weights_at(config, 4)).loss(), output.present

    added = tuple(jnp.zeros((*batch.mask.shape, field.size)) for field in FIELDS)
    of_features, of_logits = jax.device_get(jax.grad(loss, (0, 1), has_aux=True)(features, added)[0])
    for gradient in of_logits:
        assert (gradient[~batch.mask] == 0).all() and (gradient[batch.mask] != 0).all()
    for name, present in loss(features, added)[1].items():
        gradient = of_features[name]
        assert (gradient[~present] == 0).all() and gradient[present].any(-1).all()
        assert name == "global" or not present.all()


def test_the_default_objective_is_the_negative_elbo_and_beta_0_the_reconstruction():
    output = output_of(THREE, deterministic=True)
    elbo = elbo_terms(output, BATCH)
    np.testing.assert_allclose(elbo.nll, token_nll(output.logits, BATCH).sum((1, 2, 3)), rtol=1e-6)
    for name, kl in elbo.kl.items():
        np.testing.assert_allclose(kl, np.asarray(output.kl[name].per_dim).sum((1, 2)), rtol=1e-5)
    losses = {}
    for beta in (0.0, 1.0, 2.0):
        config = replace(THREE, objective={"beta": beta})
        losses[beta] = objective(config, output, BATCH, weights_at(config, 0)).loss()
    kl = np.mean(sum(elbo.kl.values()))
    np.testing.assert_allclose(list(losses.values()), elbo.nll.mean() + kl * np.array([0, 1, 2]), rtol=1e-6)


def test_the_loss_is_the_sum_of_its_terms_each_by_its_rule_and_weight():
    output = output_of(RULES)
    terms = objective(RULES, output, BATCH, weights_at(RULES, 4))
    kl = {name: each.total.sum(-1) for name, each in output.kl.items()}
    dropped = ~output.kept["fine"]
    assert 0 < dropped.sum() < len(dropped)
    np.testing.assert_array_equal(output.span_nll["fine"] == 0, dropped)  # a draw from the prior knows nothing
    expected = {
        "nll": token_nll(output.logits, BATCH).sum((1, 2, 3)),
        "rate_global": 1.5 * np.maximum(kl["global"] - 0.9, 0),
        "rate_local": 0.5 * np.where(output.kept["local"], np.abs(kl["local"] - 2.0), 0),
        "span_global": 0.3 * output.span_nll["global"],
        "span_fine": 0.3 * output.span_nll["fine"],
    }
    assert terms.per_example.keys() == expected.keys() and terms.batch.keys() == {"rate_fine"}
    for name, value in expected.items():
        np.testing.assert_allclose(terms.per_example[name], value, rtol=1e-6)
    # Kingma et al. 2016, eq. 15, over the latents that windows keep.
    latents = (output.present["fine"] & output.kept["fine"][:, None]).sum()
    of_dim = np.asarray(output.kl["fine"].per_dim).sum((0, 1)) / latents
    assert (of_dim > 0.2).sum() > 0
    per_dim = 0.1 * (np.maximum(of_dim, 0.2) * latents).sum() / 8
    np.testing.assert_allclose(terms.batch["rate_fine"], per_dim, rtol=1e-6)
    np.testing.assert_allclose(terms.loss(), sum(expected.values()).mean() + per_dim, rtol=1e-6)


def test_a_weight_is_schedule_times_controller_times_balance():
    config = replace(
        THREE,
        model={"level_dropout": 0.4},
        objective={"beta": 2.0, "kl_balance_steps": 5},
        local={"schedule": "linear", "schedule_steps": 10},
        fine={"kl_per_phrase": 1.0},
    )
    controller = ControllerState({"fine": jnp.log(0.3)}, {"fine": jnp.zeros(())})
    output = output_of(config)
    own = {name: output.present[name] & output.kept[name][:, None] for name in LEVELS}
    assert 0 < output.kept["fine"].sum() < output.kept["global"].sum() == 8
    numbers = {name: config.levels[name].dim * latents.sum(-1).mean() for name, latents in own.items()}
    factors = balance({name: kl.total.sum(-1).mean() for name, kl in output.kl.items()}, numbers)
    for step, local in ((4, 0.8), (5, 1.0)):
        weights = weights_at(config, step, controller)
        beta = balanced_weights(config, weights, jnp.asarray(step), output).beta
        for name, value in {"global": 2.0, "local": local, "fine": 0.6}.items():
            np.testing.assert_allclose(beta[name], value * (factors[name] if step < 5 else 1), rtol=1e-5)


def test_final_weights_are_those_of_the_last_step_and_1_where_a_controller_steers():
    config = replace(
        THREE,
        objective={"beta": 0.5, "beta_warmup_steps": 38},
        train={"num_steps": 20},
        local={"free_bits": "capacity", "nats": 2.0, "capacity_steps": 38},
        fine={"kl_per_phrase": 2.0},
    )
    weights = final_weights(config)
    assert weights.beta == pytest.approx({"global": 0.25, "local": 0.25, "fine": 1.0})
    assert weights.capacity["local"] == pytest.approx(1.0)


def test_a_level_with_a_capacity_is_not_balanced():
    config = replace(RULES, objective={"kl_balance_steps": 5})
    weights = weights_at(config, 0)
    found = balanced_weights(config, weights, jnp.asarray(0), output_of(RULES)).beta
    assert found["local"] == weights.beta["local"] and found["global"] != weights.beta["global"]
