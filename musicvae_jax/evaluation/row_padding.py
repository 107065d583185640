"""Few compiled shapes for pieces of any length."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def in_powers_of_two(function: Callable[..., Any], *rows: Any) -> Any:
    """What a compiled function gives for rows, each on its own, when there are as many as a power of two.

    It is compiled anew for every number of rows, and pieces have windows of any number: the last row is repeated, and
    what comes of that is dropped. Batches that lie on devices are all of one size, and are taken as they are.
    """
    if not any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(rows)):
        return function(*rows)
    rows = jax.tree.map(np.asarray, rows)
    num = len(jax.tree.leaves(rows)[0])
    more = 2 ** math.ceil(math.log2(num)) - num
    padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], more, 0)]), rows)
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[:num]), function(*padded))
