"""How far a prior is from the posteriors of held-out music: the gap that is left, kernel distance, a classifier."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from musicvae_jax.config import check_seed
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation.figures import PriorFigures, PriorLevelFigures, TwoSampleFigures
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.evaluation.two_samples import CLASSIFIERS, classifier_accuracy, mmd, one_of_each
from musicvae_jax.figures import Estimate
from musicvae_jax.inference import infer, sample_prior
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.objectives.usage import mutual_information
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Gaussian, Latents


class PriorGap(NamedTuple):
    """KL(q(e) || p(e)) of one latent, in nats, q(e) the mixture of the posteriors of all latents."""

    kl: float  # E KL(q(e | x) || p(e))
    mutual_information: float  # an estimate of I(x; e), which cannot exceed the log of the number of latents
    gap: float  # kl - mutual_information: too large where the latter is at its limit


class Codes(NamedTuple):
    """Latents of held-out windows and of the prior; all arrays are [window, time, ...]."""

    index: Array  # int32[window]
    present: dict[str, Array]  # level -> bool[window, time]
    residual: dict[str, Gaussian]  # level -> the posterior in the units of its frame
    e: Latents  # level -> its draw, likewise
    log_ratio: dict[str, Array]  # level -> log q(e | x) - log p(e | above) of the draw
    posterior: Latents  # level -> the draw z
    prior: Latents  # level -> a draw of z from the prior, given the draws of the levels above
    free: Latents  # level -> a draw of z with all levels from their priors


def prior_figures(vae: TrainedVAE, split: str, *, num_windows: int = 512, seed: int = 0) -> PriorFigures:
    """Measures how far the prior is from the posteriors of windows spread evenly over a split.

    Samples of a level are its latents: the draws of their posteriors, and draws from the prior given the same levels
    above. Samples of all levels together are all latents of whole windows, drawn from the priors of all levels.

    Args:
        vae: the model, with one level or more.
        split: such as ``"test"``.
        num_windows: at most so many.
        seed: of the draws.
    """
    check_seed(seed)
    source = load_windows(vae.config, split, attributes=False)
    vae, parallel = on_all_devices(vae)
    key = stream(jax.random.key(seed), "prior fit")
    batches = make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows)
    parts = [jax.device_get(_codes(vae, parallel.shard_rows(batch), key)) for batch in batches]
    joined: Codes = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    codes: Codes = jax.tree.map(lambda leaf: leaf[joined.index >= 0], joined)
    families = Families(source)(codes.index)
    levels, total = {}, 0.0
    for name in vae.config.levels.on:  # trees of dicts come back in the order of their names
        there = codes.present[name]
        own = Gaussian(*(leaf[there] for leaf in codes.residual[name]))
        gap = prior_gap(own, codes.e[name][there], codes.log_ratio[name][there], seed)
        total += gap.gap * there.sum() / len(there)
        of_latents = np.repeat(families, there.shape[1])[there.ravel()]
        tested = two_samples(codes.posterior[name][there], codes.prior[name][there], of_latents, seed)
        levels[name] = PriorLevelFigures(latents=int(there.sum()), **gap._asdict(), **vars(tested))
    whole = np.flatnonzero(np.concatenate([*codes.present.values()], 1).all(1))
    together = two_samples(_flat(codes.posterior, whole), _flat(codes.free, whole), families[whole], seed)
    return PriorFigures(windows=len(families), gap=float(total), levels=levels, together=together)


def prior_gap(posterior: Gaussian, draws: np.ndarray, log_ratio: np.ndarray, seed: int = 0) -> PriorGap:
    """What a prior misses of the posteriors of all latents together.

    kl - I(x; e) = KL(q(e) || p(e)) (Hoffman & Johnson 2016). Both are estimated from the same draws, so that the noise
    of log q(e | x) cancels.

    Args:
        posterior: float[latent, dim], in the units of the frame.
        draws: float[latent, dim], one of each.
        log_ratio: float[latent], log q(e | x) - log p(e) of the draws.
        seed: as `mutual_information` takes it.
    """
    kl, information = float(np.mean(log_ratio)), mutual_information(posterior, seed, draws=draws)
    return PriorGap(kl, information, kl - information)


def two_samples(posterior: np.ndarray, prior: np.ndarray, families: np.ndarray, seed: int = 0) -> TwoSampleFigures:
    """What tells draws of the posteriors from draws of the prior.

    Args:
        posterior: float[row, dim].
        prior: float[row, dim], of the same windows, row by row: both may be given the same levels above.
        families: int[row]. The kernel distance is of one row of each.
        seed: of rows, permutations and classifiers.
    """
    rows = one_of_each(families, seed)
    if len(rows) < 4:
        nothing = Estimate(float("nan"), float("nan"))
        return TwoSampleFigures(nothing, float("nan"), dict.fromkeys(CLASSIFIERS, nothing))
    apart = mmd(posterior[rows], prior[rows], seed, paired=True)
    accuracy = {kind: classifier_accuracy(posterior, prior, families, kind, seed) for kind in CLASSIFIERS}
    return TwoSampleFigures(Estimate(apart.value, apart.se), apart.p, accuracy)


def _codes(vae: TrainedVAE, batch: Batch, key: Array) -> Codes:
    """The codes of a batch that lies on the devices of the model."""
    model, variables = vae.model, vae.variables
    found = infer(model, variables, batch, row_keys(stream(key, "posterior"), batch.index))
    e = {name: to_frame(z, found.frame[name]) for name, z in found.latents.items()}
    keys, names = row_keys(stream(key, "prior"), batch.index), list(vae.config.levels.on)
    prior: Latents = {}
    free = sample_prior(model, variables, batch.metre, keys)
    for number, name in enumerate(names):
        above = {upper: found.latents[upper] for upper in names[:number]}
        prior[name] = sample_prior(model, variables, batch.metre, keys, above)[name] if above else free[name]
    return Codes(batch.index, found.present, found.residual, e, found.log_ratio, found.latents, prior, free)


def _flat(latents: Mapping[str, Array], rows: np.ndarray) -> np.ndarray:
    """All latents of some windows side by side: level -> float[window, time, dim] to float[row, number]."""
    return np.concatenate([z[rows].reshape(len(rows), -1) for z in latents.values()], 1)
