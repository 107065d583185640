"""The melodies of dMelodies: from factors to melodies and back, vectorised.

A melody is two measures of 4/4 on a grid of eighths. It is an arpeggio of the chords I, IV, V, I, three notes each, up
or down, so each measure has six notes and two rests. The number of a melody counts its factors, the last one fastest.

Pati, Gururani and Lerch 2020, dMelodies: A Music Dataset for Disentanglement Learning.
"""

import itertools
import math

import numpy as np

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
NUM_MELODIES = math.prod(FACTORS.values())  # 1,354,752
SCALES = ("major", "minor", "blues")
NUM_EIGHTHS = 16  # of a melody
REST = -1
# Semitones of the degrees 0-8 of each scale, and the degrees in the chords I, IV, V, I.
_SEMITONES = np.array([[0, 2, 4, 5, 7, 9, 11, 12, 14], [0, 2, 3, 5, 7, 8, 11, 12, 14], [0, 2, 3, 5, 6, 9, 10, 12, 14]])
_CHORDS = np.array([[0, 2, 4], [3, 5, 7], [4, 6, 8], [0, 2, 4]])
_ONSETS = np.array(list(itertools.combinations(range(8), 6)))  # [rhythm, 6]
_RHYTHMS = (1 << _ONSETS).sum(1)  # as bit sets
_SHAPE = tuple(FACTORS.values())


def to_factors(index: np.ndarray | int) -> np.ndarray:
    """Numbers of melodies int[...] to factors int32[..., 9]; raises ValueError if not in 0..NUM_MELODIES - 1."""
    return np.stack(np.unravel_index(np.asarray(index, np.int64), _SHAPE), axis=-1).astype(np.int32)


def to_index(factors: np.ndarray) -> np.ndarray:
    """Factors int[..., 9] to numbers of melodies int64[...]; raises ValueError if a factor is out of range."""
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(np.asarray(factors), -1, 0)), _SHAPE), np.int64)


def to_melody(factors: np.ndarray) -> np.ndarray:
    """The melodies of factors.

    Args:
        factors: int[..., 9].

    Returns:
        int8[..., 16]: the MIDI pitch of each eighth, or `REST`.
    """
    factors = np.asarray(factors)
    root = 60 + 12 * factors[..., 1] + factors[..., 0]
    chords = root[..., None, None] + _SEMITONES[factors[..., 2]][..., _CHORDS]
    down = factors[..., 5:, None] == 1
    pitches = np.where(down, chords[..., ::-1], chords).reshape(*factors.shape[:-1], 12)
    onsets = np.concatenate([_ONSETS[factors[..., 3]], 8 + _ONSETS[factors[..., 4]]], axis=-1)
    melody = np.full((*factors.shape[:-1], NUM_EIGHTHS), REST, np.int8)
    np.put_along_axis(melody, onsets, pitches.astype(np.int8), axis=-1)
    return melody


def from_melody(melody: np.ndarray) -> np.ndarray:
    """The factors of melodies.

    Args:
        melody: int[..., 16], from `to_melody`.

    Returns:
        int32[..., 9].

    Raises:
        ValueError: a melody that is not in the data set.
    """
    melody = np.asarray(melody)
    flat = melody.reshape(-1, NUM_EIGHTHS)
    sounds = flat != REST
    rhythms = (sounds.reshape(-1, 2, 8) << np.arange(8)).sum(-1)
    rhythm = (rhythms[..., None] == _RHYTHMS).argmax(-1)
    # For other melodies the values below are in range but meaningless; the check at the end finds them.
    order = np.argsort(~sounds, axis=1, kind="stable")[:, :12]
    chords = np.take_along_axis(flat, order, axis=1).reshape(-1, 4, 3).astype(np.int64)
    down = chords[..., 0] > chords[..., 2]
    low, third, fifth = np.sort(chords[:, 0], axis=-1).T
    scale = np.where(third - low == 4, 0, np.where(fifth - low == 7, 1, 2))
    octave, tonic = np.divmod(low - 60, 12)
    factors = np.column_stack([tonic, octave.clip(0, 2), scale, rhythm, down]).astype(np.int32)
    wrong = (to_melody(factors) != flat).any(1)
    if wrong.any():
        raise ValueError(f"eighths {flat[wrong.argmax()].tolist()}; allowed: what to_melody gives")
    return factors.reshape(*melody.shape[:-1], len(FACTORS))
