"""Names of pitches and chords in written music."""

from collections.abc import Iterable

FIFTHS = "FCGDAEB"  # letters in fifths; a key signature adds sharps in this order and flats in reverse
NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}  # semitones above C
MODES = {  # how many fifths a mode's signature lies below that of major on the same tonic
    "major": 0, "minor": 3, "mixolydian": 1, "dorian": 2, "phrygian": 4, "lydian": -1, "locrian": 5,
}  # fmt: skip

# MusicXML's chord kinds, in semitones above the root.
CHORDS: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7), "minor": (0, 3, 7), "augmented": (0, 4, 8), "diminished": (0, 3, 6),
    "dominant": (0, 4, 7, 10), "major-seventh": (0, 4, 7, 11), "minor-seventh": (0, 3, 7, 10),
    "diminished-seventh": (0, 3, 6, 9), "augmented-seventh": (0, 4, 8, 10), "half-diminished": (0, 3, 6, 10),
    "major-minor": (0, 3, 7, 11), "major-sixth": (0, 4, 7, 9), "minor-sixth": (0, 3, 7, 9),
    "dominant-ninth": (0, 4, 7, 10, 2), "major-ninth": (0, 4, 7, 11, 2), "minor-ninth": (0, 3, 7, 10, 2),
    "dominant-11th": (0, 4, 7, 10, 2, 5), "major-11th": (0, 4, 7, 11, 2, 5), "minor-11th": (0, 3, 7, 10, 2, 5),
    "dominant-13th": (0, 4, 7, 10, 2, 5, 9), "major-13th": (0, 4, 7, 11, 2, 5, 9), "minor-13th": (0, 3, 7, 10, 2, 5, 9),
    "suspended-second": (0, 2, 7), "suspended-fourth": (0, 5, 7), "pedal": (0,), "power": (0, 7),
}  # fmt: skip
# Degree -> semitones above the root at which a chord may have it; the first is that of a dominant chord.
_DEGREES = {
    1: (0,), 2: (2, 1, 3), 3: (4, 3), 4: (5, 6), 5: (7, 6, 8), 6: (9, 8),
    7: (10, 11, 9), 9: (2, 1, 3), 11: (5, 6), 13: (9, 8),
}  # fmt: skip


def spell(pitch: int, fifths: int) -> tuple[str, int, int]:
    """Step, alteration in semitones and octave (4 from middle C up) of a MIDI pitch in a key.

    The name lies from 3 fifths below to 8 above the key's own on the line of fifths: in C major from E flat to G sharp.
    """
    lowest = fifths - 3
    name = lowest + (7 * pitch - lowest) % 12  # in fifths above C
    step, alter = FIFTHS[(name + 1) % 7], (name + 1) // 7
    return step, alter, (pitch - alter - NATURAL[step]) // 12 - 1


def apply_degree(chord: list[int], action: str, degree: int, alter: int) -> None:
    """Changes a chord in place as MusicXML's ``<degree>`` says.

    Args:
        chord: semitones above the root.
        action: ``"add"`` (the degree of a dominant chord, altered), ``"alter"`` or ``"subtract"`` (the chord's own).
        degree: 1-13.
        alter: semitones.
    """
    usual = _DEGREES.get(degree, ())
    present = next((step for step in usual if step in chord), None)
    if action in ("alter", "subtract") and present is not None:
        chord.remove(present)
    if action == "add" and usual:
        chord.append(usual[0] + alter)
    elif action == "alter" and usual:
        chord.append((usual[0] if present is None else present) + alter)


def bits_of(pitches: Iterable[int]) -> int:
    """The pitch classes of pitches as a bit set; bit 0 is C."""
    return sum(1 << pitch_class for pitch_class in {pitch % 12 for pitch in pitches})


def chord_name(root: int, bits: int) -> str | None:
    """The kind in `CHORDS` of a bit set of pitch classes above a root 0-11; None if it has no name."""
    return _CHORD_NAMES.get(bits_of(pitch_class - root for pitch_class in range(12) if bits >> pitch_class & 1))


_CHORD_NAMES = {bits_of(steps): name for name, steps in reversed(CHORDS.items())}


def tonic(fifths: int | None, mode: str) -> int | None:
    """The pitch class on which a key is built, 0 for C; None if the signature or the mode is unknown."""
    return None if fifths is None or mode not in MODES else 7 * (fifths + MODES[mode]) % 12


def signature(pitch_class: int, mode: str) -> int:
    """The key signature of a mode on a tonic, in fifths: of several the one with the fewest accidentals."""
    return min((fifths for fifths in range(-7, 8) if tonic(fifths, mode) == pitch_class), key=abs)
