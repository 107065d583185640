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


# Semitones that a degree may stand above the root, as in a dominant chord first.
_DEGREES = {
    1: (0,), 2: (2, 1, 3), 3: (4, 3), 4: (5, 6), 5: (7, 6, 8), 6: (9, 8),
    7: (10, 11, 9), 9: (2, 1, 3), 11: (5, 6), 13: (9, 8),
}  # fmt: skip


def with_degree(steps: list[int], action: str, value: int, alter: int) -> None:
    """Adds, alters or subtracts a degree of a chord in place, as MusicXML's ``<degree>`` asks for.

    Args:
        steps: semitones above the root.
        action: ``"add"``: the degree of a dominant chord, altered; ``"alter"``, ``"subtract"``: the one in the chord.
        value: 1-13.
        alter: semitones.
    """
    usual = _DEGREES.get(value, ())
    present = next((step for step in usual if step in steps), None)
    if action in ("alter", "subtract") and present is not None:
        steps.remove(present)
    if action == "add" and usual:
        steps.append(usual[0] + alter)
    elif action == "alter" and usual:
        steps.append((usual[0] if present is None else present) + alter)


def bits_of(pitch_classes: Iterable[int]) -> int:
    """A bit set of pitch classes, bit 0 for C, of numbers that may lie beyond an octave."""
    return sum(1 << pitch_class for pitch_class in {pitch % 12 for pitch in pitch_classes})


def kind_of(root: int, bits: int) -> str | None:
    """The kind of a chord with a root 0-11 and a bit set of pitch classes, or None where it has no name."""
    return _NAMES.get(bits_of(pitch_class - root for pitch_class in range(12) if bits >> pitch_class & 1))


_NAMES = {bits_of(steps): name for name, steps in reversed(KINDS.items())}
