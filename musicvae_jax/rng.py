"""Named, resumable random keys.

A key is never stored. It is made of the seed, a name and numbers (step, row of the global batch), so a run that
resumes, or that has another number of devices, draws what an uninterrupted run draws.
"""

import zlib

import jax

from musicvae_jax.types import Array


def stream(key: Array, name: str, step: int | Array = 0) -> Array:
    """The key of one named use at one step.

    Args:
        key: the root key of a run.
        name: what is drawn, e.g. ``"init"`` or ``"train"``.
        step: of the draw.
    """
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)


def row_keys(key: Array, rows: Array) -> Array:
    """One key per example: key[batch] from int32[batch] rows of the global batch."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
