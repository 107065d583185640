"""Laws of the objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ObjectiveConfig
from musicvae_jax.models.latents import distribution, kl_divergence, sample, standard_normal
from musicvae_jax.objectives.elbo import ELBOTerms, negative_elbo, token_nll
from musicvae_jax.objectives.schedules import beta_schedule
from musicvae_jax.types import Gaussian, existing_fields
from tests.tiny import ENDING, FIELDS, make_batch, make_ending_batch, make_vae


def make_gaussian(shape=(4, 2, 3)):
    rng = np.random.default_rng(0)
    return Gaussian(
        jnp.asarray(rng.normal(0, 1, shape), jnp.float32), jnp.asarray(rng.normal(0, 0.5, shape), jnp.float32)
    )


def test_kl_closed_form_equals_monte_carlo():
    gaussian = make_gaussian()
    num = 20_000
    wide = Gaussian(*(jnp.broadcast_to(leaf, (num, *leaf.shape)) for leaf in gaussian))
    z = sample(wide, jax.random.key(0))
    ratios = np.asarray(distribution(wide).log_prob(z) - distribution(standard_normal(z.shape)).log_prob(z), np.float64)
    exact = kl_divergence(gaussian, standard_normal(gaussian.loc.shape))
    assert (np.abs(ratios.mean(0) - exact) < 5 * ratios.std(0) / np.sqrt(num)).all()


def test_kl_is_zero_at_the_prior_and_positive_elsewhere():
    zero = Gaussian(jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 3)))
    np.testing.assert_array_equal(kl_divergence(zero, standard_normal(zero.loc.shape)), 0)
    gaussian = make_gaussian()
    assert (kl_divergence(gaussian, standard_normal(gaussian.loc.shape)) > 0).all()


def test_the_draw_carries_gradients():
    """d z / d loc = 1 and d z / d log_scale = z - loc."""
    gaussian = make_gaussian()
    z, pullback = jax.vjp(lambda g: sample(g, jax.random.key(0)), gaussian)
    (gradient,) = pullback(jnp.ones_like(z))
    np.testing.assert_array_equal(gradient.loc, 1)
    np.testing.assert_allclose(gradient.log_scale, z - gaussian.loc, rtol=1e-5, atol=1e-6)


def test_masked_tokens_cost_nothing_and_get_no_gradient():
    batch = make_batch()
    logits = tuple(jax.random.normal(jax.random.key(n), (*batch.mask.shape, f.size)) for n, f in enumerate(FIELDS))
    assert (token_nll(logits, batch)[~batch.mask] == 0).all()
    gradients = jax.grad(lambda logits: token_nll(logits, batch).sum())(logits)
    for gradient in gradients:
        assert (gradient[~batch.mask] == 0).all()
        assert (gradient[batch.mask] != 0).all()


def test_fields_that_do_not_exist_cost_nothing_and_get_no_gradient():
    vae, variables = make_vae(fields=ENDING)
    batch = make_ending_batch()
    exists = existing_fields(batch.tokens, batch.mask, ENDING)
    assert not exists[batch.mask].all()
    z = {"global": jnp.ones((8, 1, 6))}

    @jax.jit
    def nll(params):
        return token_nll(vae.apply({"params": params}, z, batch, method="decode"), batch)

    costs = np.asarray(nll(variables["params"]))
    assert (costs[~exists] == 0).all()
    full = np.zeros_like(exists)
    full[..., -1, 0] = exists[..., -1, 0]  # a full row's END is certain, too
    assert full.any() and (costs[full] == 0).all() and (costs[exists & ~full] > 0).all()
    absent = jax.grad(lambda params: jnp.where(exists, 0, nll(params)).sum())(variables["params"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(absent))


def test_uniform_logits_cost_log_vocab():
    batch = make_batch()
    logits = tuple(jnp.zeros((*batch.mask.shape, field.size)) for field in FIELDS)
    cost = sum(np.log(field.size) for field in FIELDS) * batch.mask.sum((-2, -1))
    np.testing.assert_allclose(token_nll(logits, batch).sum((-3, -2, -1)), cost, rtol=1e-6)


def test_beta_weighs_the_sum_of_the_levels():
    terms = ELBOTerms(nll=jnp.array([3.0, 5.0]), kl={"global": jnp.array([1.0, 2.0]), "fine": jnp.array([0.5, 0.25])})
    np.testing.assert_array_equal(negative_elbo(terms, 0.0), terms.nll)
    np.testing.assert_array_equal(negative_elbo(terms), [4.5, 7.25])
    np.testing.assert_array_equal(negative_elbo(terms, 2.0), [6.0, 9.5])


@pytest.mark.parametrize(("warmup", "values"), [(0, {0: 0.5, 9: 0.5}), (10, {0: 0, 5: 0.25, 10: 0.5, 1000: 0.5})])
def test_beta_schedule(warmup, values):
    schedule = beta_schedule(ObjectiveConfig(beta=0.5, beta_warmup_steps=warmup))
    for step, value in values.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(schedule)(jnp.asarray(step)), value, rtol=1e-6)
