"""General MIDI programs by the name of a part, for files that say no more."""

import re

# The first word found in a name counts, so that "bass clarinet" is a clarinet and "Bass" a voice.
_PROGRAMS = {
    "piccolo": 72, "flute": 73, "flauto": 73, "recorder": 74, "oboe": 68, "english horn": 69, "clarinet": 71,
    "bassoon": 70, "fagott": 70, "horn": 60, "corno": 60, "trumpet": 56, "tromba": 56, "trombone": 57, "tuba": 58,
    "saxophone": 65, "timpani": 47, "harp": 46, "harpsichord": 6, "cembalo": 6, "celesta": 8, "organ": 19,
    "guitar": 24, "lute": 24, "violino": 40, "violin": 40, "violoncello": 42, "cello": 42, "viola": 41,
    "contrabass": 43, "double bass": 43, "continuo": 6, "piano": 0, "soprano": 52, "alto": 52, "tenor": 52,
    "bass": 52, "voice": 52, "choir": 52, "vocal": 52,
}  # fmt: skip


def program_of(name: str) -> int:
    """The program of an instrument or voice, 0 (a piano) for a name that says nothing."""
    name = name.lower()
    return next((program for word, program in _PROGRAMS.items() if re.search(rf"\b{word}s?\b", name)), 0)
