"""MIDI files with faults of their own."""

import struct
from collections.abc import Iterator


def _number(value: int) -> bytes:
    """A variable-length number."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, value & 0x7F | 0x80)
    return bytes(groups)


def midi_file(*tracks: bytes, division: int = 480, count: int | None = None, kind: int = 1) -> bytes:
    header = struct.pack(">4sIHHH", b"MThd", 6, kind, len(tracks) if count is None else count, division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


_NOTE = b"\0\x90<@" + _number(480) + b"\x80<\0"
_END = b"\0\xff/\0"
PIECE = _NOTE * 4 + _END


def midi_lengths() -> Iterator[bytes]:
    good = midi_file(PIECE, PIECE)
    for length in (0, 1, len(PIECE) - 1, len(PIECE) + 1, 0x7FFFFFFF, 0xFFFFFFFF):
        for place in (18, good.rindex(b"MTrk") + 4):
            yield good[:place] + struct.pack(">I", length) + good[place + 4 :]
    for length in (0, 5, 7, 0xFFFFFFFF):
        yield good[:4] + struct.pack(">I", length) + good[8:]
    for count in (0, 1, 3, 0xFFFF):
        yield midi_file(PIECE, PIECE, count=count)


def midi_divisions() -> Iterator[bytes]:
    for division in (0, 1, 0x7FFF, 0x8000, 0xE728, 0xFFFF):
        yield midi_file(PIECE, division=division)
    for kind in (0, 2, 7, 0xFFFF):
        yield midi_file(PIECE, PIECE, kind=kind)


def _meta(kind: int, content: bytes) -> bytes:
    return b"\0\xff" + bytes([kind]) + _number(len(content)) + content


def midi_metas() -> Iterator[bytes]:
    tempos = [b"\0\0\0", b"\0\0\1", b"\xff\xff\xff", b"", b"\1", b"\7\xa1 \0\0"]
    metres = [pair + b"\x18\x08" for pair in (b"\0\2", b"\4\0", b"\xff\6", b"\4\7", b"\4\xff")]
    metres += [b"\4", b"", b"\1" * 9]
    keys = [b"\x7f\0", b"\x80\1", b"\0\xff", b"\0", b""]
    names = [b"\xff\xfe\x80", b"\0" * 50, b"x" * 100_000, b"\xe9"]
    for kind, contents in ((0x51, tempos), (0x58, metres), (0x59, keys), (0x03, names), (0x7F, [b"", b"\0" * 9])):
        for content in contents:
            yield midi_file(_meta(kind, content) + PIECE)
    yield midi_file(_meta(0x58, b"\1\6\x18\x08") + _number(2_000_000) + b"\x90<@\x10\x80<\0" + _END)
    yield midi_file(b"".join(_number(7) + _meta(0x58, bytes([n % 250 + 1, 2, 24, 8]))[1:] for n in range(5000)) + PIECE)


def midi_notes() -> Iterator[bytes]:
    yield midi_file(b"\0\x90<@\0\x80<\0" + _END)  # of no length
    yield midi_file(b"\0\x90<@\0\x80<\0" + _NOTE + _END)
    yield midi_file(b"\0\x80<\0" * 9 + _NOTE + _END)  # ends before it starts
    yield midi_file(b"\0\x90<@" * 9 + _END)  # never ends
    yield midi_file(b"\0\x90<\0" * 9 + _END)  # no velocity
    yield midi_file(b"\0\x90<@" * 500 + b"\x60\x80<\0" * 500 + _END)
    yield midi_file(b"\0\x90\x80@" + _END)
    yield midi_file(b"\0\x90<\xff" + _END)
    yield midi_file(b"\0<@" + _END)  # without a status
    yield midi_file(_NOTE * 60_000 + _END)
    cluster = b"".join(bytes([0, 0x90, pitch, 64]) for pitch in range(128))
    yield midi_file(cluster * 300 + _number(96) + b"\x80<\0" + _END)
    yield midi_file(*[PIECE] * 500)


def midi_ticks() -> Iterator[bytes]:
    for delta in (0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x1FFFFF, 0xFFFFFFF):
        for repeats in (1, 20):
            long = (_number(delta) + b"\x90<@" + _number(delta) + b"\x80<\0") * repeats
            yield midi_file(long + _END)
            yield midi_file(long + _END, division=1 if repeats == 1 else 32767)
    yield midi_file(b"\xff\xff\xff\xff\x7f\x90<@\0\x80<\0" + _END)
    yield midi_file(b"\x80\x80\x80\x00\x90<@\x10\x80<\0" + _END)


def midi_tracks() -> Iterator[bytes]:
    yield midi_file()
    yield midi_file(b"")
    yield midi_file(_END)
    yield midi_file(*[_END] * 2000)
    yield midi_file(b"", PIECE, b"")
    yield midi_file(PIECE[:-4])  # without an end
    yield midi_file(_END + PIECE)  # more after the end
    yield midi_file(b"\0\xf0\x7f" + PIECE)
    yield midi_file(b"\0\xf0\x01\x40" + PIECE)
    yield midi_file(b"\0\xf7\xff\xff\xff\x7f" + PIECE)
    yield midi_file(b"\0\xf4" + PIECE)
    yield midi_file(b"\0\xff" + PIECE)
    yield midi_file(b"\0\xb0\x40\x7f" * 2000 + PIECE)
    yield midi_file(PIECE).replace(b"MTrk", b"XTrk")
    yield b"RIFF" + struct.pack("<I", 100) + b"RMIDdata" + midi_file(PIECE)
    yield midi_file(b"\0\x99$@\x60\x89$\0" + _END)  # percussion alone


KINDS = {
    "chunk lengths": midi_lengths,
    "division and format": midi_divisions,
    "tempo, metre, key, name": midi_metas,
    "notes": midi_notes,
    "ticks of over 16 bits": midi_ticks,
    "tracks and events": midi_tracks,
}
