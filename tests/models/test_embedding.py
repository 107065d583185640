"""Rows of tables and classes, by lookups and by one-hot products, in values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.models.embedding import Table, of_class


@pytest.fixture(params=["cpu", "accelerator"], autouse=True)
def platform(request, monkeypatch):
    """Each test runs with the functions of a CPU, and, on a CPU, with those of an accelerator."""
    if request.param == "accelerator":
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **_: default(*args))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_table_equals_an_embedding(dtype):
    table, lookup = (module(7, 5, dtype=dtype) for module in (Table, nn.Embed))
    numbers = jnp.asarray(np.random.default_rng(0).integers(0, 7, (4, 6)))
    variables = lookup.init(jax.random.key(0), numbers)

    def total(module, variables):
        rows = module.apply(variables, numbers)
        return (rows * jnp.arange(rows.size, dtype=dtype).reshape(rows.shape)).astype(jnp.float32).sum()

    np.testing.assert_array_equal(table.apply(variables, numbers), lookup.apply(variables, numbers))
    one, other = (jax.grad(total, 1)(module, variables)["params"]["embedding"] for module in (table, lookup))
    np.testing.assert_allclose(one, other, rtol=1e-6 if dtype == jnp.float32 else 2e-2)


@pytest.mark.parametrize("number", [-1, 7])
def test_a_number_without_a_row_is_a_row_of_zeros(number):
    table = Table(7, 5)
    assert not table.apply(table.init(jax.random.key(0), 0), jnp.array([number])).any()


def test_the_value_of_a_class_equals_a_lookup():
    rng = np.random.default_rng(0)
    values, classes = jnp.asarray(rng.normal(size=(4, 6, 7))), jnp.asarray(rng.integers(0, 7, (4, 6)))

    def looked_up(values):
        return jnp.take_along_axis(values, classes[..., None], -1)[..., 0]

    np.testing.assert_array_equal(of_class(values, classes), looked_up(values))
    one, other = (
        jax.grad(lambda values, take=take: (take(values) ** 2).sum())(values)
        for take in (lambda values: of_class(values, classes), looked_up)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("number", [-1, 7])
def test_a_class_that_does_not_exist_is_not_free(number):
    assert jnp.isnan(of_class(jnp.zeros(7), jnp.array(number)))
