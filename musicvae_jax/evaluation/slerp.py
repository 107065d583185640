"""The way from one code to another."""

from typing import Any

import jax.numpy as jnp


def slerp(first: Any, second: Any, share: float) -> Any:
    """Spherical interpolation along the last axis; the plain line where the ends are parallel.

    Args:
        first: float[..., dim], the result at share 0.
        second: float[..., dim], the result at share 1.
        share: how far along.
    """
    unit = [end / jnp.maximum(jnp.linalg.norm(end, axis=-1, keepdims=True), 1e-9) for end in (first, second)]
    angle = jnp.arccos(jnp.clip((unit[0] * unit[1]).sum(-1, keepdims=True), -1, 1))
    line = (1 - share) * first + share * second
    sine = jnp.sin(angle)
    curve = (jnp.sin((1 - share) * angle) * first + jnp.sin(share * angle) * second) / jnp.maximum(sine, 1e-9)
    return jnp.where(sine < 1e-4, line, curve)
