"""Damaged music files, made from good ones, and what reading each of them comes to.

``python -m tests.codec.damage FOLDER`` reads every file of a folder in turn, prints what became of each as a line of
JSON, and ends itself when one takes over `SECONDS`. It is a process of its own, so that a crash is seen and has a name.
"""

import contextlib
import importlib.util
import itertools
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec import MelodyCodec, MusicError, Part, Score, check_score, read_whole, select_track, write_abc
from musicvae_jax.codec.midi import write_midi
from musicvae_jax.codec.musicxml_write import musicxml_text
from musicvae_jax.codec.mxl import pack
from tests.codec.music import score_of

SECONDS = 5.0
MEGABYTES = 500
FOLDER = None  # the content of what is a folder and not a file


class Damaged(NamedTuple):
    """A file that ought to be refused, or read in spite of all."""

    kind: str  # of damage, e.g. "midi truncated"
    name: str
    content: bytes | None


def good_files() -> dict[str, list[bytes]]:
    """Files of each suffix: written by this package, and from the corpus of music21."""
    spec = importlib.util.find_spec("music21")
    assert spec and spec.origin
    root = Path(spec.origin).parent
    melody = [(240 * step, 240, 60 + 5 * step % 12, 60 + step, 0) for step in range(32)]
    bass = [(960 * step, 960, 40 + step, 90, 1) for step in range(8)]
    parts = (Part("Flûte", 73), Part("Bass", 43))
    metres = [(1920 * measure, 4, 4) for measure in range(4)]
    score = score_of(sorted(melody + bass, key=lambda row: (row[0], row[2])), metres, fifths=2, title="T", parts=parts)
    with tempfile.TemporaryDirectory() as folder:
        write_midi(score, Path(folder) / "a.mid")
        ours = (Path(folder) / "a.mid").read_bytes()
    midi = [root / "midi" / "testPrimitive" / f"test{number:02}.mid" for number in (1, 5, 9)]
    book = (root / "corpus" / "airdsAirs" / "book1.abc").read_text("latin-1")
    tunes = [f"X:{tune}".encode() for tune in book.split("\nX:")[1:4]]
    chorale = root / "corpus" / "bach" / "bwv66.6.mxl"
    xml = [root / "corpus" / "demos" / name for name in ("multiple-verses.xml", "two-voices.xml")]
    text = musicxml_text(score)
    return {
        "mid": [ours, *(path.read_bytes() for path in midi)],
        "abc": [write_abc(score_of(melody, metres)).encode(), *tunes],
        "musicxml": [text, *(path.read_bytes() for path in xml)],
        "mxl": [pack(text), chorale.read_bytes()],
    }


def damaged_files(seed: int = 0, most: dict[str, int] | None = None) -> Iterator[Damaged]:
    """Over 700 of them, the same for the same seed, with unique names; at most so many of a kind, by suffix."""
    good = good_files()
    for suffix, files in good.items():
        rng = random.Random(f"{seed} {suffix}")
        makers: list[tuple[str, Callable[[], Iterator[bytes | None]]]] = [
            ("truncated", lambda: _truncated(files, rng)),  # noqa: B023 (used up inside the loop)
            ("bits flipped", lambda: _flipped(files, rng)),  # noqa: B023
            ("bytes moved", lambda: _moved(files, rng)),  # noqa: B023
            ("random bytes", lambda: (rng.randbytes(size) for size in (1, 13, 300, 50_000))),  # noqa: B023
            ("empty", lambda: iter([b"", b"\0" * 100, b" \r\n\t"])),
            ("a folder", lambda: iter([FOLDER])),
            ("another kind of file", lambda: _other(good, suffix)),  # noqa: B023
        ]
        makers += [(kind, maker) for kind, maker in _SPECIAL[suffix]]
        for kind, maker in makers:
            for number, content in enumerate(itertools.islice(maker(), most[suffix] if most else None)):
                yield Damaged(f"{suffix} {kind}", f"{suffix} {kind} {number}.{suffix}".replace(" ", "_"), content)


def _truncated(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for data in files:
        for _ in range(7):
            yield data[: rng.randrange(len(data))]
        yield data[:-1]


def _flipped(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    for data in files:
        for flips in (1, 1, 2, 3, 5, 10, 30, 100):
            broken = bytearray(data)
            for _ in range(flips):
                broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(broken)


def _moved(files: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """Pieces cut out, doubled, and put elsewhere."""
    for data in files:
        start, stop, place = (rng.randrange(len(data)) for _ in range(3))
        start, stop = min(start, stop), max(start, stop)
        yield data[:start] + data[stop:]
        yield data[:stop] + data[start:]
        rest = data[:start] + data[stop:]
        yield rest[:place] + data[start:stop] + rest[place:]


def _other(good: dict[str, list[bytes]], suffix: str) -> Iterator[bytes]:
    for other, files in good.items():
        if other != suffix:
            yield files[0]
    yield "Dies sind nur Wörter.\n".encode() * 20
    yield b"\x89PNG\r\n\x1a\n" + bytes(range(256))


# MIDI


def _number(value: int) -> bytes:
    """A variable-length number."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, value & 0x7F | 0x80)
    return bytes(groups)


def _midi(*tracks: bytes, division: int = 480, count: int | None = None, kind: int = 1) -> bytes:
    header = struct.pack(">4sIHHH", b"MThd", 6, kind, len(tracks) if count is None else count, division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


_NOTE = b"\0\x90<@" + _number(480) + b"\x80<\0"
_END = b"\0\xff/\0"
_PIECE = _NOTE * 4 + _END


def _midi_lengths() -> Iterator[bytes]:
    good = _midi(_PIECE, _PIECE)
    for length in (0, 1, len(_PIECE) - 1, len(_PIECE) + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        for place in (18, good.rindex(b"MTrk") + 4):
            yield good[:place] + struct.pack(">I", length) + good[place + 4 :]
    for length in (0, 5, 7, 0xFFFFFFFF):
        yield good[:4] + struct.pack(">I", length) + good[8:]
    for count in (0, 1, 3, 0xFFFF):
        yield _midi(_PIECE, _PIECE, count=count)


def _midi_divisions() -> Iterator[bytes]:
    for division in (0, 1, 0x7FFF, 0x8000, 0xE728, 0xFFFF):
        yield _midi(_PIECE, division=division)
    for kind in (0, 2, 7, 0xFFFF):
        yield _midi(_PIECE, _PIECE, kind=kind)


def _meta(kind: int, content: bytes) -> bytes:
    return b"\0\xff" + bytes([kind]) + _number(len(content)) + content


def _midi_metas() -> Iterator[bytes]:
    tempos = [b"\0\0\0", b"\0\0\1", b"\xff\xff\xff", b"", b"\1", b"\7\xa1 \0\0"]
    metres = [
        b"\0\2\x18\x08",
        b"\4\0\x18\x08",
        b"\xff\6\x18\x08",
        b"\4\x07\x18\x08",
        b"\4\xff\x18\x08",
        b"\4",
        b"",
        b"\1" * 9,
    ]
    keys = [b"\x7f\0", b"\x80\1", b"\0\xff", b"\0", b""]
    names = [b"\xff\xfe\x80", b"\0" * 50, b"x" * 100_000, b"\xe9"]
    for kind, contents in ((0x51, tempos), (0x58, metres), (0x59, keys), (0x03, names), (0x7F, [b"", b"\0" * 9])):
        for content in contents:
            yield _midi(_meta(kind, content) + _PIECE)
    yield _midi(_meta(0x58, b"\1\6\x18\x08") + _number(2_000_000) + b"\x90<@\x10\x80<\0" + _END)
    yield _midi(b"".join(_number(7) + _meta(0x58, bytes([n % 250 + 1, 2, 24, 8]))[1:] for n in range(5000)) + _PIECE)


def _midi_notes() -> Iterator[bytes]:
    yield _midi(b"\0\x90<@\0\x80<\0" + _END)  # of no length
    yield _midi(b"\0\x90<@\0\x80<\0" + _NOTE + _END)
    yield _midi(b"\0\x80<\0" * 9 + _NOTE + _END)  # ends before it starts
    yield _midi(b"\0\x90<@" * 9 + _END)  # never ends
    yield _midi(b"\0\x90<\0" * 9 + _END)  # no velocity
    yield _midi(b"\0\x90<@" * 500 + b"\x60\x80<\0" * 500 + _END)
    yield _midi(b"\0\x90\x80@" + _END)
    yield _midi(b"\0\x90<\xff" + _END)
    yield _midi(b"\0<@" + _END)  # without a status
    yield _midi(_NOTE * 60_000 + _END)
    yield _midi(b"".join(bytes([0, 0x90, pitch, 64]) for pitch in range(128)) * 300 + _number(96) + b"\x80<\0" + _END)
    yield _midi(*[_PIECE] * 500)


def _midi_ticks() -> Iterator[bytes]:
    for delta in (0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x1FFFFF, 0xFFFFFFF):
        for repeats in (1, 20):
            long = (_number(delta) + b"\x90<@" + _number(delta) + b"\x80<\0") * repeats
            yield _midi(long + _END)
            yield _midi(long + _END, division=1 if repeats == 1 else 32767)
    yield _midi(b"\xff\xff\xff\xff\x7f\x90<@\0\x80<\0" + _END)
    yield _midi(b"\x80\x80\x80\x00\x90<@\x10\x80<\0" + _END)


def _midi_tracks() -> Iterator[bytes]:
    yield _midi()
    yield _midi(b"")
    yield _midi(_END)
    yield _midi(*[_END] * 2000)
    yield _midi(b"", _PIECE, b"")
    yield _midi(_PIECE[:-4])  # without an end
    yield _midi(_END + _PIECE)  # more after the end
    yield _midi(b"\0\xf0\x7f" + _PIECE)
    yield _midi(b"\0\xf0\x01\x40" + _PIECE)
    yield _midi(b"\0\xf7\xff\xff\xff\x7f" + _PIECE)
    yield _midi(b"\0\xf4" + _PIECE)
    yield _midi(b"\0\xff" + _PIECE)
    yield _midi(b"\0\xb0\x40\x7f" * 2000 + _PIECE)
    yield _midi(_PIECE).replace(b"MTrk", b"XTrk")
    yield b"RIFF" + struct.pack("<I", 100) + b"RMIDdata" + _midi(_PIECE)
    yield _midi(b"\0\x99$@\x60\x89$\0" + _END)  # percussion alone


# ABC


def _abc(body: str, metre: str = "4/4", unit: str = "1/8", tempo: str = "120", key: str = "C") -> bytes:
    return f"X:1\nT:t\nM:{metre}\nL:{unit}\nQ:{tempo}\nK:{key}\n{body}\n".encode()


_BODY = "CDEF GABc|cBAG FEDC|]"


def _abc_headers() -> Iterator[bytes]:
    for metre in (
        "0/4",
        "4/0",
        "4/3",
        "999/1",
        "999+999+999/1",
        "1/64",
        "-4/4",
        "4",
        "none",
        "",
        "1e9/4",
        "9" * 50 + "/4",
    ):
        yield _abc(_BODY, metre=metre)
    for unit in ("0/1", "1/0", "999/1", "1/999", "", "x", "-1/8", "1/8/8"):
        yield _abc(_BODY, unit=unit)
    for tempo in ("0", "-1", "1/0=100", "0/4=1", "9999/9999=9999", "nan", "inf", "1e400", "1/8 " * 20_000, '"' * 99):
        yield _abc(_BODY, tempo=tempo)
    for key in ("", "H", "C#######", "Gbbbb", "clef=bass", "^" * 5000, "\0", "C " + "^c" * 5000):
        yield _abc(_BODY, key=key)


def _abc_bodies() -> Iterator[bytes]:
    size = 60_000
    for nested in "{[(\"!+^_=-<>|:'/,CZz\\%~&":
        yield _abc(_BODY + nested * size)
    for pattern in (
        "[C",
        "[K:",
        "[M:",
        "[V:",
        "(9:99:9",
        "C////",
        "C9999",
        "Z9999|",
        "{C",
        "+C",
        "C>",
        "C-|",
        "[1",
        "x0",
    ):
        yield _abc(pattern * (size // 6))
    yield _abc("C0 D0 E0|" * 9)
    yield _abc("C,,,,,,,,,,,,,,,|")
    yield _abc("c''''''''''''''|")
    yield _abc("C9999/1|" * 20, unit="999/1")
    yield _abc("[L:0/1]" + _BODY)
    yield _abc("[M:1/3]" + _BODY)
    yield _abc("".join(f"V:{number}\nC|\n" for number in range(5000)))


def _abc_text() -> Iterator[bytes]:
    yield _abc(_BODY).replace(b"T:t", b"T:\xff\xfe\xc3\x28")
    yield _abc(_BODY).replace(b"\n", b"\0\n")
    yield _abc(_BODY).decode().encode("utf-16")
    yield b"\xef\xbb\xbf" + _abc(_BODY)
    yield _abc(_BODY).replace(b"\n", b"\r")
    yield b"X:1\n" * 20_000
    yield b"X:" * 150_000
    yield _abc("C" * 300_000)
    yield b"K:C\n" + _BODY.encode()
    yield _abc("")
    yield _abc("% nothing but words")
    yield _abc("\u202e\u0661\u00b2C\u00bd D\u0663|" * 9)
    yield _abc(_BODY, metre="\u0664/\u0664", unit="\u0661/\u0668")
    yield _abc(_BODY, unit="1/\u00b2", tempo="1/\u00b2=\u00b3")


# MusicXML


_ONE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration></note>"
_TIME = "<time><beats>4</beats><beat-type>4</beat-type></time>"


def _xml(notes: str = _ONE, attributes: str = _TIME, head: str = "", before: str = '<?xml version="1.0"?>') -> bytes:
    return f"""{before}<score-partwise>{head}<part-list><score-part id="P1"><part-name>V</part-name></score-part>
        </part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions>{attributes}</attributes>
        {notes}</measure></part></score-partwise>""".encode()


_WILD = ("0", "-1", "-0.5", "1e-300", "1e400", "nan", "inf", "999999999999", "9" * 5000, "", "x", "\u0663")


def _xml_numbers() -> Iterator[bytes]:
    good = _xml(_ONE + "<backup><duration>1</duration></backup>" + _ONE).decode()
    for tag in ("duration", "divisions", "beats", "beat-type", "octave"):
        before, after = good.split(f"<{tag}>", 1)
        for value in _WILD:
            yield f"{before}<{tag}>{value}</{after.split('</', 1)[1]}".encode()
    for value in _WILD:
        yield _xml(f'<direction><sound tempo="{value}"/></direction>' + _ONE)
        yield _xml(attributes=f"<key><fifths>{value}</fifths><mode>{value}</mode></key>" + _TIME)
        yield _xml(attributes=f"<staves>{value}</staves><transpose><chromatic>{value}</chromatic></transpose>" + _TIME)
        yield _xml(
            _ONE.replace("</step>", f"</step><alter>{value}</alter>").replace("<note>", f'<note dynamics="{value}">')
        )


def _xml_bombs() -> Iterator[bytes]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for entities, use in (
        (f'<!ENTITY l0 "lol">{laughs}', "&l9;"),
        (f'<!ENTITY a "{"a" * 50_000}">', "&a;" * 10_000),
        ('<!ENTITY f SYSTEM "file:///etc/passwd">', "&f;"),
        ('<!ENTITY % f SYSTEM "file:///etc/passwd"> %f;', "x"),
        ('<!ENTITY s "&s;">', "&s;"),
    ):
        doctype = f'<?xml version="1.0"?><!DOCTYPE score-partwise [{entities}]>'
        yield _xml(head=f"<movement-title>{use}</movement-title>", before=doctype)
        if use != "&a;" * 10_000:
            yield _xml(head=f"<movement-title>{use}</movement-title>", before=doctype).decode().encode("utf-16")
    yield _xml(before='<?xml version="1.0"?><!DOCTYPE score-partwise SYSTEM "http://127.0.0.1:9/x.dtd">')
    for tag in ("note", "a", "measure"):
        yield _xml(f"<{tag}>" * 100_000 + f"</{tag}>" * 100_000)
        yield _xml(f"<{tag}>" * 100_000)
    yield _xml("<a " + " ".join(f"a{number}=''" for number in range(300_000)) + "/>")
    yield _xml("<direction/>" * 400_000 + _ONE)
    yield _xml("<!-- " + "x" * 9_000_000 + " -->" + _ONE)
    yield _xml(_ONE * 50_000)
    yield _xml(_ONE * 80_000)
    yield _xml("<a/>" * 3_500_000)
    yield _xml('</measure><measure number="2">' * 60_000)
    yield _xml(_ONE.replace("<duration>", "<chord/><duration>") * 2000)
    yield _xml("".join(_ONE.replace("</note>", f"<voice>{number}</voice></note>") for number in range(1000)))


def _xml_trees() -> Iterator[bytes]:
    good = _xml(_ONE * 4)
    for tag in (b"part-list", b"part", b"measure", b"attributes", b"note", b"pitch", b"step", b"octave", b"duration"):
        yield good.replace(b"<" + tag + b">", b"<x>").replace(b"</" + tag + b">", b"</x>")
        yield good.replace(b"<" + tag, b"<x" + tag).replace(b"</" + tag, b"</x" + tag)
    yield good.replace(b'id="P1"', b"")
    yield good.replace(b'<part id="P1"', b'<part id="P2"')
    yield good.replace(b'number="1"', b'number="x\xc2\xb2"')
    yield good.replace(b"score-partwise", b"score-timewise")
    yield good.replace(b"<score-partwise>", b'<score-partwise xmlns="http://x">')
    yield good.replace(b"</part>", b"</part><part id='P1'/><part id='P1'><measure/></part>")
    yield good.replace(b"<pitch>", b"<rest/><pitch>").replace(b"<duration>", b"<chord/><duration>")
    yield good.replace(b"<pitch>", b"<chord/><pitch>")
    yield good.replace(b"<note>", b"<note><grace/>")
    yield good.replace(b"<note>", b"<note><cue/>")
    yield good.replace(b"<duration>2", b"<staff>9</staff><duration>2")
    yield good.replace(b"<note>", b"<note><tie type='stop'/>").replace(b"</note>", b"<tie type='start'/></note>")
    for kind in ("", "major", "x", "none", "Tristan", "other"):
        step = "H" if kind == "x" else "C"
        degree = "<degree><degree-value>99</degree-value></degree>" if kind == "other" else ""
        yield _xml(f"<harmony><root><root-step>{step}</root-step></root><kind>{kind}</kind>{degree}</harmony>" + _ONE)
    yield _xml(
        "<harmony><root><root-step>C</root-step><root-alter>99</root-alter></root><kind>major</kind></harmony>" + _ONE
    )


def _xml_text() -> Iterator[bytes]:
    good = _xml(head="<movement-title>\u00e9</movement-title>")
    yield good.replace(b"\xc3\xa9", b"\xff\xfe\xc3\x28")
    yield good.replace(b"\xc3\xa9", b"\0")
    yield good.replace(b'"1.0"?', b'"1.0" encoding="utf-16"?')
    yield good.replace(b'"1.0"?', b'"1.0" encoding="latin-1"?')
    yield good.replace(b'"1.0"?', b'"1.0" encoding="utf-7"?')
    yield good.replace(b'"1.0"?', b'"9.9"?')
    yield b"\xef\xbb\xbf" + good
    yield b"\n\n" + good
    yield good.decode().encode("utf-16")
    yield good.decode().encode("utf-32")
    yield good + good
    yield good.replace(b"\xc3\xa9", b"&nbsp;")
    yield b"<html><body>404 Not Found</body></html>"


# Archives


def _zip(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _container(path: str) -> tuple[str, bytes]:
    text = f'<container><rootfiles><rootfile full-path="{path}"/></rootfiles></container>'
    return "META-INF/container.xml", text.encode()


def _mxl_bombs() -> Iterator[bytes]:
    bomb = _zip(("score.xml", b"<a>" + b" " * 50_000_000))
    yield bomb
    real = struct.pack("<I", 50_000_003)
    for claimed in (100, 0, 0xFFFFFFFF):  # the directory, and then the entry too, lies about the size
        yield bomb[: bomb.rindex(real)] + struct.pack("<I", claimed) + bomb[bomb.rindex(real) + 4 :]
        yield bomb.replace(real, struct.pack("<I", claimed))
    yield _zip(*((f"{number}.xml", b" " * 1_000_000) for number in range(40)))
    yield _zip(_container("score.xml"), ("score.xml", bomb))
    yield _zip(*((f"{number}", b"") for number in range(70_000)), method=zipfile.ZIP_STORED)
    entry = _zip(("score.xml", _xml())).split(b"PK\x01\x02")[1].split(b"PK\x05\x06")[0]
    yield b"PK" + (b"PK\x01\x02" + entry) * 100_000 + _zip(("score.xml", _xml()))
    yield _zip(_container("score.xml"), ("score.xml", next(_xml_bombs())))
    bomb = next(_xml_bombs())
    yield _zip(("META-INF/container.xml", bomb), ("score.xml", _xml()))


def _mxl_names() -> Iterator[bytes]:
    for name in (
        "../../outside.xml",
        "/tmp/outside.xml",
        "C:\\outside.xml",
        "a/\0b.xml",
        "\u202e.xml",
        "x" * 60_000 + ".xml",
    ):
        yield _zip(_container(name.replace("\0", "")), (name, _xml()))
    yield _zip(_container("gone.xml"), ("score.xml", _xml()))
    yield _zip(_container("gone.xml"))
    yield _zip(("score.xml", _xml()))
    yield _zip(("score.xml/", b""))
    yield _zip(("score.mid", _midi(_PIECE)))
    yield _zip(("META-INF/container.xml", b"<container>"), ("score.xml", _xml()))
    yield _zip(("META-INF/container.xml", b"\xff\xfe"), ("score.xml", _xml()))
    yield _zip(("score.xml", _midi(_PIECE)))
    yield _zip()


def _mxl_archives() -> Iterator[bytes]:
    good = _zip(_container("score.xml"), ("score.xml", _xml()))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield _zip(("score.xml", _xml()), method=method)
    for offset, value in ((6, 1), (8, 99), (14, 0xFFFF), (18, 0xFFFF), (22, 0xFFFF), (26, 0xFFFF)):
        for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            place = good.index(mark) + offset + shift
            yield good[:place] + struct.pack("<H", value) + good[place + 2 :]
    place = good.index(b"PK\x05\x06")
    for offset in (8, 10, 12, 16, 20):
        yield good[: place + offset] + b"\xff\xff" + good[place + offset + 2 :]
    yield b"junk" * 1000 + good
    yield good + b"junk" * 1000
    yield good[: good.index(b"PK\x01\x02")]
    yield good[good.index(b"PK\x01\x02") :]


_SPECIAL: dict[str, list[tuple[str, Callable[[], Iterator[bytes]]]]] = {
    "mid": [
        ("chunk lengths", _midi_lengths),
        ("division and format", _midi_divisions),
        ("tempo, metre, key, name", _midi_metas),
        ("notes", _midi_notes),
        ("ticks of over 16 bits", _midi_ticks),
        ("tracks and events", _midi_tracks),
    ],
    "abc": [("headers", _abc_headers), ("bodies and nesting", _abc_bodies), ("text", _abc_text)],
    "musicxml": [
        ("numbers", _xml_numbers),
        ("bombs and nesting", _xml_bombs),
        ("elements", _xml_trees),
        ("text", _xml_text),
    ],
    "mxl": [("bombs", _mxl_bombs), ("names", _mxl_names), ("archives", _mxl_archives)],
}


def outcome_of(path: Path) -> str:
    """ "read" for valid scores that a codec encodes or refuses by name, the reason of a refusal, or what went wrong."""
    refusals: list[MusicError] = []
    try:
        scores = read_whole(path, refusals, drums=True, sustain=True)
    except MusicError as error:
        refusals.append(error)
        scores = []
    for refusal in refusals:
        if not refusal.source.startswith(str(path)) or not refusal.place or not refusal.detail:
            return f"WRONG: refused without source, place or detail: {refusal}"
    for score in scores:
        check_score(score)
        _check_more(score)
        try:
            MelodyCodec().encode(select_track(score, "skyline"))
        except MusicError:
            continue
    return "read" if scores else refusals[0].reason if refusals else "WRONG: nothing read, nothing refused"


def _check_more(score: Score) -> None:
    """The promises of `Score` about chords, phrase ends, parts and tempo."""
    onset, duration, root, classes = score.chords.astype(int).T
    assert (np.diff(onset) > 0).all() and (duration > 0).all() and ((onset >= 0) & (onset < score.end)).all()
    assert ((root >= -1) & (root < 12)).all() and ((classes > 0) & (classes < 1 << 12)).all()
    assert (np.diff(score.phrase_ends) > 0).all() and ((score.phrase_ends > 0) & (score.phrase_ends <= score.end)).all()
    assert all(0 <= part.program <= 127 for part in score.parts)
    assert 0 < score.tempo < np.inf and (score.fifths is None or -7 <= score.fifths <= 7)


def main(folder: Path) -> None:
    """Reads every file of a folder; see the head of this file."""
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)  # spares the machine; the limit is checked by the parent
    paths = sorted(folder.iterdir())
    for path in paths:
        print(json.dumps({"start": path.name}), flush=True)
        _reset_peak()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # whose signal, unhandled, ends the process
        before = time.perf_counter()
        try:
            outcome = outcome_of(path)
        except Exception as error:  # noqa: BLE001 (what the sweep is there to find)
            outcome = f"WRONG: {type(error).__name__}: {error}"[:300]
        seconds = time.perf_counter() - before
        signal.setitimer(signal.ITIMER_REAL, 0)
        result = {"name": path.name, "outcome": outcome, "seconds": seconds, "megabytes": _peak()}
        print(json.dumps(result), flush=True)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process has held since the last reset, in MB."""
    # Of a child, getrusage gives the parent's peak where that is higher.
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes on macOS
    return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
