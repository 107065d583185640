"""The tree of beats of a metre: how deep in it a position lies."""

import functools
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.score import Metre

SIXTEENTH = 120
_NEVER = 1 << 40  # a pulse longer than any measure


class Pulses(NamedTuple):
    """The levels of the trees of measures."""

    ticks: np.ndarray  # int64[measure, level], coarse to fine: the first is the whole measure; _NEVER beyond the last
    levels: np.ndarray  # int64[measure], how many there are; 0 for padding
    full: np.ndarray  # int64[measure], the sum of the depths of all positions of the finest level


@functools.cache
def pulses_of(metre: Metre) -> tuple[int, ...]:
    """The levels of one metre's tree, in ticks, coarse to fine.

    The measure is divided into its beats, by the prime factors of their number, smallest first; the beats of a compound
    metre (6/8, 9/8, 12/8, 6/4 ...) into three; what is left into halves, down to a sixteenth, and below the unit of the
    metre at least once. 4/4: 1920 960 480 240 120; 6/8: 1440 720 240 120; 5/8: 1200 240 120.
    """
    beats, unit = metre.numerator, metre.ticks // metre.numerator
    compound = beats % 3 == 0 and beats > 3
    factors = [*_prime_factors(beats // 3 if compound else beats), *([3] if compound else [])]
    levels = [metre.ticks]
    for factor in factors:
        levels.append(levels[-1] // factor)
    while levels[-1] > SIXTEENTH or levels[-1] == unit:
        levels.append(levels[-1] // 2)
    return tuple(levels)


def pulses(metre: np.ndarray) -> Pulses:
    """The levels of measures int[measure, 2]; (0, 0), padding, has none."""
    keys, kind = np.unique(metre[:, 0] * 1024 + metre[:, 1], return_inverse=True)
    kinds = [pulses_of(Metre(int(key) // 1024, int(key) % 1024)) if key else () for key in keys]
    levels = np.array([len(found) for found in kinds], np.int64)
    ticks = np.full((len(kinds), max([1, *levels])), _NEVER, np.int64)
    full = np.zeros(len(kinds), np.int64)
    for number, found in enumerate(kinds):
        ticks[number, : len(found)] = found
        if found:
            positions = np.arange(0, found[0], found[-1])
            full[number] = depths(positions, np.tile(ticks[number], (len(positions), 1)), len(found)).sum()
    return Pulses(ticks[kind], levels[kind], full[kind])


def depths(position: np.ndarray, ticks: np.ndarray, levels: np.ndarray | int) -> np.ndarray:
    """The coarsest level on whose pulse a position lies: 0 is the start of the measure.

    Args:
        position: int64[position], ticks from the start of its measure.
        ticks: int64[position, level], the levels of its measure's tree.
        levels: int64[position], how many there are: also the depth of what lies between all pulses.
    """
    on = position[:, None] % ticks == 0
    return np.where(on.any(1), on.argmax(1), levels)


def _prime_factors(number: int) -> list[int]:
    factors, factor = [], 2
    while number > 1:
        while number % factor == 0:
            factors.append(factor)
            number //= factor
        factor += 1
    return factors
