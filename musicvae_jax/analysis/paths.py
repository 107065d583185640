"""Paths through latents: a dim that moves, the way from one piece to another, dims that two pieces swap."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from musicvae_jax.analysis.codes import Code, decode, make_code, measure, move, repeat_code
from musicvae_jax.codec.score import Score, join
from musicvae_jax.config.checks import check
from musicvae_jax.config.dims import find_dims
from musicvae_jax.evaluation.generation import cut
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.novelty import token_distances
from musicvae_jax.evaluation.pieces import Piece
from musicvae_jax.evaluation.reconstruction import agreement, f1
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import slerp
from musicvae_jax.types import Batch, Latents

_FINER = 8  # points of the path from which even ones are chosen, for each of them
_REFINEMENTS = 4  # how often steps that are too long are divided into so many


class Traversal(NamedTuple):
    """Windows with one dim after the other moved."""

    names: tuple[str, ...]  # of the dims
    shifts: np.ndarray  # float64[step]
    scores: list[list[list[Score]]]  # [dim][step][window]
    attributes: np.ndarray  # float64[dim, step, window, attribute], of the whole windows, see `codes.measure`
    attribute_names: tuple[str, ...] = NAMES


class Path(NamedTuple):
    """The way between two windows."""

    shares: np.ndarray  # float64[step], 0 at the first piece and 1 at the second
    scores: list[Score]
    distances: np.ndarray  # float64[step - 1], shares of tokens that differ from a point to the next
    smoothness: float  # largest / mean distance: 1 for even steps; NaN where nothing changes
    onset_f1: tuple[float, float]  # of both ends against their pieces
    attributes: np.ndarray  # float64[step, attribute], see `codes.measure`
    attribute_names: tuple[str, ...] = NAMES


def traverse_dims(vae: TrainedVAE, code: Code, name: str, low: float, high: float, steps: int) -> Traversal:
    """Moves each dim of a name, in all latents of its level: shifts from low to high are added to the means.

    The levels above stay, those below keep their e; see `codes.move`.

    Args:
        vae: the model.
        code: of windows.
        name: a dim, a group or a level, such as ``"fine/rhythm[0]"`` or ``"fine/rhythm"``.
        low: the first shift. Under a normal base 1 is a standard deviation of the prior at the top level.
        high: the last shift.
        steps: number of shifts, at even distances.
    """
    found = find_dims(vae.config.levels, name)
    check(steps >= 2, "steps", steps, "2 or more: both ends count")
    check(math.isfinite(low) and math.isfinite(high) and low < high, "range", (low, high), "two numbers, ascending")
    shifts, metre = np.linspace(low, high, steps), np.asarray(code.windows.metre)
    copies = repeat_code(code, steps)
    scores, attributes = [], []
    for dim in range(found.dims.start, found.dims.stop):
        shift = np.zeros_like(copies.means[found.level])
        shift[..., dim] = np.repeat(shifts, len(metre))[:, None]
        tokens = decode(vae, move(vae, copies, found.level, shift), copies.windows.metre)
        rows = vae.scores(tokens, copies.windows.metre)
        scores.append([rows[step * len(metre) : (step + 1) * len(metre)] for step in range(steps)])
        measured = measure(vae, tokens, copies.windows.metre, 0)
        attributes.append(measured.reshape(steps, len(metre), -1))
    return Traversal(found.names, shifts, scores, np.stack(attributes))


def interpolate_codes(
    vae: TrainedVAE,
    first: Code,
    second: Code,
    steps: int = 10,
    kind: Literal["linear", "spherical"] = "spherical",
    levels: Sequence[str] = (),
    *,
    even: bool = False,
) -> Path:
    """The path from one window to another of the same metres.

    Args:
        vae: the model.
        first: of one window.
        second: of another.
        steps: points, both ends included.
        kind: along a straight line, or along a great circle (`inference.slerp`).
        levels: that change, all if none is named; the others keep the latents of the first.
        even: whether points lie at even distances as heard, not as latents: a path of `_FINER` times as many points is
            decoded, its longest steps are divided again, and of those points the most even ones are kept.

    Raises:
        UserError: an argument is out of range, or the metres differ.
    """
    on = tuple(vae.config.levels.on)
    check(steps >= 2, "steps", steps, "2 or more: both ends count")
    check(kind in ("linear", "spherical"), "kind", kind, "linear or spherical")
    check(set(levels) <= set(on), "levels", tuple(levels), f"some of {', '.join(on)}")
    metres = [_metres(code) for code in (first, second)]
    check(
        metres[0] == metres[1], "metres", metres[1], f"those of the first piece: {metres[0]}; vae.interpolate takes any"
    )
    metre = first.windows.metre

    def decode_at(shares: np.ndarray) -> np.ndarray:
        return decode(vae, _between(first, second, shares, kind, levels or on), np.repeat(metre, len(shares), 0))

    def distances_of(tokens: np.ndarray) -> np.ndarray:
        return token_distances(tokens[:-1], tokens[1:], np.repeat(metre, len(tokens) - 1, 0), vae.codec)

    shares = np.linspace(0, 1, _FINER * (steps - 1) + 1 if even else steps)
    tokens = decode_at(shares)
    if even:
        for _ in range(_REFINEMENTS):
            distances = distances_of(tokens)
            wide = np.flatnonzero(distances > 0.5 * distances.sum() / (steps - 1))
            if not len(wide):
                break
            more = np.concatenate([np.linspace(shares[at], shares[at + 1], _FINER + 1)[1:-1] for at in wide])
            order = np.argsort(np.append(shares, more))
            shares, tokens = np.append(shares, more)[order], np.concatenate([tokens, decode_at(more)])[order]
        frame = np.repeat(metre, len(tokens), 0)
        rows = (np.broadcast_to(point, tokens.shape) for point in tokens)  # one by one: all pairs may not fit in memory
        kept = even_points(np.stack([token_distances(row, tokens, frame, vae.codec) for row in rows]), steps)
        shares, tokens = shares[kept], tokens[kept]
    frame, distances = np.repeat(metre, steps, 0), distances_of(tokens)
    return Path(
        shares,
        vae.scores(tokens, frame),
        distances,
        smoothness(distances),
        (onset_f1(vae, tokens[:1], first.windows), onset_f1(vae, tokens[-1:], second.windows)),
        measure(vae, tokens, frame, 0)[:, 0],
    )


def even_points(distances: np.ndarray, steps: int) -> np.ndarray:
    """The points of a path, both ends and others between them in order, whose steps are the most even: int64[steps].

    Of all choices the one whose largest step is smallest against the mean step. For each limit of a step, dynamic
    programming finds the longest way whose steps keep to it.

    Args:
        distances: float[point, point], of each pair.
        steps: points that are kept, 2 or more and no more than there are.
    """
    num, forward = len(distances), np.triu(np.ones(np.shape(distances), bool), 1)
    best, found = math.inf, np.linspace(0, num - 1, steps).astype(np.int64)
    for limit in np.unique(distances[forward & (distances > 0)]):
        step = np.where(forward & (distances <= limit), distances, -math.inf)
        length, came_from = np.where(np.arange(num) == 0, 0.0, -math.inf), []
        for _ in range(steps - 1):
            ways = length[:, None] + step
            came_from.append(ways.argmax(0))
            length = ways.max(0)
        if length[-1] > 0 and limit * (steps - 1) / length[-1] < best:
            best, points = limit * (steps - 1) / length[-1], [num - 1]
            for before in reversed(came_from):
                points.append(int(before[points[-1]]))
            found = np.array(points[::-1])
    return found


def _between(first: Code, second: Code, shares: np.ndarray, kind: str, levels: Sequence[str]) -> Latents:
    """Latents at shares float64[step] of the way from one window to another."""
    latents = {}
    for level, means in first.means.items():
        one, other = means[0], second.means[level][0]
        if level not in levels:
            latents[level] = np.repeat(one[None], len(shares), 0)
        elif kind == "linear":
            latents[level] = one + shares[:, None, None].astype(np.float32) * (other - one)
        else:
            latents[level] = np.stack([np.asarray(slerp(one, other, float(share))) for share in shares])
    return latents


def smoothness(distances: np.ndarray) -> float:
    """The largest over the mean distance of steps float[step]; NaN where nothing changes."""
    mean = float(np.mean(distances))
    return float(np.max(distances)) / mean if mean > 0 else math.nan


def onset_f1(vae: TrainedVAE, tokens: np.ndarray, windows: Batch) -> float:
    """F1 of the notes of decoded windows against the originals: equal onset, pitch and voice."""
    found = agreement(tokens, windows, vae.codec)
    wanted = len(vae.codec.notes(windows.tokens, windows.mask, windows.metre).row)
    return f1(found["onset_hits"].sum(), found["onset_found"].sum(), wanted)


def swap_dims(vae: TrainedVAE, first: Piece, second: Piece, name: str) -> tuple[Score, Score]:
    """Two pieces with dims of each other: the first with those of the second, and the reverse.

    Window by window; the levels below keep their e. The shorter piece begins anew where it ends.

    Args:
        vae: the model.
        first: a piece.
        second: another.
        name: a dim, a group or a level; see `config.dims.find_dims`.
    """
    found = find_dims(vae.config.levels, name)
    scores = [vae.score(piece) for piece in (first, second)]
    codes = [make_code(vae, vae.windows(score)) for score in scores]
    swapped = []
    for score, own, other in zip(scores, codes, codes[::-1], strict=True):
        rows = np.arange(len(own.windows.index)) % len(other.windows.index)
        mine, theirs = own.means[found.level], other.means[found.level][rows]
        shift = np.zeros_like(mine)
        there = (theirs != 0).any(-1, keepdims=True)  # a latent that the other window lacks is 0
        shift[..., found.dims] = np.where(there, theirs - mine, 0)[..., found.dims]
        tokens = decode(vae, move(vae, own, found.level, shift), own.windows.metre)
        swapped.append(vae.like(score, join(vae.scores(tokens, own.windows.metre))))
    return swapped[0], swapped[1]


def code_of(vae: TrainedVAE, piece: Piece, start: int = 0) -> Code:
    """The code of one window of a piece that starts at a measure, counted from 0."""
    return make_code(vae, cut(vae, vae.score(piece), start)[1])


def _metres(code: Code) -> str:
    rows = code.windows.metre[0]
    return " ".join(f"{top}/{bottom}" for top, bottom in rows.tolist() if top)
