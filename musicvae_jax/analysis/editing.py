"""Changes a piece as asked, in musical units: two more notes a measure, three semitones lower."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from tqdm import trange

from musicvae_jax.analysis.codes import (
    Code,
    check_attribute,
    decode,
    latents_of_measures,
    make_code,
    measure,
    move,
    repeat_code,
)
from musicvae_jax.analysis.directions import Direction
from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.grid_codec import GridCodec
from musicvae_jax.codec.score import DURATION, ONSET, TRACK, VELOCITY, Score, sort_notes
from musicvae_jax.config.checks import check
from musicvae_jax.evaluation.likeness import NAMES
from musicvae_jax.evaluation.trained import BAR_SECONDS, TrainedVAE
from musicvae_jax.types import Batch

_ROUNDS, _CANDIDATES = 4, 16
_NOISE = 0.3  # of random steps, in standard deviations of the latents
_CLOSE = 0.02  # an error, in standard deviations of the attribute, that is not searched further


class Edit(NamedTuple):
    """A changed piece, and what was asked beside what came of it."""

    score: Score
    measures: tuple[int, ...]  # that may have changed, counted from 0
    spans: tuple[int, ...]  # the first measure of each latent that was moved
    asked: dict[str, np.ndarray]  # attribute -> float64[span], change in musical units; NaN where it is undefined
    realised: dict[str, np.ndarray]  # likewise, of the changed piece against the original

    @property
    def table(self) -> str:
        """Asked and realised means, a line each."""
        lines = []
        for name, asked in self.asked.items():
            known = np.isfinite(asked) & np.isfinite(self.realised[name])
            found = self.realised[name][known].mean() if known.any() else math.nan
            wanted = asked[known].mean() if known.any() else math.nan
            reached = abs(found - wanted) <= 0.1 * abs(wanted)
            text = f"{name}: {wanted:+.2f} asked, {found:+.2f} realised, mean of {known.sum()} spans"
            lines.append(text if reached or not known.any() else f"{text}: not reached")
        return "\n".join(lines)


def edit_score(
    vae: TrainedVAE,
    score: Score,
    changes: Mapping[str, float],
    directions: Sequence[Direction],
    level: str,
    measures: Iterable[int] | None = None,
    *,
    seed: int = 0,
) -> Edit:
    """Moves the latents of measures until decoded music has changed as asked; all other measures keep their notes.

    For each latent of the level, decodings of candidates
    are compared: steps along the directions, steps by what is still missing, and random steps near the best so far.
    The tokens that come closest are taken.

    Args:
        vae: the model.
        score: the piece.
        changes: attribute -> change in musical units, see `codes.unit_of`.
        directions: one for each attribute, of the level.
        level: whose latents move; the attribute is that of their spans.
        measures: counted from 0; all if not given.
        seed: of random steps.

    Raises:
        MusicError: the codec refuses the piece.
        UserError: an attribute, a level or a measure that there is not.
    """
    check(isinstance(changes, Mapping) and bool(changes), "changes", changes, "attribute -> change, one or more")
    for name, change in changes.items():
        check_attribute(vae, name)
        is_number = isinstance(change, Real) and math.isfinite(change)
        check(is_number, f"change of {name}", change, "a number")
    check(level in vae.config.levels.on, "level", level, f"one of {', '.join(vae.config.levels.on) or 'none'}")
    last = score.num_measures - 1
    allowed = f"some of 0 to {last}, measures counted from 0, such as range(0, {min(4, last + 1)})"
    listed = range(last + 1) if measures is None else measures
    check(isinstance(listed, Iterable) and not isinstance(listed, str), "measures", measures, allowed)
    chosen = tuple(sorted(set(listed)))
    fits = bool(chosen) and all(isinstance(number, Integral) and 0 <= number <= last for number in chosen)
    check(fits, "measures", measures, allowed)
    windows = vae.windows(score)
    longest = vae.config.data.measures
    wanted = np.zeros((len(windows.index), longest), bool)
    wanted.reshape(-1)[list(chosen)] = True
    touched = np.flatnonzero(wanted.any(1))
    code, wanted = make_code(vae, _rows(windows, touched)), wanted[touched]
    tokens = _search(vae, code, wanted, changes, directions, level, seed)
    encoded = vae.codec.encode(score)
    new = encoded.tokens.copy()
    places = [(window * longest + place, row, place) for row, window in enumerate(touched) for place in range(longest)]
    for number, row, place in places:
        if number <= last and wanted[row, place]:
            new[number] = tokens[row, place]
    changed = splice(score, new, chosen, vae.codec)
    span = vae.config.levels[level].span_in(longest)
    moved = latents_of_measures(vae, level, wanted)
    before, after = (_values(vae, piece, touched, level)[moved] for piece in (score, changed))
    columns = [NAMES.index(name) for name in changes]
    realised = (after - before)[:, columns]
    asked = np.where(np.isfinite(before[:, columns]), np.array([*changes.values()]), np.nan)
    rows, times = np.nonzero(moved)
    return Edit(
        changed,
        chosen,
        tuple((touched[rows] * longest + times * span).tolist()),
        {name: asked[:, number] for number, name in enumerate(changes)},
        {name: realised[:, number] for number, name in enumerate(changes)},
    )


def splice(score: Score, tokens: np.ndarray, measures: Sequence[int], codec: Codec) -> Score:
    """A score with some measures from tokens; in the others every sound stays as it was.

    A note that sounds into a changed measure goes on until a new note of its track begins (in a performance, to its
    end). One that sounded on into an unchanged measure begins anew at the bar line. New notes end at the bar line of
    the next unchanged measure.

    Args:
        score: the original.
        tokens: int32[measure, slot, field], of the whole piece.
        measures: that change.
        codec: of the tokens.
    """
    changed = np.zeros(score.num_measures, bool)
    changed[list(measures)] = True
    starts = np.append(score.measures[:, 0], score.end).astype(np.int64)
    # Where a run of changed, or of unchanged, measures begins, and where the last one ends.
    first = np.flatnonzero(np.append(True, changed[1:] != changed[:-1]))
    bounds = np.append(starts[first], score.end)
    decoded = codec.decode(tokens, score.measures[:, 1:]).notes.astype(np.int64)
    run = np.searchsorted(bounds, decoded[:, ONSET], side="right") - 1
    new, run = decoded[changed[first[run]]], run[changed[first[run]]]
    new[:, DURATION] = np.minimum(new[:, DURATION], bounds[run + 1] - new[:, ONSET])
    if len(score.notes) and not codec.has_velocities:
        new[:, VELOCITY] = int(np.median(score.notes[:, VELOCITY]))
    if len(score.notes) and codec.num_voices == 1:
        new[:, TRACK] = score.notes[0, TRACK]
    kept: list[list[int]] = []
    for onset, duration, *rest in score.notes.tolist():
        piece: list[int] | None = None  # the part of the note that sounds on
        for number in range(int(np.searchsorted(bounds, onset, side="right")) - 1, len(first)):
            begin, end = max(onset, int(bounds[number])), min(onset + duration, int(bounds[number + 1]))
            if begin >= end:
                break
            if not changed[first[number]]:
                if piece is None:
                    piece = [begin, 0, *rest]
                    kept.append(piece)
                piece[DURATION] = end - piece[ONSET]
            elif piece is not None:
                later = new[(new[:, TRACK] == rest[-1]) & (run == number), ONSET]
                cut = isinstance(codec, GridCodec) and len(later) > 0
                stop = min(end, int(later.min())) if cut else end
                piece[DURATION] = stop - piece[ONSET]
                piece = piece if stop == end else None
    notes = np.concatenate([np.array(kept, np.int64).reshape(-1, 5), new])
    return dataclasses.replace(score, notes=sort_notes(notes))


def unchanged(first: Score, second: Score, measures: Sequence[int]) -> float:
    """The share of the other measures that sound the same in two scores; 1 where there are none."""
    others = [number for number in range(first.num_measures) if number not in set(measures)]
    same = []
    for number in others:
        start = int(first.measures[number, 0])
        end = start + first.metre(number).ticks
        same.append(np.array_equal(_between(first, start, end), _between(second, start, end)))
    return float(np.mean(same)) if same else 1.0


def _between(score: Score, start: int, end: int) -> np.ndarray:
    """What sounds from one tick to another, cut there."""
    notes = score.notes[(score.notes[:, ONSET] < end) & (score.notes[:, ONSET] + score.notes[:, DURATION] > start)]
    onset = np.maximum(notes[:, ONSET], start)
    stop = np.minimum(notes[:, ONSET] + notes[:, DURATION], end)
    rows = np.column_stack([onset, stop, notes[:, DURATION + 1 :]])
    return rows[np.lexsort(rows.T)]


def _search(
    vae: TrainedVAE,
    code: Code,
    wanted: np.ndarray,
    changes: Mapping[str, float],
    directions: Sequence[Direction],
    level: str,
    seed: int,
) -> np.ndarray:
    """The tokens int32[window, measure, slot, field] of the best candidate of each latent."""
    rng, metre, windows = np.random.default_rng(seed), np.asarray(code.windows.metre), code.windows
    own, columns = vae.config.levels[level], [NAMES.index(name) for name in changes]
    vectors = np.array([direction.vector for direction in directions])  # [attribute, dim]
    spread = np.array([direction.spread for direction in directions])
    moved = latents_of_measures(vae, level, wanted)  # [window, time]
    before = measure(vae, windows.tokens, metre, own.span)[..., columns]
    asked = np.where(np.isfinite(before), np.array([*changes.values()]), 0.0)
    known = np.where(wanted[..., None, None], -1, windows.tokens).astype(np.int32)
    copies, all_known = repeat_code(code, _CANDIDATES), np.concatenate([known] * _CANDIDATES)
    size = code.means[level].std() * _NOISE
    best_error = np.full(moved.shape, np.inf)
    best_shift = np.zeros_like(code.means[level])
    missing, best = asked.copy(), windows.tokens.copy()
    to_latent = np.arange(wanted.shape[1]) // own.span_in(wanted.shape[1])
    for number in trange(_ROUNDS, desc="edit", unit="round", delay=BAR_SECONDS, dynamic_ncols=True):
        factors = np.linspace(0, 3, _CANDIDATES) if number == 0 else rng.uniform(0, 2, _CANDIDATES)
        steps = factors[:, None, None, None] * (missing @ vectors)  # [candidate, window, time, dim]
        if number:
            steps[1::2] += rng.normal(0, size, steps[1::2].shape)
        shifts = ((best_shift + steps) * moved[..., None]).astype(np.float32)
        flat = shifts.reshape(-1, *shifts.shape[2:])
        tokens = decode(vae, move(vae, copies, level, flat), copies.windows.metre, all_known)
        found = measure(vae, tokens, copies.windows.metre, own.span)[..., columns].reshape(_CANDIDATES, *asked.shape)
        errors = np.abs(found - before - asked) / spread
        errors = np.where(np.isfinite(before), np.where(np.isfinite(errors), errors, 1e6), 0).sum(-1)
        # Of two that are equally near, the one that moves less.
        errors += 1e-4 * np.linalg.norm(shifts, axis=-1)
        winner = errors.argmin(0)
        better = (np.take_along_axis(errors, winner[None], 0)[0] < best_error) & moved
        rows, times = np.nonzero(better)
        chosen = winner[rows, times]
        best_error[rows, times], best_shift[rows, times] = errors[chosen, rows, times], shifts[chosen, rows, times]
        missing[rows, times] = np.nan_to_num((asked + before)[rows, times] - found[chosen, rows, times])
        tokens = tokens.reshape(_CANDIDATES, *best.shape)
        for row, time, candidate in zip(rows, times, chosen, strict=True):
            best[row, to_latent == time] = tokens[candidate, row, to_latent == time]
        if (best_error[moved] < _CLOSE).all():
            break
    return best


def _values(vae: TrainedVAE, score: Score, windows: np.ndarray, level: str) -> np.ndarray:
    """Attributes of the spans of some windows of a piece: float64[window, time, attribute]."""
    batch = _rows(vae.windows(score), windows)
    return measure(vae, batch.tokens, batch.metre, vae.config.levels[level].span)


def _rows(batch: Batch, rows: np.ndarray) -> Batch:
    return Batch(*(leaf[rows] for leaf in batch[:4]))
