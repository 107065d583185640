"""From a track of sounding chords to named ones."""

import numpy as np

from musicvae_jax.codec.score import DURATION, ONSET, PITCH

# Semitones above the root. First those that name the bass their root wherever they fit; the shells at the end, which
# lack notes, say so of the bass alone.
QUALITIES = (
    (0, 4, 7),
    (0, 3, 7),
    (0, 4, 7, 10),
    (0, 3, 7, 10),
    (0, 4, 7, 11),
    (0, 3, 7, 11),
    (0, 3, 6),
    (0, 3, 6, 10),
    (0, 3, 6, 9),
    (0, 4, 8),
    (0, 4, 8, 10),
    (0, 4, 8, 11),
    (0, 4, 7, 9),
    (0, 3, 7, 9),
    (0, 5, 7),
    (0, 2, 7),
    (0, 5, 7, 10),
    (0, 2, 7, 10),
)
SHELLS = ((0,), (0, 3), (0, 4), (0, 7), (0, 3, 10), (0, 4, 10), (0, 4, 11), (0, 7, 10), (0, 7, 11))


def chord_rows(notes: np.ndarray) -> np.ndarray:
    """`Score.chords` of a track whose every onset is a chord.

    Args:
        notes: int[note, 5], sorted by (onset, pitch).

    Returns:
        int32[chord, 4]; a chord lasts as long as its longest note, but no longer than to the next.
    """
    onsets, chord = np.unique(notes[:, ONSET], return_inverse=True)
    rows = np.zeros((len(onsets), 4), np.int64)
    rows[:, 0] = onsets
    np.maximum.at(rows[:, 1], chord, notes[:, DURATION])
    rows[:, 1] = np.minimum(rows[:, 1], np.diff(onsets, append=np.iinfo(np.int32).max))
    np.bitwise_or.at(rows[:, 3], chord, 1 << (notes[:, PITCH].astype(np.int64) % 12))
    bass = np.full(len(onsets), 127, np.int64)
    np.minimum.at(bass, chord, notes[:, PITCH])
    rows[:, 2] = [find_root(bits, low % 12) for bits, low in zip(rows[:, 3].tolist(), bass.tolist(), strict=True)]
    return rows.astype(np.int32)


def find_root(bits: int, bass: int) -> int:
    """The root of a chord, 0-11, or -1 where it forms none of `QUALITIES`.

    The bass is the root where the chord is one on it (so C E G A is a sixth on C, not a seventh on A); else the note is
    on which it is the earliest of the list.

    Args:
        bits: pitch classes as a bit set, bit 0 is C.
        bass: the lowest pitch class.
    """
    classes = [number for number in range(12) if bits >> number & 1]
    on_bass = _above(classes, bass)
    if on_bass in QUALITIES or on_bass in SHELLS:
        return bass
    found = [(QUALITIES.index(above), root) for root in classes if (above := _above(classes, root)) in QUALITIES]
    return min(found)[1] if found else -1


def _above(classes: list[int], root: int) -> tuple[int, ...]:
    return tuple(sorted((number - root) % 12 for number in classes))
