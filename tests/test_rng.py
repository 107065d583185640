"""Laws of named keys."""

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.rng import row_keys, stream


def test_names_steps_and_rows_have_keys_of_their_own():
    key = jax.random.key(0)
    streams = [stream(key, name, step) for name in "ab" for step in (0, 1)]
    keys = [*streams, *row_keys(key, jnp.arange(4))]
    assert len(np.unique([jax.random.key_data(one) for one in keys], axis=0)) == 8
    for one, other in zip(row_keys(key, jnp.arange(2, 4)), keys[-2:], strict=True):  # a row's is its own wherever it is
        np.testing.assert_array_equal(jax.random.key_data(one), jax.random.key_data(other))
