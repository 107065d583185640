"""Attributes of rhythm, and the trees of beats that they are measured by.

Notes that start together are one onset: pitches and voices do not matter. The last onset of a cell reaches to the end
of the cell, so that notes of other cells do not matter either.
"""

import functools
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells, entropy, mean, occurrences, ratio, total
from musicvae_jax.codec.score import Metre

_SIXTEENTH = 120  # ticks
_NEVER = 1 << 40  # ticks: longer than any measure


class Trees(NamedTuple):
    """The levels of the trees of beats of measures."""

    ticks: np.ndarray  # int64[measure, level], coarse to fine: the first is the whole measure; _NEVER beyond the last
    levels: np.ndarray  # int64[measure], number of levels; 0 for padding
    full: np.ndarray  # int64[measure], sum of the depths of all positions of the finest level


def rhythm(cells: Cells, trees: Trees) -> dict[str, np.ndarray]:
    """float64[cell] each, NaN where undefined. The depth of a position is its level in its metre's tree.

    note_density: notes (not onsets) per quarter; 0 in silence.

    syncopation: mean strength over onsets (Longuet-Higgins & Lee 1984). Strength = depth of the onset - depth of the
    strongest position skipped before the next onset, at least 0. NaN without onsets.

    rhythmic_complexity: sum of the depths of the onsets / sum of the depths of all positions of the finest level
    (usually sixteenths): 0 for downbeats only, 1 for an onset at every sixteenth. It extends AR-VAE's weights for 4/4
    to all metres.

    onset_entropy: entropy in nats of the lengths from onset to onset. NaN without onsets.
    """
    first, cell = cells.first, cells.onset_cell
    measure, gap = cells.measure[first], cells.gap
    position = cells.notes.onset[first]
    ticks = trees.ticks[measure]
    depth = _depths(position, ticks, trees.levels[measure])

    # The strongest position between this onset and the next: a downbeat, or else the coarsest pulse between them.
    following, length = position + gap, cells.measure_ticks[measure]
    within = np.minimum(following, length)[:, None]
    between = (within - 1) // ticks > position[:, None] // ticks
    skipped = np.where(between.any(1), between.argmax(1), depth)
    skipped = np.where(following > length, 0, skipped)
    strength = np.maximum(depth - skipped, 0)

    gap_cell, gap_count = occurrences(cell, gap)
    full = total(cells.measure_cell, cells.num, trees.full)
    return {
        "note_density": ratio(total(cells.cell, cells.num), cells.quarters),
        "syncopation": mean(cell, cells.num, strength),
        "rhythmic_complexity": ratio(total(cell, cells.num, depth), full),
        "onset_entropy": entropy(gap_cell, cells.num, gap_count),
    }


def make_trees(metre: np.ndarray) -> Trees:
    """The trees of measures int[measure, 2]; padding (0, 0) has no levels."""
    keys, kind = np.unique(metre[:, 0] * 1024 + metre[:, 1], return_inverse=True)
    kinds = [levels_of(Metre(int(key) // 1024, int(key) % 1024)) if key else () for key in keys]
    levels = np.array([len(found) for found in kinds], np.int64)
    ticks = np.full((len(kinds), max([1, *levels])), _NEVER, np.int64)
    full = np.zeros(len(kinds), np.int64)
    for number, found in enumerate(kinds):
        ticks[number, : len(found)] = found
        if found:
            positions = np.arange(0, found[0], found[-1])
            full[number] = _depths(positions, np.tile(ticks[number], (len(positions), 1)), len(found)).sum()
    return Trees(ticks[kind], levels[kind], full[kind])


@functools.cache
def levels_of(metre: Metre) -> tuple[int, ...]:
    """The levels of a metre's tree in ticks, coarse to fine. 4/4: 1920 960 480 240 120; 6/8: 1440 720 240 120.

    The measure is divided into its beats, by the prime factors of their number, smallest first; the beats of compound
    metres (6/8, 9/8, 12/8, 6/4 ...) into three; then into halves down to a sixteenth, and at least once below the unit
    of the metre. 5/8: 1200 240 120.
    """
    beats, unit = metre.numerator, metre.ticks // metre.numerator
    compound = beats % 3 == 0 and beats > 3
    factors = [*_prime_factors(beats // 3 if compound else beats), *([3] if compound else [])]
    levels = [metre.ticks]
    for factor in factors:
        levels.append(levels[-1] // factor)
    while levels[-1] > _SIXTEENTH or levels[-1] == unit:
        levels.append(levels[-1] // 2)
    return tuple(levels)


def _depths(position: np.ndarray, ticks: np.ndarray, levels: np.ndarray | int) -> np.ndarray:
    """The coarsest level of which each position is a multiple; 0 is the start of the measure.

    Args:
        position: int64[position], ticks from the start of its measure.
        ticks: int64[position, level], the levels of its measure's tree.
        levels: int64[position], their number, which is the depth of positions of no level.
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
