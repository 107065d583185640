"""Music files that nobody has listed: real ones, changed at random by what their format is made of."""

import importlib.util
import random
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from musicvae_jax.codec.musicxml_file import pack, unpack
from tests.codec.damage import Damaged, good_files

_NUMBERS = ("0", "-1", "1", "3", "7", "255", "65536", "999999999", "1" + "0" * 30, "0.001", "1e308", "nan", "", "٤")
_WORDS = ("", "\ufeff", "é" * 50, "\u202e", "\U0001f3b5", "&amp;", "%", "\\", "null", "x" * 300)
_SIGNS = "[](){}|:!\"<>~^_=/,'zx&+$\\%-.*0123456789ABCDEFGabcdefg\n"
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7", "cp437")


def fuzzed_files(seed: int, number: int) -> Iterator[Damaged]:
    """So many different files, a function of the seed; the kinds of file in turn."""
    rng = random.Random(f"fuzz {seed}")
    real = _real_files(rng)
    for count in range(number):
        suffix = list(real)[count % len(real)]
        data = rng.choice(real[suffix])
        changes = (_SOUND if rng.random() < 0.7 else _CHANGES)[suffix]
        for _ in range(rng.choice((1, 1, 2, 4, 12))):
            data = rng.choice(changes)(data, rng.choice(real[suffix]), rng)
        yield Damaged(f"fuzzed {suffix}", f"fuzz_{count}.{suffix}", data[:2_000_000])


def _real_files(rng: random.Random) -> dict[str, list[bytes]]:
    files = good_files()
    spec = importlib.util.find_spec("music21")
    assert spec and spec.origin
    corpus = Path(spec.origin).parent / "corpus"
    for path in rng.sample(sorted((corpus / "bach").glob("*.mxl")), 12):
        files["mxl"].append(path.read_bytes())
        files["musicxml"].append(unpack(path.read_bytes(), path.name))
    books = sorted(corpus.glob("*/*.abc"))
    for path in rng.sample(books, min(12, len(books))):
        tunes = re.split(r"(?m)^(?=X:)", path.read_text("utf-8", "replace"))
        files["abc"] += [tune.encode() for tune in rng.sample(tunes, min(3, len(tunes))) if tune.strip()]
    return files


def _flip(data: bytes, other: bytes, rng: random.Random) -> bytes:
    del other
    broken = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 2, 8, 64))):
        broken[rng.randrange(len(broken))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(broken)


def _cut(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[stop:]


def _repeat(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 10, 100, 1000))]
    return data[:start] + part * rng.choice((2, 10, 300)) + data[start:]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _replaced(pattern: str, choices: tuple[str, ...], most: int = 20) -> Callable[[bytes, bytes, random.Random], bytes]:
    """A change of some of the places where a pattern matches."""

    def change(data: bytes, _: bytes, rng: random.Random) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        places = [match.span() for match in re.finditer(pattern, text)]
        for start, stop in sorted(rng.sample(places, min(len(places), rng.randint(1, most))), reverse=True):
            text = text[:start] + rng.choice(choices) + text[stop:]
        return text.encode("utf-8", "surrogateescape")

    return change


def _shuffle_lines(data: bytes, other: bytes, rng: random.Random) -> bytes:
    lines, more = data.split(b"\n"), other.split(b"\n")
    for _ in range(rng.randint(1, 6)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(rng.choice((lines, more))))
    return b"\n".join(lines)


def _insert_signs(data: bytes, _: bytes, rng: random.Random) -> bytes:
    place, size = rng.randrange(len(data) + 1), rng.choice((1, 3, 20, 2000))
    signs = rng.choice(("".join(rng.choices(_SIGNS, k=size)), rng.choice(_SIGNS) * size))
    return data[:place] + signs.encode() + data[place:]


def _move_element(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """An element of this document or another one, put somewhere else once or often; or left out."""
    source = rng.choice((data, other)).decode("utf-8", "surrogateescape")
    text = data.decode("utf-8", "surrogateescape")
    tag = rng.choice(re.findall(r"<([a-z][a-z-]*)[ >]", source) or ["note"])
    elements = re.findall(rf"<{tag}[ >](?s:.){{0,5000}}?</{tag}>", source) or [f"<{tag}/>"]
    element = rng.choice(elements)
    if rng.random() < 0.3:
        return text.replace(element, "").encode("utf-8", "surrogateescape")
    place = rng.choice([match.end() for match in re.finditer(">", text)] or [0])
    return (text[:place] + element * rng.choice((1, 1, 50)) + text[place:]).encode("utf-8", "surrogateescape")


def _encode_anew(data: bytes, _: bytes, rng: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(_ENCODINGS), "replace")


def _in_archive(data: bytes, other: bytes, rng: random.Random) -> bytes:
    try:
        text = unpack(data, "archive")
    except Exception:  # noqa: BLE001 -- it is damaged already
        return _flip(data, other, rng)
    return pack(rng.choice(_SOUND["musicxml"])(text, text, rng))


def _change_chunks(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Tracks of two files, in any order, some of them often, under a header that is seldom wrong."""
    tracks = re.findall(rb"MTrk(?s:.)+?(?=MTrk|\Z)", data + other)
    chosen = rng.choices(tracks or [b"MTrk\0\0\0\0"], k=rng.choice((1, 2, 5, 40)))
    count = rng.choice((*(len(chosen),) * 8, len(chosen) + 1, 0, 65535))
    division = rng.choice((*(1, 24, 96, 480, 32767) * 3, 0, 0xE728))
    return struct.pack(">4sIHHH", b"MThd", 6, rng.randrange(4), count, division) + b"".join(chosen)


def _change_events(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Events that a sequencer never writes, between those of a track, whose length is made right again."""
    del other
    start = data.find(b"MTrk")
    if start < 0:
        return data
    size = int.from_bytes(data[start + 4 : start + 8])
    body = bytearray(data[start + 8 : start + 8 + size])
    for _ in range(rng.randint(1, 30)):
        event = rng.choice((
            b"\0\xff\x51\x03" + rng.randbytes(3),
            b"\0\xff\x58\x04" + bytes(rng.choice((0, 1, 3, 7, 255)) for _ in range(4)),
            b"\0\xff\x59\x02" + rng.randbytes(2),
            b"\x8f\xff\x7f\x90" + bytes((rng.randrange(128), rng.randrange(128))),
            b"\0\x80" + bytes((rng.randrange(128), 0)),
            b"\0\xf0\x03" + rng.randbytes(3),
            b"\0\xb0\x40" + bytes((rng.randrange(128),)),
            b"\0\xff\x03\x20" + rng.randbytes(32),
        ))  # fmt: skip
        place = rng.randrange(len(body) + 1)
        body[place:place] = event
    return data[: start + 4] + struct.pack(">I", len(body)) + bytes(body) + data[start + 8 + size :]


_BYTES = (_flip, _cut, _repeat, _splice)
_TEXT = (*_BYTES, _shuffle_lines, _insert_signs, _encode_anew, _replaced(r"\d+", _NUMBERS), _replaced(r"\w+", _WORDS))
_FIELDS = ("M:none", "L:1/0", "K:", "V:9", "Q:0", "w:x", "s:", "X:2", "M:5/8", "L:1/32", "K:F# dorian ^c", "V:1")
# Changes that may break the form of a file, and those that keep it, so that its content is read.
_CHANGES = {
    "mid": (*_BYTES, _change_chunks),
    "abc": _TEXT,
    "musicxml": (*_TEXT, _replaced(r"<(/?)[a-z-]+", ("<note", "</note", "<x"), 3)),
    "mxl": _BYTES,
}
_SOUND: dict[str, tuple[Callable[[bytes, bytes, random.Random], bytes], ...]] = {
    "mid": (_change_chunks, _change_events, _change_events),
    "abc": (_shuffle_lines, _insert_signs, _replaced(r"\d+", _NUMBERS), _replaced(r"(?m)^[A-Z]:.*$", _FIELDS, 3)),
    "musicxml": (
        _move_element,
        _move_element,
        _replaced(r"(?<=>)[^<>]+(?=</)", (*_NUMBERS, "C", "B", "start", "stop")),
    ),
    "mxl": (_in_archive,),
}
