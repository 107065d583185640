"""The grid: positions in measures at which codecs place onsets and ends."""

import functools
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import TICKS_PER_QUARTER, Metre, check_metre
from musicvae_jax.config import ConfigError


class Layout(NamedTuple):
    """The grid positions of rows of measures, in ticks from the start of the row."""

    starts: np.ndarray  # int64[..., measure]
    ends: np.ndarray  # int64[...], the end of the last measure of a row
    ticks: np.ndarray  # int64[..., measure, position]; meaningless where masked
    mask: np.ndarray  # bool[..., measure, position], the positions that the metre has


@functools.cache
def parse_subdivisions(subdivisions: tuple[str, ...]) -> tuple[int, ...]:
    """Fractions of a quarter, such as ``("0", "1/3", "2/3")``, in ticks.

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


def lay_out(
    offsets: tuple[int, ...], metre: np.ndarray, limit: int, *, source: str = "score", unit: str = "slots"
) -> Layout:
    """The grid of successive measures.

    Args:
        offsets: grid positions inside a quarter, in ticks.
        metre: int[..., measure, 2]; a padding measure (0, 0) has no length and no positions.
        limit: most positions of a measure.
        source: of the metres, for messages.
        unit: name of a position, for messages.

    Raises:
        MusicError: "metre" for a bad metre, or one with more positions than `limit`.
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
        ticks = _positions(offsets, check_metre(kind, source=source, place=place).ticks)
        if len(ticks) > limit:
            raise MusicError(
                source, place, "metre", f"{kind} needs {len(ticks)} {unit}; allowed: up to {limit} (codec.{unit})"
            )
        inside[here, : len(ticks)] = ticks
        mask[here, : len(ticks)] = True
        lengths[here] = kind.ticks
    starts = np.cumsum(lengths, -1) - lengths
    return Layout(starts, lengths.sum(-1), inside + starts[..., None], mask)


@functools.cache
def _positions(offsets: tuple[int, ...], length: int) -> np.ndarray:
    """Ticks of the grid positions of a measure of `length` ticks; offsets repeat in every quarter."""
    ticks = (np.arange(0, length, TICKS_PER_QUARTER)[:, None] + np.array(offsets)).reshape(-1)
    return ticks[ticks < length]


def nearest(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the nearest of ascending values for each wanted one; of two equally near the lower."""
    if len(values) == 1:
        return np.zeros_like(wanted)
    after = np.searchsorted(values, wanted).clip(1, len(values) - 1)
    return np.where(values[after] - wanted < wanted - values[after - 1], after, after - 1)


def number_voices(tracks: np.ndarray, num_voices: int) -> np.ndarray:
    """The voice of each note: int64[note] of track numbers int[note].

    Voice n is track n. If a track number is `num_voices` or more, the tracks that have notes are numbered in order
    instead. A result of `num_voices` or more means that there are too many tracks.
    """
    present, ranks = np.unique(tracks, return_inverse=True)
    return (ranks.reshape(-1) if len(present) and present[-1] >= num_voices else tracks).astype(np.int64)
