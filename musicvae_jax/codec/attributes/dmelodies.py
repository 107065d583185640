"""The nine factors of dMelodies (Pati et al. 2020), read from two measures of any music.

A melody of dMelodies is two measures of 4/4 on a grid of eighths: an arpeggio of the chords I, IV, V, I, three notes
each, up or down, so each measure has six notes and two rests.
"""

import itertools

import numpy as np

from musicvae_jax.codec.attributes.cells import Cells
from musicvae_jax.codec.score import TICKS_PER_QUARTER

# Name -> number of values.
FACTORS = {
    "tonic": 12,  # C, C#, ..., B
    "octave": 3,  # the root is in octave 4, 5 or 6; C4 is MIDI 60
    "scale": 3,  # major, minor, blues
    "rhythm_1": 28,  # which six eighths of measure 1 have an onset, in lexicographic order
    "rhythm_2": 28,  # of measure 2
    "arpeggio_1": 2,  # chord 1 goes up or down
    "arpeggio_2": 2,
    "arpeggio_3": 2,
    "arpeggio_4": 2,
}
NUM_EIGHTHS = 16  # of a melody
EIGHTH = TICKS_PER_QUARTER // 2
REST = -1
_LOWEST = 60  # the lowest root
_ONSETS = np.array(list(itertools.combinations(range(8), 6)))  # [rhythm, 6]
_RHYTHMS = (1 << _ONSETS).sum(1)  # as bit sets
# Semitones of the degrees 0-8 of each scale, and the degrees in the chords I, IV, V, I.
_SEMITONES = np.array([[0, 2, 4, 5, 7, 9, 11, 12, 14], [0, 2, 3, 5, 7, 8, 11, 12, 14], [0, 2, 3, 5, 6, 9, 10, 12, 14]])
_CHORDS = np.array([[0, 2, 4], [3, 5, 7], [4, 6, 8], [0, 2, 4]])
_THIRD_AND_FIFTH = _SEMITONES[:, [2, 4]]  # of chord 1, from its root


def to_melody(factors: np.ndarray) -> np.ndarray:
    """Factors int[..., 9] to melodies int8[..., 16]: the MIDI pitch of each eighth, or `REST`."""
    factors = np.asarray(factors)
    root = _LOWEST + 12 * factors[..., 1] + factors[..., 0]
    chords = root[..., None, None] + _SEMITONES[factors[..., 2]][..., _CHORDS]
    down = factors[..., 5:, None] == 1
    pitches = np.where(down, chords[..., ::-1], chords).reshape(*factors.shape[:-1], 12)
    onsets = np.concatenate([_ONSETS[factors[..., 3]], 8 + _ONSETS[factors[..., 4]]], axis=-1)
    melody = np.full((*factors.shape[:-1], NUM_EIGHTHS), REST, np.int8)
    np.put_along_axis(melody, onsets, pitches.astype(np.int8), axis=-1)
    return melody


def read_factors(melody: np.ndarray) -> np.ndarray:
    """What melodies say of each factor: float64[..., 9], NaN where they have no value of it.

    A rhythm needs six onsets in its measure, and so do the chords of the measure. Chord 1 gives tonic, octave and
    scale; the direction of a chord is that from its first to its last note.

    Args:
        melody: int[..., 16], the MIDI pitch that starts at each eighth, or `REST`.
    """
    melody = np.asarray(melody)
    measures = melody.reshape(-1, 2, 8).astype(np.int64)
    sounds = measures != REST
    full = sounds.sum(-1) == 6
    same = (sounds << np.arange(8)).sum(-1)[..., None] == _RHYTHMS
    rhythm = np.where(full, same.argmax(-1), np.nan)
    order = np.argsort(~sounds, axis=-1, kind="stable")[..., :6]
    chords = np.take_along_axis(measures, order, -1).reshape(-1, 4, 3)
    down = np.where(np.repeat(full, 2, -1), chords[..., 0] > chords[..., 2], np.nan)
    low, third, fifth = np.sort(chords[:, 0], axis=-1).T
    octave, tonic = np.divmod(low - _LOWEST, 12)
    has_root = full[:, 0] & (octave >= 0) & (octave < FACTORS["octave"])
    scales = (np.stack([third - low, fifth - low], -1)[:, None] == _THIRD_AND_FIFTH).all(-1)
    scale = np.where(full[:, 0] & scales.any(-1), scales.argmax(-1), np.nan)
    root = np.where(has_root, np.stack([tonic, octave]), np.nan)
    return np.column_stack([*root, scale, rhythm, down]).reshape(*melody.shape[:-1], len(FACTORS))


def are_melodies(melody: np.ndarray) -> np.ndarray:
    """Which of int[..., 16], pitches or `REST`, are melodies of dMelodies: bool[...]."""
    factors = read_factors(melody)
    known = np.isfinite(factors).all(-1)
    return known & (to_melody(np.nan_to_num(factors).astype(np.int32)) == melody).all(-1)


def dmelodies(pairs: Cells) -> dict[str, np.ndarray]:
    """`read_factors` of what starts on eighths, the lowest note of each: float64[cell] each, NaN outside 4/4.

    Args:
        pairs: cells of two measures.
    """
    common = pairs.ticks == NUM_EIGHTHS * EIGHTH
    np.logical_and.at(common, pairs.measure_cell, (pairs.metre == 4).all(1) | (pairs.measure_ticks == 0))
    values = np.where(common[:, None], read_factors(starts(pairs)), np.nan)
    return {f"dmelodies_{name}": column for name, column in zip(FACTORS, values.T, strict=True)}


def starts(pairs: Cells) -> np.ndarray:
    """The lowest pitch that starts at each eighth, or `REST`: int64[cell, 16].

    Args:
        pairs: cells of two measures.
    """
    melody = np.full((pairs.num, NUM_EIGHTHS), REST)
    place, cell = pairs.tick[pairs.first] // EIGHTH, pairs.onset_cell
    on_grid = (pairs.tick[pairs.first] % EIGHTH == 0) & (place < NUM_EIGHTHS)
    melody[cell[on_grid], place[on_grid]] = pairs.notes.pitch[pairs.first][on_grid]
    return melody
