"""Music from a trained model: from its prior, from the upper levels of a piece, between two pieces."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec.score import MAX_MEASURES, Metre, Score
from musicvae_jax.config import UserError, check_seed
from musicvae_jax.config.checks import check
from musicvae_jax.data.conditions import metre_number
from musicvae_jax.evaluation.chain import decode_chain, prior_chain, window_starts
from musicvae_jax.evaluation.pieces import Piece, to_metre
from musicvae_jax.inference import slerp
from musicvae_jax.models.sampling import SamplingConfig
from musicvae_jax.models.spans import present_latents
from musicvae_jax.types import Array, Batch, Latents

if TYPE_CHECKING:
    from musicvae_jax.evaluation.trained import TrainedVAE

_GREEDY = SamplingConfig(temperature=0.0)


def sample(
    vae: "TrainedVAE",
    num: int,
    *,
    metre: Metre | str | None = None,
    measures: int | None = None,
    conditions: Mapping[str, Any] | None = None,
    guidance: float = 1.0,
    temperature: Mapping[str, float] | None = None,
    seed: int = 0,
    sampling: SamplingConfig = SamplingConfig(),
) -> list[Score]:
    """Music from the prior.

    Longer pieces are chains of windows, whose top latents are drawn near each other, or are the same under a learned
    base; see `evaluation.chain`.

    Args:
        vae: the model.
        num: pieces.
        metre: of every measure, such as ``"6/8"``; drawn for each piece from the training frequencies if not given. A
            model that knows metres as a condition is told this one.
        measures: of a piece; those of a window if not given.
        conditions: what is asked for, such as ``{"key": "G", "mode": "major", "style": "jig"}``; the rest is unknown.
            Scores have the key, the tempo and the style that were asked for.
        guidance: more than 1 follows the conditions further than they were learned: priors (`gaussian.guided`), and the
            decoder where it is told (`sample_tokens`), which then takes twice as long.
        temperature: level -> factor of the scale of its prior; 1 for levels that are not named.
        seed: of metres, latents and tokens.
        sampling: how tokens are chosen.

    Raises:
        UserError: an argument is out of range, or the model does not know a condition; the message names the nearest.
    """
    check_seed(seed)
    check(num >= 1, "num", num, "1 or more")
    asked = dict(conditions or {})
    told = vae.conditions.encode(asked)
    check(1 <= guidance < math.inf, "guidance", guidance, "1 or more")
    is_told = bool(asked) or "metre" in vae.conditions.names
    check(guidance == 1 or is_told, "guidance", guidance, "1 where no condition is asked for")
    if "metre" in asked:
        same = metre is None or to_metre(metre) == to_metre(asked["metre"])
        check(same, "metre", str(metre), f"that of the conditions, {asked['metre']}, or none")
        metre = asked["metre"]
    measures = vae.config.data.measures if measures is None else measures
    check(1 <= measures <= MAX_MEASURES, "measures", measures, f"1 to {MAX_MEASURES}")
    _check_temperature(temperature, list(vae.config.levels.on))
    if metre is None:
        names = sorted(vae.metres)
        shares = np.array([vae.metres[name] for name in names], float)
        drawn = np.random.default_rng(seed).choice(len(names), num, p=shares / shares.sum())
        rows = np.array([Metre.parse(names[number]) for number in drawn])
    else:
        rows = np.tile(to_metre(metre), (num, 1))
    frame = np.repeat(rows[:, None], measures, 1).astype(np.int32)
    known = np.tile(told, (num, 1))
    if "metre" in vae.conditions.names:
        known[:, vae.conditions.names.index("metre")] = metre_number(rows)
    strength = guidance if guidance > 1 else None
    latents_of = prior_chain(vae, lambda _: {}, dict(temperature or {}), seed, known, strength)
    scores = decode_chain(vae, frame, latents_of, seed=seed, sampling=sampling, conditions=known, guidance=strength)
    return [vae.conditions.labelled(score, told) for score in scores]


def resample(
    vae: "TrainedVAE",
    piece: Piece,
    keep: str,
    num: int = 3,
    *,
    start: int = 0,
    measures: int | None = None,
    temperature: Mapping[str, float] | None = None,
    seed: int = 0,
    sampling: SamplingConfig = _GREEDY,
) -> list[Score]:
    """Variants of a piece: upper levels are kept, the levels below are drawn from their priors.

    Args:
        vae: the model.
        piece: a score, or a file of one.
        keep: the lowest level that is kept, at its posterior mean, like those above it.
        num: variants.
        start: the first measure, counted from 0.
        measures: from there on; those of a window, or to the end of the piece, if not given.
        temperature: level -> factor of the scale of its prior; 1 for levels that are not named.
        seed: of latents and tokens.
        sampling: how tokens are chosen.

    Raises:
        MusicError: the codec refuses the piece.
        UserError: there is nothing below the level, or another argument is out of range.
    """
    check_seed(seed)
    levels = list(vae.config.levels.on)
    allowed = " or ".join(levels[:-1]) or f"nothing: {levels[0]} is the only level of the model"
    check(keep in levels[:-1], "keep", keep, allowed)
    check(num >= 1, "num", num, "1 or more")
    kept = levels[: levels.index(keep) + 1]
    _check_temperature(temperature, levels[len(kept) :])
    score = vae.score(piece)
    frame, windows = cut(vae, score, start, measures)
    posterior = vae.encode(windows)

    def given_of(number: int) -> Latents:
        return {level: jnp.repeat(posterior[level].loc[number : number + 1], num, 0) for level in kept}

    latents_of = prior_chain(vae, given_of, dict(temperature or {}), seed)
    variants = decode_chain(vae, np.repeat(frame[None], num, 0), latents_of, seed=seed, sampling=sampling)
    return [vae.like(score, variant) for variant in variants]


def interpolate(
    vae: "TrainedVAE",
    first: Piece,
    second: Piece,
    steps: int = 9,
    *,
    starts: tuple[int, int] = (0, 0),
    measures: int | None = None,
    seed: int = 0,
    sampling: SamplingConfig = _GREEDY,
) -> list[Score]:
    """The path between windows of two pieces, along a great circle (`slerp`), with both ends.

    A point has the metre and the length of the nearer end, and a tempo between theirs. A latent that only the longer
    piece has is constant.

    Args:
        vae: the model.
        first: a score, or a file of one.
        second: likewise.
        steps: points, both ends included.
        starts: of each piece the first measure, counted from 0.
        measures: from there on; those of a window, or to the end of a piece, if not given.
        seed: of the tokens.
        sampling: how tokens are chosen.
    """
    check(steps >= 2, "steps", steps, "2 or more: both ends count")
    frames, ends, scores = [], [], [vae.score(piece) for piece in (first, second)]
    for score, start in zip(scores, starts, strict=True):
        frame, windows = cut(vae, score, start, measures)
        frames.append(frame)
        ends.append((windows, {level: q.loc for level, q in vae.encode(windows).items()}))
    longest = max(len(frame) for frame in frames)
    shares = np.linspace(0, 1, steps)
    padded = [np.pad(frame, ((0, longest - len(frame)), (0, 0))) for frame in frames]
    of_steps = np.stack([padded[int(share > 0.5)] for share in shares])

    def latents_of(number: int, window: np.ndarray, before: Latents | None) -> Latents:
        del window, before
        latents = {}
        for name, level in vae.config.levels.on.items():
            here = [_row(present_latents(end.metre, level), number) for end, _ in ends]
            one, other = (_row(code[name], number) for _, code in ends)
            one, other = jnp.where(here[0][:, None], one, other), jnp.where(here[1][:, None], other, one)
            latents[name] = jnp.stack([slerp(one, other, share) for share in shares])
        return latents

    points = decode_chain(vae, of_steps, latents_of, seed=seed, sampling=sampling)
    tempos = np.geomspace(scores[0].tempo, scores[1].tempo, steps)
    return [dataclasses.replace(point, tempo=float(tempo)) for point, tempo in zip(points, tempos, strict=True)]


def cut(vae: "TrainedVAE", score: Score, start: int = 0, measures: int | None = None) -> tuple[np.ndarray, Batch]:
    """The metres int32[measure, 2] of a part of a piece, and its windows, as a chain has them.

    Args:
        vae: the model.
        score: the piece.
        start: the first measure, counted from 0.
        measures: from there on; those of a window, or to the end of the piece, if not given.

    Raises:
        MusicError: the codec refuses the piece.
        UserError: it has no such measures.
    """
    check(0 <= start < score.num_measures, "start", start, f"0 to {score.num_measures - 1}, measures counted from 0")
    left = score.num_measures - start
    measures = min(vae.config.data.measures, left) if measures is None else measures
    check(
        1 <= measures <= left,
        "measures",
        measures,
        f"1 to {left}: {start} of the piece's {score.num_measures} lie before",
    )
    windows = vae.windows(score, [start + first for first in window_starts(vae.config, measures)])
    return score.measures[start : start + measures, 1:].astype(np.int32), windows


def _row(rows: Array, number: int) -> Array:
    """A row; zeros, or False, beyond the last."""
    return rows[number] if number < len(rows) else jnp.zeros_like(rows[0])


def _check_temperature(temperature: Mapping[str, float] | None, drawn: list[str]) -> None:
    for level, value in (temperature or {}).items():
        if level not in drawn:
            raise UserError(f"temperature of {level!r}: allowed are the levels that are drawn: {', '.join(drawn)}")
        if not (value >= 0 and math.isfinite(value)):
            raise UserError(f"temperature of {level!r} = {value}: allowed is 0 or more")
