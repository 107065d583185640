"""The kinds of chord that MusicXML names, by the semitones above the root."""

from collections.abc import Iterable

KINDS: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "augmented": (0, 4, 8),
    "diminished": (0, 3, 6),
    "dominant": (0, 4, 7, 10),
    "major-seventh": (0, 4, 7, 11),
    "minor-seventh": (0, 3, 7, 10),
    "diminished-seventh": (0, 3, 6, 9),
    "augmented-seventh": (0, 4, 8, 10),
    "half-diminished": (0, 3, 6, 10),
    "major-minor": (0, 3, 7, 11),
    "major-sixth": (0, 4, 7, 9),
    "minor-sixth": (0, 3, 7, 9),
    "dominant-ninth": (0, 4, 7, 10, 2),
    "major-ninth": (0, 4, 7, 11, 2),
    "minor-ninth": (0, 3, 7, 10, 2),
    "dominant-11th": (0, 4, 7, 10, 2, 5),
    "major-11th": (0, 4, 7, 11, 2, 5),
    "minor-11th": (0, 3, 7, 10, 2, 5),
    "dominant-13th": (0, 4, 7, 10, 2, 5, 9),
    "major-13th": (0, 4, 7, 11, 2, 5, 9),
    "minor-13th": (0, 3, 7, 10, 2, 5, 9),
    "suspended-second": (0, 2, 7),
    "suspended-fourth": (0, 5, 7),
    "pedal": (0,),
    "power": (0, 7),
}


def bits_of(pitch_classes: Iterable[int]) -> int:
    """A bit set of pitch classes, bit 0 for C, of numbers that may lie beyond an octave."""
    return sum(1 << pitch_class for pitch_class in {pitch % 12 for pitch in pitch_classes})


def kind_of(root: int, bits: int) -> str | None:
    """The kind of a chord with a root 0-11 and a bit set of pitch classes, or None where it has no name."""
    return _NAMES.get(bits_of(pitch_class - root for pitch_class in range(12) if bits >> pitch_class & 1))


_NAMES = {bits_of(steps): name for name, steps in reversed(KINDS.items())}
