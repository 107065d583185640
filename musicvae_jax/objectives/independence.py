"""Terms that keep the groups and dims of a level apart: over all latents of a batch, in the units of their frames.

A latent is z = loc(above) + scale(above) * e. Under the prior, the dims of e are independent. Each term is of the batch
as a whole: a device's share of it, of which the mean over devices is the term.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from musicvae_jax.config import LevelConfig
from musicvae_jax.objectives.attributes import Gather, attribute_values
from musicvae_jax.objectives.rates import Mean, identity, own_latents
from musicvae_jax.types import Array, Batch, VAEOutput

_FAR = -1e9  # the log weight of a row that does not count


class Rows(NamedTuple):
    """The latents of a level, one a row."""

    e: Array  # float[row, dim], draws
    loc: Array  # float[row, dim], posterior means
    log_scale: Array  # float[row, dim]
    weight: Array  # float[row], 1 for a latent that its window has and that was not drawn from the prior, else 0


def latent_rows(output: VAEOutput, name: str) -> Rows:
    """The latents of a level of all windows, those that do not count with weight 0."""
    frame, residual = output.frame[name], output.residual[name]
    e = (output.latents[name] - frame.loc) * jnp.exp(-frame.log_scale)
    weight = own_latents(output, name).astype(e.dtype).reshape(-1)
    there = weight[:, None] > 0
    e, loc, log_scale = (jnp.where(there, leaf.reshape(len(weight), -1), 0) for leaf in (e, *residual))
    return Rows(e, loc, log_scale, weight)


def covariance(e: Array, weight: Array) -> Array:
    """The covariance of the columns of weighted rows: float[dim, dim].

    Args:
        e: float[row, dim].
        weight: float[row].
    """
    total = jnp.maximum(weight.sum(), 1e-9)
    centred = e - weight @ e / total
    return (centred * weight[:, None]).T @ centred / total


def orthogonality(rows: Rows, layout: Mapping[str, slice]) -> Array:
    """The sum of squared covariances of two dims of different groups: float[]."""
    squared = covariance(rows.e, rows.weight) ** 2
    within = sum(squared[dims, dims].sum() for dims in layout.values())
    return 0.5 * (squared.sum() - within)


def dip(rows: Rows) -> Array:
    """The squared distance of the covariance from the identity: float[] (DIP-VAE-II, Kumar et al. 2018, eq. 7).

    The covariance of draws is that of the means plus the mean variance, in expectation.
    """
    return ((covariance(rows.e, rows.weight) - jnp.eye(rows.e.shape[-1])) ** 2).sum()


def total_correlation(rows: Rows, others: Rows, parts: Mapping[str, slice] | None = None) -> Array:
    """KL(q(e) || product over parts of q(e_part)) at each row, in nats: float[row].

    q is the mixture of the posteriors of ``others``, of which the rows are a part. The estimate of Chen et al. (2018,
    eq. S5) for a data set of N examples differs from this one by a constant, so the gradient is the same.

    Args:
        rows: of one device.
        others: of all devices.
        parts: the groups of a level, which cover all dims; None: each dim is a part.
    """
    log_weight = jnp.where(others.weight > 0, -jnp.log(jnp.maximum(others.weight.sum(), 1.0)), _FAR)

    def mixture(log_q: Array) -> Array:
        return jax.nn.logsumexp(log_q + log_weight, axis=-1)

    if parts is not None:
        blocks = list(parts.values())
        of_parts = [_log_densities(rows.e[:, own], others.loc[:, own], others.log_scale[:, own]) for own in blocks]
        return mixture(sum(of_parts[1:], of_parts[0])) - sum(mixture(part) for part in of_parts)

    def add(total: tuple[Array, Array], column: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (joint, marginals), (e, loc, log_scale) = total, column
        log_q = -0.5 * ((e[:, None] - loc) * jnp.exp(-log_scale)) ** 2 - log_scale
        return (joint + log_q, marginals + mixture(log_q)), None

    start = jnp.zeros((len(rows.e), len(others.e)), rows.e.dtype), jnp.zeros(len(rows.e), rows.e.dtype)
    (joint, marginals), _ = jax.lax.scan(add, start, (rows.e.T, others.loc.T, others.log_scale.T))
    return mixture(joint) - marginals


def _log_densities(e: Array, loc: Array, log_scale: Array) -> Array:
    """log N(e; loc, scale) of every row under every other, up to a constant: float[row, other], as matrix products."""
    precision = jnp.exp(-2 * log_scale)
    constant = (-0.5 * precision * loc**2 - log_scale).sum(-1)
    return e @ (precision * loc).T - 0.5 * e**2 @ precision.T + constant


def dependence(first: Array, second: Array, weight: Array) -> Array:
    """How much two variables depend on each other, between 0 and 1: float[].

    The Hilbert-Schmidt independence criterion HSIC(first, second) / sqrt(HSIC(first, first) HSIC(second, second)) under
    Gaussian kernels (Gretton et al. 2005; normalised as by Cortes et al. 2012). A kernel's width is the root mean
    square distance of two rows.

    Args:
        first: float[row, dim].
        second: float[row, dim].
        weight: float[row], 0 where a row does not count.
    """
    pairs = weight[:, None] * weight
    total = jnp.maximum(weight.sum(), 1.0)

    def kernel(x: Array) -> Array:
        square = (x**2).sum(-1)
        distance = jnp.maximum(square[:, None] + square - 2 * x @ x.T, 0)
        width = jax.lax.stop_gradient((distance * pairs).sum() / jnp.maximum(pairs.sum(), 1.0))
        k = jnp.exp(-distance / jnp.maximum(width, 1e-9))
        of_row = k @ weight / total
        return (k - of_row[:, None] - of_row + weight @ of_row / total) * pairs

    one, other = kernel(first), kernel(second)
    # 1e-9 is far below the value for two rows that differ; it keeps the gradient finite where all rows are equal.
    scale = jnp.sqrt((one**2).sum() * (other**2).sum() + 1e-9)
    return (one * other).sum() / scale


def leakage(level: LevelConfig, rows: Rows, values: Array, known: Array) -> Array:
    """How much the dims outside an attribute's group depend on it, summed over attributes: float[]; see `dependence`.

    Args:
        level: with attributes that its dims follow.
        rows: of all devices.
        values: float[row, attribute], of the same rows, in the order of `LevelConfig.followed`.
        known: bool[row, attribute].
    """
    total = jnp.zeros((), rows.e.dtype)
    for number, dim in enumerate(level.followed.values()):
        (own,) = (dims for dims in level.layout.values() if dims.start <= dim < dims.stop)
        others = jnp.concatenate([rows.e[:, : own.start], rows.e[:, own.stop :]], -1)
        if others.shape[-1]:
            weight = rows.weight * known[:, number]
            total += dependence(others, values[:, number : number + 1], weight)
    return total


def independence_terms(
    name: str,
    level: LevelConfig,
    output: VAEOutput,
    batch: Batch,
    weights: Mapping[str, float],
    gather: Gather = identity,
    mean: Mean = identity,
) -> dict[str, Array]:
    """The weighted terms of a level: term -> float[], a device's share.

    Args:
        name: of the level.
        level: its config.
        output: of the model.
        batch: its input, for ``leakage`` with attributes.
        weights: term -> weight; ``orthogonality``, ``dip``, ``group_correlation``, ``dim_correlation``, ``leakage``.
            Others, and those of weight 0, are left out.
        gather: the rows of all devices.
        mean: of a number over devices.
    """
    rows = latent_rows(output, name)
    everywhere = Rows(*map(gather, rows))

    def correlation(parts: Mapping[str, slice] | None) -> Array:
        of_rows = total_correlation(rows, everywhere, parts)
        return (rows.weight * of_rows).sum() / jnp.maximum(mean(rows.weight.sum()), 1e-9)

    def leaked() -> Array:
        if not level.attributes:
            return jnp.zeros((), rows.e.dtype)
        values, known = (gather(part.reshape(len(rows.e), -1)) for part in attribute_values(name, level, output, batch))
        return leakage(level, everywhere, values, known)

    terms = {
        "orthogonality": lambda: orthogonality(everywhere, level.layout),
        "dip": lambda: dip(everywhere),
        "group_correlation": lambda: correlation(level.layout),
        "dim_correlation": lambda: correlation(None),
        "leakage": leaked,
    }
    return {term: weights[term] * make() for term, make in terms.items() if weights.get(term)}
