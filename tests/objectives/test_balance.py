"""Laws of KL balancing."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.objectives.balance import balance

NATS = st.floats(0, 100, width=32)


@settings(max_examples=30)
@given(st.tuples(NATS, NATS, NATS), st.tuples(*[st.integers(1, 64)] * 3))
def test_factors_are_in_proportion_to_the_kl_per_latent_number_and_have_mean_1(kl, sizes):
    levels = ("global", "local", "fine")
    kl, sizes = dict(zip(levels, map(jnp.float32, kl), strict=True)), dict(zip(levels, sizes, strict=True))
    factors = balance(kl, sizes)
    values = np.array([factors[level] for level in levels], np.float64)
    np.testing.assert_allclose(values.mean(), 1, rtol=1e-5)
    density = np.array([float(kl[level]) / sizes[level] for level in levels])
    # A floor of 1e-6 keeps the factors of levels that all carry nothing from being 0 / 0.
    np.testing.assert_allclose(values * (density + 1e-6).sum(), 3 * (density + 1e-6), rtol=1e-5)


def test_one_level_is_left_alone():
    np.testing.assert_allclose(balance({"global": jnp.float32(7)}, {"global": 32})["global"], 1, rtol=1e-6)


def test_factors_have_no_gradient():
    def charge(kl):
        factors = balance(kl, {"global": 8, "fine": 16})
        return sum(factors[level] * kl[level] for level in kl), factors

    kl = {"global": jnp.float32(2), "fine": jnp.float32(1)}
    gradient, factors = jax.grad(charge, has_aux=True)(kl)
    assert gradient == factors
    assert factors["fine"] < 1 < factors["global"]


@settings(max_examples=30)
@given(st.tuples(NATS, NATS), st.tuples(*[st.integers(1, 64)] * 2))
def test_a_level_that_is_not_there_is_left_out(kl, sizes):
    """A batch of which no window keeps a level says nothing of it: the others are as if it was off."""
    two = dict(zip(("global", "local"), map(jnp.float32, kl), strict=True))
    of_two = dict(zip(two, sizes, strict=True))
    factors = balance(two | {"fine": jnp.float32(0)}, of_two | {"fine": jnp.float32(0)})
    assert factors.pop("fine") == 1
    for level, factor in balance(two, of_two).items():
        np.testing.assert_allclose(factors[level], factor, rtol=1e-6)
