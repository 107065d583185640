"""Laws of the skip connection from the encoder to the decoder, and of its gate."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.objectives.loss import token_nll
from tests.models.variants import SUBSETS
from tests.tiny import make_batch, make_vae, replace

DROPOUT = 0.3
CONFIG = replace(SUBSETS["global"], model={"skip": True, "skip_dropout": DROPOUT})
BATCH = make_batch(32)


@partial(jax.jit, static_argnums=0, static_argnames=("skip", "deterministic"))
def logits(vae, variables, seed=0, **settings):
    rngs = dict(zip(("latent", "skip"), jax.random.split(jax.random.key(seed)), strict=True))
    given = {"global": jnp.ones((32, 1, 6))}
    return vae.apply(variables, BATCH, given=given, rngs=rngs, **settings).logits[0]


def test_without_the_skip_connection_the_model_is_the_one_that_has_none():
    vae, variables = make_vae(CONFIG)
    without = logits(dataclasses.replace(vae, config=SUBSETS["global"].model), variables)
    np.testing.assert_array_equal(logits(vae, variables), without)  # as in evaluation and generation
    on = logits(vae, variables, skip=True)
    here = BATCH.metre[..., 0] > 0
    assert (on != without).any((-2, -1))[here].all()
    closed = variables["params"]["decoder"] | {"gate": jnp.float32(-1e9)}
    shut = {"params": variables["params"] | {"decoder": closed}}
    np.testing.assert_allclose(logits(vae, shut, skip=True), without, rtol=1e-6, atol=1e-6)


def test_the_gate_is_learned():
    vae, variables = make_vae(CONFIG)

    def nll(variables, skip):
        first = BATCH._replace(tokens=BATCH.tokens[..., :1])
        return token_nll([logits(vae, variables, skip=skip)], first).sum()

    def slope(variables, skip):
        return jax.jit(jax.grad(nll), static_argnums=1)(variables, skip)["params"]["decoder"]["gate"]

    assert abs(slope(variables, True)) > 1e-2
    assert slope(variables, False) == 0


def test_a_training_window_has_the_whole_connection_or_none():
    """The share without it is skip_dropout, within five standard errors."""
    vae, variables = make_vae(CONFIG)
    on, off = logits(vae, variables, skip=True), logits(vae, variables)
    dropped = []
    for seed in range(8):
        mixed = logits(vae, variables, seed, deterministic=False)
        whole, missing = (np.isclose(mixed, part, rtol=1e-5, atol=1e-5).all((1, 2, 3)) for part in (on, off))
        assert (whole ^ missing).all()
        dropped.append(missing)
    share, num = np.mean(dropped), np.size(dropped)
    assert abs(share - DROPOUT) < 5 * np.sqrt(DROPOUT * (1 - DROPOUT) / num)
    np.testing.assert_array_equal(logits(vae, variables, deterministic=False, skip=False), off)
