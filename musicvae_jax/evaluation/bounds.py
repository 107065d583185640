"""Bounds on the likelihood of windows under priors of a model, and what one prior gains over another."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from musicvae_jax.evaluation.bootstrap import Bootstrap, estimate
from musicvae_jax.evaluation.fitted_priors import BASES, bases_of
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.figures import Estimate
from musicvae_jax.inference import decode_nll, infer
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.loss import iwae_bound
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Variables

_TOGETHER = 8  # draws that are decoded at once: the music is encoded once for all of them


class Bounds(NamedTuple):
    """Lower bounds on log p(x), and the KL, of each window in nats; every array is float64[window]."""

    elbo: Array  # the mean over draws of log p(x, z) - log q(z | x)
    iwae: Array  # the log of the mean of its exponential (Burda et al. 2016); not below the elbo
    kl: dict[str, Array]  # level -> the mean over draws of log q(z | x) - log p(z)


def window_bounds(priors: Mapping[str, TrainedVAE], batch: Batch, num_draws: int, seed: int = 0) -> dict[str, Bounds]:
    """Bounds of every window under every prior, all with the same draws of the posterior.

    Args:
        priors: models that differ in their bases only, such as `load_prior` gives them.
        batch: windows, with one batch axis.
        num_draws: K, one or more.
        seed: of the draws.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws = {num_draws}: allowed is 1 or more")
    key, (first, *_) = stream(jax.random.key(seed), "bounds"), priors.values()
    models = tuple(vae.model for vae in priors.values())
    bases = tuple(bases_of(vae.variables) for vae in priors.values())
    parts = []
    for start in range(0, num_draws, _TOGETHER):
        draws = np.arange(start, min(start + _TOGETHER, num_draws), dtype=np.int32)
        parts.append(jax.device_get(_log_weights(models, first.variables, bases, batch, key, draws)))
    log_p_x = np.concatenate([part[0] for part in parts]).astype(np.float64)
    found = {}
    for number, (name, vae) in enumerate(priors.items()):
        ratios = {
            level: np.concatenate([part[1][number][level] for part in parts]).astype(np.float64)
            for level in vae.config.levels.on
        }
        ratio = sum(ratios.values(), np.zeros_like(log_p_x))
        iwae = np.asarray(iwae_bound(log_p_x, ratio), np.float64)
        found[name] = Bounds((log_p_x - ratio).mean(0), iwae, {level: each.mean(0) for level, each in ratios.items()})
    return found


def paired_gain(old: Array, new: Array, families: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of new - old over windows, in the unit of both; the standard error is over families of pieces.

    Args:
        old: float[window], such as the bounds under one prior.
        new: float[window], of the same windows.
        families: int[window].
        seed: of the resamples.
    """
    return estimate(Bootstrap(families, seed).mean(np.asarray(new, np.float64) - np.asarray(old, np.float64)))


@partial(jax.jit, static_argnames="models")
def _log_weights(
    models: Sequence[MusicVAE],
    variables: Variables,
    bases: Sequence[Variables],
    batch: Batch,
    key: Array,
    draws: Array,
) -> tuple[Array, list[dict[str, Array]]]:
    """log p(x | z) and, for each model and level, log q(z | x) - log p(z): float[draw, batch] each.

    What the models share goes in once, so that the compiler computes it once.
    """
    shared = {name: leaf for name, leaf in variables["params"].items() if not name.startswith(BASES)}

    def one(draw: Array) -> tuple[Array, list[dict[str, Array]]]:
        keys, ratios, log_p_x = row_keys(stream(key, "draw", draw), batch.index), [], None
        for model, own in zip(models, bases, strict=True):
            with_bases = {**variables, "params": {**shared, **own}}
            found = infer(model, with_bases, batch, keys)
            if log_p_x is None:
                log_p_x = -decode_nll(model, with_bases, found.latents, batch)
            ratios.append({level: ratio.sum(-1) for level, ratio in found.log_ratio.items()})
        return log_p_x, ratios

    return jax.vmap(one)(draws)
