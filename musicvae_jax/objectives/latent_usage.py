"""What the latents of every level carry, summed over batches: KL per dim and group, and which dims are active.

A dim is active by rule a if the mean over x of sigma_d(x) is below 0.98, by rule b if the variance over x of mu_d(x) is
at least 0.01 (Burda et al. 2016, section 5.3; He et al. 2019). Both compare with N(0, 1), so they are applied to the
residual: sigma_q / sigma_p and (mu_q - mu_p) / sigma_p, where p is the prior given the levels above. The raw values
stand beside them; for a top level under N(0, 1) they are the same.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.groups import dim_name, group_layout
from musicvae_jax.models.latents import relative_to
from musicvae_jax.models.spans import present_spans
from musicvae_jax.types import Array, Batch, Gaussian, VAEOutput, num_phrases

ACTIVE_SCALE = 0.98
ACTIVE_VARIANCE = 0.01


class Spread(NamedTuple):
    """What both rules need of a level's Gaussians. Squares are about the mean: nothing large cancels."""

    mean: Array  # float[dim], the mean of mu
    square: Array  # float[dim], the sum of (mu - mean)^2
    scale: Array  # float[dim], the sum of sigma


class LevelUsage(NamedTuple):
    """Sums over the unmasked latents of a level."""

    count: Array  # float[], latents
    kl: Array  # float[dim], nats
    raw: Spread  # of the posterior
    residual: Spread  # of the posterior in units of the prior


class Usage(NamedTuple):
    """Sums over windows; rows of padding do not count."""

    windows: Array  # float[]
    phrases: Array  # float[]
    levels: dict[str, LevelUsage]


def measure_usage(output: VAEOutput, batch: Batch, config: ModelConfig) -> Usage:
    """The sums over one batch, on the device.

    Args:
        output: of the model.
        batch: its input, with one leading batch axis; rows of index -1 and padding measures do not count.
        config: the model's.
    """
    real = batch.index >= 0
    here = (batch.metre[..., 0] > 0) & real[:, None]
    levels = {}
    for level in config.widths:
        present = present_spans(here, config.span(level, here.shape[-1]))[..., None]
        posterior = output.posterior[level]
        levels[level] = LevelUsage(
            present.sum(dtype=jnp.float32),
            _total(output.kl[level], present),
            _spread(posterior, present),
            _spread(relative_to(posterior, output.prior[level]), present),
        )
    phrases = jnp.where(real, num_phrases(batch.mask), 0).sum(dtype=jnp.float32)
    return Usage(real.sum(dtype=jnp.float32), phrases, levels)


def sum_usage(parts: Iterable[Usage]) -> Usage:
    """The sums over several batches, in float64 on the host; how windows are spread over them does not matter."""
    return reduce(_add, (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), part) for part in parts))


def usage_figures(usage: Usage, config: ModelConfig) -> dict[str, float]:
    """What the sums say, by level, coarse to fine, and by group of dims.

    ``kl_<level>`` in nats per window, ``kl_<level>_per_phrase``, ``kl_<level>_per_latent``; ``active_units_a_<level>``
    and ``active_units_b_<level>``, shares of dims, of the residual, ``active_units_a_raw_<level>`` and
    ``active_units_b_raw_<level>`` of the posterior itself. Each of a group alone where it says ``<level>_<group>``.
    """
    figures: dict[str, float] = {}
    for level, width in config.widths.items():
        part = usage.levels[level]
        active = {"": _active(part.residual, part.count), "_raw": _active(part.raw, part.count)}
        groups = {f"{level}_{group}": dims for group, dims in group_layout(config, level).items()}
        for name, dims in {level: slice(0, width), **groups}.items():
            kl = part.kl[dims].sum()
            figures |= {
                f"kl_{name}": _quotient(kl, usage.windows),
                f"kl_{name}_per_phrase": _quotient(kl, usage.phrases),
                f"kl_{name}_per_latent": _quotient(kl, part.count),
            }
            for kind, rules in active.items():
                for rule, found in rules.items():
                    figures[f"active_units_{rule}{kind}_{name}"] = float(found[dims].mean())
    return figures


def kl_per_dim(usage: Usage, config: ModelConfig) -> dict[str, dict[str, float]]:
    """``kl_per_dim_<level>``: the KL of each dim in nats per window, by its name, such as ``"fine/rhythm[3]"``."""
    return {
        f"kl_per_dim_{level}": {
            dim_name(config, level, dim): _quotient(kl, usage.windows) for dim, kl in enumerate(usage.levels[level].kl)
        }
        for level in config.widths
    }


def _total(values: Array, present: Array) -> Array:
    """Sums over unmasked latents: float[batch, time, dim] to float[dim]."""
    return jnp.where(present, values, 0).sum((0, 1))


def _spread(gaussian: Gaussian, present: Array) -> Spread:
    mean = _total(gaussian.loc, present) / jnp.maximum(present.sum(), 1)
    return Spread(mean, _total((gaussian.loc - mean) ** 2, present), _total(jnp.exp(gaussian.log_scale), present))


def _add(first: Usage, second: Usage) -> Usage:
    levels = {}
    for level, one in first.levels.items():
        other = second.levels[level]
        levels[level] = LevelUsage(
            one.count + other.count,
            one.kl + other.kl,
            _merge(one.raw, one.count, other.raw, other.count),
            _merge(one.residual, one.count, other.residual, other.count),
        )
    return Usage(first.windows + second.windows, first.phrases + second.phrases, levels)


def _merge(one: Spread, count: Array, other: Spread, other_count: Array) -> Spread:
    """Means and squares of the union of two samples (Chan, Golub & LeVeque 1983, eq. 2.1)."""
    share = other_count / max(count + other_count, 1)
    apart = other.mean - one.mean
    square = one.square + other.square + apart**2 * count * share
    return Spread(one.mean + apart * share, square, one.scale + other.scale)


def _active(spread: Spread, count: Any) -> dict[str, np.ndarray]:
    """Rule -> bool[dim]."""
    count = max(count, 1)
    return {"a": spread.scale / count < ACTIVE_SCALE, "b": spread.square / count >= ACTIVE_VARIANCE}


def _quotient(total: Any, number: Any) -> float:
    return float(total / max(number, 1))
