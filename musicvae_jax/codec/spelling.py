"""Names for MIDI pitches."""

_STEPS = "FCGDAEB"  # in fifths
NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def spell(pitch: int, fifths: int) -> tuple[str, int, int]:
    """Step, alteration in semitones, and octave (4 from middle C on) of a MIDI pitch in a key.

    Of the names on the line of fifths the one from three below to eight above the key's: in C major from E flat to
    G sharp.
    """
    lowest = fifths - 3
    place = lowest + (7 * pitch - lowest) % 12  # of the name on the line of fifths, C at 0
    step, alter = _STEPS[(place + 1) % 7], (place + 1) // 7
    return step, alter, (pitch - alter - NATURAL[step]) // 12 - 1
