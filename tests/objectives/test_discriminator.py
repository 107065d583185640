"""Discriminators: they find the total correlation, and each of the two players has its own gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.inference import reconstruct
from musicvae_jax.objectives.discriminator import (
    Discriminators,
    factor_terms,
    init_discriminators,
    recombined,
    update_discriminators,
)
from musicvae_jax.objectives.independence import Rows
from musicvae_jax.rng import row_keys
from musicvae_jax.types import Gaussian, VAEOutput
from tests.models.variants import DEEP
from tests.tiny import make_batch, make_vae, replace

ROWS, DIM = 256, 2
CONFIG = replace(
    DEEP,
    objective={
        "factor_weight": 1.0, "discriminator_dim": 32, "discriminator_layers": 2, "discriminator_learning_rate": 3e-3,
    },
    **{"global": {"dim": DIM}},
    local={"dim": 0},
    fine={"dim": 0},
)  # fmt: skip


def output_of(e, kept=None) -> VAEOutput:
    """A model's output whose global latents are these."""
    zeros = jnp.zeros_like(e)
    gaussian = {"global": Gaussian(zeros, zeros)}
    present: dict = {"global": jnp.ones(e.shape[:2], bool)}
    empty: dict = {}
    kept = {} if kept is None else {"global": kept}
    return VAEOutput((), {"global": e}, gaussian, gaussian, empty, empty, present, empty, empty, kept)


def first_params():
    state = init_discriminators(CONFIG)
    assert isinstance(state, Discriminators)
    return state.params


def turned(angle, seed):
    """Draws of a Gaussian with standard deviations 2 and .5 whose axes are turned: float[row, 1, dim]."""
    noise = jax.random.normal(jax.random.key(seed), (ROWS, 2)) * jnp.array([2.0, 0.5])
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return (noise @ jnp.array([[cos, sin], [-sin, cos]]))[:, None]


@jax.jit
def play(state, angle, seed):
    """One step of the discriminator, and the slope of the total correlation along the angle."""
    keys = row_keys(jax.random.key(seed), jnp.arange(ROWS))

    def loss(params, angle):
        terms = factor_terms(CONFIG, params, output_of(turned(angle, seed)), keys)
        return terms.total_correlation["global"] + terms.loss, terms

    (of_params, slope), terms = jax.grad(loss, argnums=(0, 1), has_aux=True)(state.params, angle)
    return update_discriminators(CONFIG, state, of_params), slope, terms


@pytest.mark.parametrize("angle", [0.0, np.pi / 4])
def test_the_mean_logit_becomes_the_total_correlation(angle):
    """That of a Gaussian is -log(1 - r^2) / 2, with r the correlation of its dims."""
    state = init_discriminators(CONFIG)
    found = []
    for seed in range(700):
        state, _, terms = play(state, angle, seed)
        found.append(float(terms.total_correlation["global"]))
    r = np.corrcoef(np.concatenate([turned(angle, seed)[:, 0] for seed in range(50)]).T)[0, 1]
    assert np.mean(found[-100:]) == pytest.approx(-np.log(1 - r**2) / 2, abs=0.06)


def test_descending_the_term_makes_the_dims_independent():
    """The axes of a Gaussian turn back to those of the dims."""
    state, angle = init_discriminators(CONFIG), jnp.asarray(0.6)
    for seed in range(900):
        state, slope, _ = play(state, angle, seed)
        angle -= 0.01 * slope
    assert abs(float(angle)) < 0.06


def test_each_player_has_its_own_gradient():
    batch = make_batch()
    vae, variables = make_vae(CONFIG)
    keys = row_keys(jax.random.key(1), batch.index)
    output = reconstruct(vae, variables, batch, keys)
    params = first_params()

    def terms(params, z):
        return factor_terms(CONFIG, params, output._replace(latents={"global": z}), keys)

    of_correlation = jax.jit(jax.grad(lambda *args: terms(*args).total_correlation["global"], argnums=(0, 1)))
    of_loss = jax.jit(jax.grad(lambda *args: terms(*args).loss, argnums=(0, 1)))
    (of_params, of_z), z = of_correlation(params, output.latents["global"]), output.latents["global"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_params)) and np.abs(of_z).max() > 0
    of_params, of_z = of_loss(params, z)
    assert all(leaf.any() for leaf in jax.tree.leaves(of_params)) and not of_z.any()


def test_dims_are_recombined_from_the_latents_that_count():
    e = jnp.asarray(np.arange(5.0)[:, None] + np.array([0, 10, 20]))
    rows = Rows(e, e, e, jnp.array([1.0, 0.0, 1.0, 0.0, 1.0]))
    uniform = np.random.default_rng(0).random((3000, 3))
    mixed = np.asarray(recombined(rows, jnp.asarray(uniform)))
    for dim in range(3):
        values, counts = np.unique(mixed[:, dim], return_counts=True)
        np.testing.assert_array_equal(values, np.array([0, 2, 4]) + 10 * dim)
        assert counts.min() > 900
    assert np.abs(np.corrcoef(mixed.T) - np.eye(3)).max() < 0.06
    assert np.isfinite(recombined(rows._replace(weight=jnp.zeros(5)), jnp.asarray(uniform))).all()


def test_windows_that_level_dropout_drew_from_the_prior_do_not_count():
    e, keys = turned(0.5, 0), row_keys(jax.random.key(0), jnp.arange(ROWS))
    params, kept = first_params(), jnp.arange(ROWS) < ROWS // 2
    spoilt = jnp.where(kept[:, None, None], e, 1e3)
    for one, other in zip(*(factor_terms(CONFIG, params, output_of(z, kept), keys) for z in (e, spoilt)), strict=True):
        assert jax.tree.map(float, one) == jax.tree.map(float, other)


def test_without_the_weight_there_is_no_discriminator():
    off = replace(CONFIG, objective={"factor_weight": 0.0})
    assert init_discriminators(off) == () and update_discriminators(off, (), ()) == ()
    assert isinstance(init_discriminators(CONFIG), Discriminators)
