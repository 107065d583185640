"""Music longer than a window: windows that overlap, each of which goes on from the one before.

The next window begins with the last phrase of the one before. Their latents of that phrase are the same, and the
decoder is told its notes, so that what follows goes on from them: a note that sounds at the seam is held if the decoder
says so. As in training, it is told that a note which sounds at the start of the window starts there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from musicvae_jax.codec.score import Score, join
from musicvae_jax.config import Config
from musicvae_jax.inference import sample_prior
from musicvae_jax.models.sampling import SamplingConfig
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Latents

if TYPE_CHECKING:
    from musicvae_jax.evaluation.trained import TrainedVAE

# The share of the change of the top latent from a window to the next: its correlation is sqrt(1 - 0.5^2) = 0.87.
CHANGE = 0.5
# number of the window, its metres int32[batch, measure, 2], the latents of the window before (None for the first)
LatentsOf = Callable[[int, np.ndarray, Latents | None], Latents]


def overlap(config: Config) -> int:
    """Measures that a window of a chain shares with the one before.

    Half a window, in whole latents of the coarsest level that has several; 0 for a window of one measure.
    """
    half = config.data.measures // 2
    spans = [level.span for level in config.levels.on.values() if 0 < level.span <= half]
    return half // spans[0] * spans[0] if spans else half


def window_starts(config: Config, measures: int) -> list[int]:
    """The first measures of the windows of a chain over so many measures."""
    longest, shared = config.data.measures, overlap(config)
    return [0] if measures <= longest else [*range(0, measures - shared, longest - shared)]


def window_of(frame: np.ndarray, start: int, longest: int) -> np.ndarray:
    """The metres of a window, int32[batch, longest, 2], of those of a piece; (0, 0) beyond its end."""
    found = np.zeros((len(frame), longest, 2), np.int32)
    part = frame[:, start : start + longest]
    found[:, : part.shape[1]] = part
    return found


def decode_chain(
    vae: "TrainedVAE",
    frame: np.ndarray,
    latents_of: LatentsOf,
    *,
    seed: int,
    sampling: SamplingConfig,
    conditions: np.ndarray | None = None,
    guidance: float | None = None,
) -> list[Score]:
    """Decodes pieces of any length, window by window.

    Args:
        vae: the model.
        frame: int32[batch, measure, 2], the metres; (0, 0) beyond the end of a piece.
        latents_of: gives the latents of each window.
        seed: of the tokens.
        sampling: how tokens are chosen.
        conditions: float[batch, condition], of all windows; see `TrainedVAE.decode`.
        guidance: likewise.

    Returns:
        One score per row.
    """
    longest, shared = vae.config.data.measures, overlap(vae.config)
    before: Latents | None = None
    parts: list[np.ndarray] = []  # each int32[batch, measure, slot, field]
    starts = window_starts(vae.config, frame.shape[1])
    for number, start in enumerate(starts):
        window = window_of(frame, start, longest)
        before, known = latents_of(number, window, before), None
        if number and shared:
            known = np.full((*vae.mask(window).shape, len(vae.codec.fields)), -1, np.int32)
            known[:, :shared] = parts[-1][:, -shared:]
            known[:, 0, 0] = _first_slots(vae, np.concatenate(parts, 1), frame, start)
        told: dict[str, Any] = {"conditions": conditions, "guidance": guidance}
        tokens = vae.decode(before, window, seed=seed, sampling=sampling, known=known, window=number, **told)
        parts.append(tokens[:, shared if number else 0 :])
    if shared or len(starts) == 1:
        return vae.scores(np.concatenate(parts, 1)[:, : frame.shape[1]], frame)
    # Windows of one measure: a first slot that holds is silence.
    rows = [vae.scores(part, window_of(frame, start, longest)) for part, start in zip(parts, starts, strict=True)]
    return [join(pieces) for pieces in zip(*rows, strict=True)]


def _first_slots(vae: "TrainedVAE", tokens: np.ndarray, frame: np.ndarray, start: int) -> np.ndarray:
    """The first slot of a window that begins in a piece, as in training: a note that sounds there starts anew.

    int32[batch, field] of tokens int32[batch, measure, slot, field] and of metres int32[batch, measure, 2].
    """
    masks = vae.mask(window_of(frame, 0, tokens.shape[1]))
    return np.stack([vae.codec.first_slots(*piece)[start] for piece in zip(tokens, masks, strict=True)])


def draw_levels(
    vae: "TrainedVAE",
    window: np.ndarray,
    given: Latents,
    before: Latents | None,
    temperature: dict[str, float],
    key: Array,
    conditions: np.ndarray | None = None,
    guidance: float | None = None,
) -> Latents:
    """The latents of the next window: given ones, those of the shared phrase, and draws from the priors.

    Args:
        vae: the model.
        window: int32[batch, measure, 2], its metres.
        given: level -> float[batch, time, dim], levels that are known.
        before: the latents of the window before; None for the first.
        temperature: see `inference.sample_prior`.
        key: of the draws.
        conditions: see `inference.sample_prior`.
        guidance: likewise.
    """
    longest, shared = vae.config.data.measures, overlap(vae.config)
    hop, begun = longest - shared, {}
    if before is not None:
        for name, level in vae.config.levels.on.items():
            if name not in given and level.span and not hop % level.span:
                first, number = hop // level.span, shared // level.span
                begun[name] = before[name][:, first : first + number]
    keys = row_keys(key, np.arange(len(window)))
    return sample_prior(vae.model, vae.variables, window, keys, given, temperature, conditions, guidance, begun)


def next_top(
    vae: "TrainedVAE",
    window: np.ndarray,
    before: Latents,
    temperature: dict[str, float],
    key: Array,
    conditions: np.ndarray | None = None,
    guidance: float | None = None,
) -> Array:
    """The top latent of the next window, where it spans the window: m + sqrt(1 - c^2) (z - m) + c (draw - m).

    m is the mean of the prior, 0 without conditions, and c = `CHANGE`. Under a normal base the result is a draw from
    the prior, correlated with the one before. Between two draws from a learned base there may be nothing, so there it
    stays.
    """
    top = vae.config.levels.top
    if vae.config.levels[top].is_learned:
        return before[top]
    keys = row_keys(key, np.arange(len(window)))
    drawn, mean = (
        sample_prior(vae.model, vae.variables, window, keys, None, scales, conditions, guidance)[top]
        for scales in (temperature, temperature | {top: 0.0})
    )
    return mean + np.sqrt(1 - CHANGE**2) * (before[top] - mean) + CHANGE * (drawn - mean)


def prior_chain(
    vae: "TrainedVAE",
    given_of: Callable[[int], Latents],
    temperature: dict[str, float],
    seed: int,
    conditions: np.ndarray | None = None,
    guidance: float | None = None,
) -> LatentsOf:
    """Draws the latents of a chain from the priors.

    Args:
        vae: the model.
        given_of: number of a window -> its given latents; {} draws them all.
        temperature: level -> factor of the scale of its prior.
        seed: of the draws.
        conditions: float[batch, condition], of all windows; all are unknown if not given.
        guidance: how strongly they count, see `inference.sample_prior`.
    """

    def latents_of(number: int, window: np.ndarray, before: Latents | None) -> Latents:
        key, given = jax.random.key(seed), given_of(number)
        if before is not None and not given and not vae.config.levels[vae.config.levels.top].span:
            own = stream(key, "next window", number)
            top = next_top(vae, window, before, temperature, own, conditions, guidance)
            given = {vae.config.levels.top: top}
        own = stream(key, "prior", number)
        return draw_levels(vae, window, given, before, temperature, own, conditions, guidance)

    return latents_of
