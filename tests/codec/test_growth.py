"""Reading time grows with the size of a file, whatever fills it: twice as much takes at most 2.5 times as long."""

import contextlib
import math
import struct
import time

import pytest

from musicvae_jax.codec import MusicError
from musicvae_jax.codec.files import read_whole


def midi_of_metres(number):
    """A time signature every sixteenth, and one note."""
    events = b"".join(b"\x18\xff\x58\x04" + bytes([1 + count % 7, 4, 24, 8]) for count in range(number))
    track = b"\x00\x90\x3c\x50\x60\x80\x3c\x00" + events + b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(track)) + track


def abc_of_ties(number):
    """A chord of notes with different names, which differ in how their octave is written, each with a tie."""
    marks = [f"{count:013b}".replace("0", ",'").replace("1", "',") for count in range(number)]
    chord = "".join(f"C{octave}-" for octave in marks)
    return f"X:1\nM:4/4\nL:1/8\nK:C\n[{chord}] [CE]|\n".encode()


def xml(body):
    head = '<part-list><score-part id="P1"><part-name>a</part-name></score-part></part-list>'
    return f"<score-partwise>{head}<part id='P1'>{body}</part></score-partwise>".encode()


def note(duration, ties="", voice=1):
    pitch = "<pitch><step>C</step><octave>4</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration>{ties}<voice>{voice}</voice></note>"


def xml_of_divisions(number):
    """Divisions change at every note, and share no factor."""
    primes = [n for n in range(1009, 40_000) if all(n % k for k in range(2, math.isqrt(n) + 1))]
    parts = [
        f"<attributes><divisions>{primes[count % len(primes)]}</divisions></attributes>{note(1)}"
        for count in range(number)
    ]
    return xml(f"<measure number='1'>{''.join(parts)}</measure>")


def xml_of_ties(number):
    """Many voices at once, each with a tie that goes on in another voice."""
    back = "<backup><duration>4</duration></backup>"
    first = back.join(note(4, '<tie type="start"/>', voice) for voice in range(number))
    second = back.join(note(4, '<tie type="stop"/>', number + voice) for voice in range(number))
    return xml(
        "<measure number='1'><attributes><divisions>1</divisions></attributes>"
        f"{first}</measure><measure number='2'>{second}</measure>"
    )


CASES = {
    "metres": ("a.mid", midi_of_metres, 60_000),
    "ties of ABC": ("a.abc", abc_of_ties, 4_000),
    "divisions": ("a.musicxml", xml_of_divisions, 3_000),
    "ties of MusicXML": ("a.musicxml", xml_of_ties, 3_000),
}


@pytest.mark.parametrize(("name", "make", "number"), CASES.values(), ids=CASES)
def test_twice_as_much_takes_at_most_two_and_a_half_times_as_long(name, make, number, tmp_path):
    path = tmp_path / name

    def seconds(data):
        path.write_bytes(data)
        start = time.process_time()
        with contextlib.suppress(MusicError):  # "length" of MIDI: it has more measures than a piece may have
            assert read_whole(path)
        return time.process_time() - start

    # In turns, so that a busy moment of the machine meets both, and the quickest of each.
    files = [make(size) for size in (number, 2 * number)]
    once, twice = map(min, zip(*([seconds(file) for file in files] for _ in range(7)), strict=True))
    assert twice <= 2.5 * once + 0.02, (once, twice)
    assert once < 2
