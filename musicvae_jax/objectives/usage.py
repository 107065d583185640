"""What the latents of every level carry: KL, active dims, and I(x; z), of a level and of its groups.

A dim is active by rule a if the mean over x of sigma_d(x) is below 0.98, by rule b if the variance over x of mu_d(x) is
at least 0.01 (Burda et al. 2016, section 5.3; He et al. 2019). Both compare with N(0, 1), so they are applied to the
residual, the posterior in the units of its frame. The same rules applied to the posterior itself are called raw.
"""

import dataclasses
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from musicvae_jax.config import LevelConfig, LevelsConfig
from musicvae_jax.models.latent.gaussian import gaussian_from_frame
from musicvae_jax.types import Array, Batch, Gaussian, VAEOutput, num_phrases

ACTIVE_SCALE = 0.98
ACTIVE_VARIANCE = 0.01


@dataclasses.dataclass(frozen=True)
class GroupFigures:
    """What a group of dims, or a whole level, carries on a split. KLs are None where the KL has no value by dim."""

    kl: float | None  # nats per window
    kl_per_phrase: float | None  # nats per phrase of four measures
    kl_per_latent: float | None  # nats
    active_a: float  # share of dims, of the residual
    active_b: float
    active_a_raw: float  # share of dims, of the posterior itself
    active_b_raw: float
    mutual_information: float  # I(x; z) in nats, see `mutual_information`


@dataclasses.dataclass(frozen=True)
class LevelFigures(GroupFigures):
    """What a level carries, its groups, and its dims by name."""

    kl: float  # of a level it is always known
    groups: dict[str, GroupFigures] = dataclasses.field(default_factory=dict)
    kl_per_dim: dict[str, float] = dataclasses.field(default_factory=dict)  # nats per window


class _Moments(NamedTuple):
    """What the two rules need of Gaussians. Squares are about the mean, so nothing large cancels."""

    mean: Array  # float[dim], mean of mu
    square: Array  # float[dim], sum of (mu - mean)^2
    scale: Array  # float[dim], sum of sigma


class _LevelSums(NamedTuple):
    """Sums over the present latents of a level."""

    count: Array  # float[], latents
    kl: Array  # float[], nats
    kl_per_dim: Array | None  # float[dim], nats
    raw: _Moments  # of the posterior
    residual: _Moments  # of the posterior in the units of its frame


class Usage(NamedTuple):
    """What one batch says; padding rows do not count."""

    windows: Array  # float[]
    phrases: Array  # float[]
    levels: dict[str, _LevelSums]
    residual: dict[str, Gaussian]  # level -> float[batch, time, dim]
    present: dict[str, Array]  # level -> bool[batch, time]


def measure_usage(output: VAEOutput, batch: Batch) -> Usage:
    """What one batch says, on the device.

    Args:
        output: of the model.
        batch: its input, with one batch axis; rows of index -1 are padding.
    """
    real = batch.index >= 0
    present = {level: there & real[:, None] for level, there in output.present.items()}
    sums = {}
    for level, there in present.items():
        kl, residual = output.kl[level], output.residual[level]
        sums[level] = _LevelSums(
            there.sum(dtype=jnp.float32),
            jnp.where(there, kl.total, 0).sum(),
            None if kl.per_dim is None else _total(kl.per_dim, there),
            _moments(gaussian_from_frame(residual, output.frame[level]), there),
            _moments(residual, there),
        )
    phrases = jnp.where(real, num_phrases(batch.mask), 0).sum(dtype=jnp.float32)
    return Usage(real.sum(dtype=jnp.float32), phrases, sums, output.residual, present)


def usage_figures(parts: Sequence[Usage], levels: LevelsConfig, seed: int = 0) -> dict[str, LevelFigures]:
    """The figures of every level, coarse to fine.

    Args:
        parts: of batches, on the host; how windows are spread over them does not matter.
        levels: of the model.
        seed: of the draws for I(x; z).
    """
    windows, phrases = (sum(float(getattr(part, name)) for part in parts) for name in ("windows", "phrases"))
    figures = {}
    for name, level in levels.on.items():
        wide = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), part.levels[name]) for part in parts)
        sums = reduce(_add, wide)
        rows = [Gaussian(*(leaf[part.present[name]] for leaf in part.residual[name])) for part in parts]
        residual = Gaussian(*(np.concatenate(leaves) for leaves in zip(*rows, strict=True)))
        figures[name] = _level_figures(name, level, sums, residual, windows, phrases, seed)
    return figures


def _level_figures(
    name: str, level: LevelConfig, sums: _LevelSums, residual: Gaussian, windows: float, phrases: float, seed: int
) -> LevelFigures:
    active = {"": _active(sums.residual, sums.count), "_raw": _active(sums.raw, sums.count)}

    def of(dims: slice, kl: float | None) -> dict[str, Any]:
        numbers = {"kl": windows, "kl_per_phrase": phrases, "kl_per_latent": float(sums.count)}
        return {
            **{key: None if kl is None else _quotient(kl, number) for key, number in numbers.items()},
            **{
                f"active_{rule}{kind}": float(found[rule][dims].mean())
                for kind, found in active.items()
                for rule in "ab"
            },
            "mutual_information": mutual_information(Gaussian(*(leaf[:, dims] for leaf in residual)), seed),
        }

    per_dim = sums.kl_per_dim
    groups = {
        group: GroupFigures(**of(dims, None if per_dim is None else float(per_dim[dims].sum())))
        for group, dims in level.layout.items()
    }
    by_name = zip(level.dim_names(name), [] if per_dim is None else per_dim, strict=per_dim is not None)
    kl_per_dim = {dim: _quotient(nats, windows) for dim, nats in by_name}
    return LevelFigures(**of(slice(None), float(sums.kl)), groups=groups, kl_per_dim=kl_per_dim)


def mutual_information(
    posterior: Gaussian, seed: int = 0, *, draws: Array | None = None, num_draws: int = 4096, chunk: int = 128
) -> float:
    """An estimate of I(x; z) in nats: E[log q(z|x) - log q(z)] with one draw of z for each x.

    q(z) is the mixture of the posteriors of all x (Hoffman & Johnson 2016; He et al. 2019, eq. 5), so the estimate
    cannot exceed the log of their number. In expectation, the KL from N(0, 1) is this plus the KL of the mixture.

    Args:
        posterior: float[latent, dim], every present latent of a split, in the units of its frame. Without these units,
            the estimate of a lower level would count what the level above has drawn.
        seed: of the draws.
        draws: float[latent, dim], one of each posterior; made from the seed if not given.
        num_draws: at most so many draws count, evenly spread; the mixture is of all.
        chunk: draws that are compared with all posteriors at once; memory is 3 x chunk x latents.
    """
    loc, log_scale = (np.asarray(leaf, np.float64) for leaf in posterior)
    if draws is None:
        draws = loc + np.exp(log_scale) * np.random.default_rng(seed).standard_normal(loc.shape)
    draws = np.asarray(draws, np.float64)
    count = min(len(loc), num_draws)
    rows = np.arange(count) * len(loc) // max(count, 1)
    precision = np.exp(-2 * log_scale)
    # log q of every draw under every posterior, up to a constant, as products of matrices.
    constant = (-0.5 * precision * loc**2 - log_scale).sum(1)
    total = 0.0
    for start in range(0, count, chunk):
        here = rows[start : start + chunk]
        z = draws[here]
        log_q = z @ (precision * loc).T - 0.5 * z**2 @ precision.T + constant
        own = log_q[np.arange(len(here)), here]
        total += float((own - logsumexp(log_q, axis=1) + np.log(len(loc))).sum())
    return total / count


def _total(values: Array, present: Array) -> Array:
    """Sums over present latents: float[batch, time, dim] to float[dim]."""
    return jnp.where(present[..., None], values, 0).sum((0, 1))


def _moments(gaussian: Gaussian, present: Array) -> _Moments:
    mean = _total(gaussian.loc, present) / jnp.maximum(present.sum(), 1)
    return _Moments(mean, _total((gaussian.loc - mean) ** 2, present), _total(jnp.exp(gaussian.log_scale), present))


def _add(one: _LevelSums, other: _LevelSums) -> _LevelSums:
    return _LevelSums(
        one.count + other.count,
        one.kl + other.kl,
        None if one.kl_per_dim is None else one.kl_per_dim + other.kl_per_dim,
        _merge(one.raw, one.count, other.raw, other.count),
        _merge(one.residual, one.count, other.residual, other.count),
    )


def _merge(one: _Moments, count: Array, other: _Moments, other_count: Array) -> _Moments:
    """The moments of the union of two samples (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    share = other_count / max(count + other_count, 1)
    apart = other.mean - one.mean
    square = one.square + other.square + apart**2 * count * share
    return _Moments(one.mean + apart * share, square, one.scale + other.scale)


def _active(moments: _Moments, count: Any) -> dict[str, np.ndarray]:
    """Rule -> bool[dim]."""
    count = max(count, 1)
    return {"a": moments.scale / count < ACTIVE_SCALE, "b": moments.square / count >= ACTIVE_VARIANCE}


def _quotient(total: Any, number: Any) -> float:
    return float(total / max(number, 1))
