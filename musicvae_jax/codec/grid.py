"""Positions in measures: the grid that every codec's time stands on."""

import functools
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.check import check_metre
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import TICKS_PER_QUARTER, Metre
from musicvae_jax.config import ConfigError


class Layout(NamedTuple):
    """Where the grid positions of measures lie, in ticks from the start of their row's first measure."""

    starts: np.ndarray  # int64[..., measure]
    ends: np.ndarray  # int64[...], where the last measure of a row ends
    ticks: np.ndarray  # int64[..., measure, position]; without meaning where masked
    mask: np.ndarray  # bool[..., measure, position], the positions that the metre has


@functools.cache
def parse_subdivisions(subdivisions: tuple[str, ...]) -> tuple[int, ...]:
    """Fractions of a quarter, such as ``("0", "1/3", "2/3")``, to ticks.

    Raises:
        ConfigError: unless they are sorted, distinct, in [0, 1), the first 0, and each a whole number of ticks.
    """
    try:
        fractions = [Fraction(text) for text in subdivisions]
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"subdivisions {subdivisions}: {error}; allowed: fractions such as '1/3'") from None
    if not fractions or fractions[0] != 0 or fractions[-1] >= 1 or sorted(set(fractions)) != fractions:
        raise ConfigError(f"subdivisions {subdivisions}; allowed: sorted, distinct fractions in [0, 1), the first 0")
    ticks = [fraction * TICKS_PER_QUARTER for fraction in fractions]
    if any(tick.denominator != 1 for tick in ticks):
        raise ConfigError(f"subdivisions {subdivisions}; allowed: whole fractions of {TICKS_PER_QUARTER} ticks")
    return tuple(int(tick) for tick in ticks)


@functools.cache
def measure_grid(offsets: tuple[int, ...], length: int) -> np.ndarray:
    """Ticks of the grid positions of a measure that is `length` ticks long; offsets repeat in every quarter."""
    quarters = np.arange(0, length, TICKS_PER_QUARTER)
    ticks = (quarters[:, None] + np.array(offsets)).reshape(-1)
    return ticks[ticks < length]


def num_positions(
    offsets: tuple[int, ...],
    metre: Metre,
    limit: int,
    *,
    source: str = "score",
    place: str = "header",
    unit: str = "slots",
) -> int:
    """Number of grid positions of a measure; raises `MusicError` "metre" when that exceeds `limit`."""
    needed = len(measure_grid(offsets, check_metre(metre, source=source, place=place).ticks))
    if needed > limit:
        raise MusicError(source, place, "metre", f"{metre} needs {needed} {unit}; allowed: up to {limit}")
    return needed


def lay_out(
    offsets: tuple[int, ...], metre: np.ndarray, limit: int, *, source: str = "score", unit: str = "slots"
) -> Layout:
    """The grid of measures that follow each other.

    Args:
        offsets: grid positions inside a quarter, in ticks.
        metre: int[..., measure, 2]; a padding measure (0, 0) takes no time and has no positions.
        limit: most positions of a measure.
        source: where the metres come from, for messages.
        unit: what to call positions there.

    Raises:
        MusicError: "metre", a metre that is none or needs more positions.
    """
    metre = np.asarray(metre)
    shape = metre.shape[:-1]
    inside = np.zeros((*shape, limit), np.int64)
    mask = np.zeros((*shape, limit), bool)
    lengths = np.zeros(shape, np.int64)
    keys = metre[..., 0].astype(np.int64) * 1024 + metre[..., 1]
    for key in dict.fromkeys(keys.ravel().tolist()):  # in order of appearance: the first bad measure is named
        if not key:
            continue
        here = keys == key
        first = tuple(int(index[0]) for index in np.nonzero(here))
        kind, place = Metre(*metre[first].tolist()), f"measure {first[-1] + 1}"
        needed = num_positions(offsets, kind, limit, source=source, place=place, unit=unit)
        inside[here, :needed] = measure_grid(offsets, kind.ticks)
        mask[here, :needed] = True
        lengths[here] = kind.ticks
    starts = np.cumsum(lengths, -1) - lengths
    return Layout(starts, lengths.sum(-1), inside + starts[..., None], mask)


def nearest(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the ascending value nearest to each wanted one, the lower of two equally near."""
    if len(values) == 1:
        return np.zeros_like(wanted)
    after = np.searchsorted(values, wanted).clip(1, len(values) - 1)
    return np.where(values[after] - wanted < wanted - values[after - 1], after, after - 1)


def number_voices(tracks: np.ndarray, num_voices: int) -> np.ndarray:
    """The voice of every note: int64[note] of int[note] track numbers, at least 0.

    Voice n is track n. Where a track lies beyond the last voice, the tracks with notes are numbered in their order
    instead; numbers of `num_voices` and up then say that there are too many.
    """
    present, ranks = np.unique(tracks, return_inverse=True)
    return (ranks.reshape(-1) if len(present) and present[-1] >= num_voices else tracks).astype(np.int64)
