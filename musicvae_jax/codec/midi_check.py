"""Checks the bytes of a MIDI file before symusic reads them.

symusic 0.5.8 crashes the process on a chunk longer than the file and on a data byte above 127.
"""

from typing import NamedTuple, NoReturn

from musicvae_jax.codec.errors import MusicError

_HEADER = 14  # bytes of the header chunk
_MIN_META = {0x51: 3, 0x58: 4, 0x59: 2}  # tempo, metre, key: least bytes
_MAX_TICKS = 2**31 // 64  # can still be rescaled in 32 bits


class CheckedMidi(NamedTuple):
    """A file that symusic can read safely."""

    data: bytes  # the chunks that the header announces; all their events are well formed
    title: str  # the name of the first track, by convention the title of the piece, or ""


def check_midi(data: bytes, source: str) -> CheckedMidi:
    """Returns the file up to the end of its last track.

    Raises:
        MusicError: "empty", "unreadable" (not a MIDI file), or "corrupt", with the first bad byte.
    """
    if not data:
        raise MusicError(source, "file", "empty", "no content; allowed: a standard MIDI file")
    if data[:4] != b"MThd":
        raise MusicError(source, "byte 0", "unreadable", f"starts with {data[:4]!r}; a MIDI file starts with b'MThd'")
    if len(data) < _HEADER or int.from_bytes(data[4:8], "big") != 6:
        raise MusicError(source, "byte 4", "corrupt", "the header chunk is not 6 bytes long")
    division = int.from_bytes(data[12:14], "big")
    if not 0 < division < 0x8000:
        detail = f"time division {division:#06x}; allowed: ticks per quarter, 1 to 32767"
        raise MusicError(source, "byte 12", "unreadable", detail)
    start, title = _HEADER, b""
    for track in range(int.from_bytes(data[10:12], "big")):
        length = int.from_bytes(data[start + 4 : start + 8], "big")
        end = start + 8 + length
        if start + 8 > len(data) or end > len(data):
            detail = f"the file ends after {len(data)} bytes, inside or before track {track}"
            raise MusicError(source, f"byte {start}", "corrupt", detail)
        if data[start : start + 4] == b"MTrk":
            name = _check_track(data, start + 8, end, source)
            title = title if track else name
        start = end
    try:
        return CheckedMidi(data[:start], title.decode())
    except UnicodeDecodeError:
        return CheckedMidi(data[:start], title.decode("latin-1"))


def _check_track(data: bytes, position: int, end: int, source: str) -> bytes:
    """Checks the events of a track and returns its name."""
    time = status = 0
    name = b""

    def corrupt(detail: str) -> NoReturn:
        raise MusicError(source, f"byte {position}", "corrupt", detail)

    def variable_length() -> int:
        nonlocal position
        value = 0
        for _ in range(4):
            if position >= end:
                corrupt("the track ends inside a number")
            byte = data[position]
            position += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        corrupt("a number of more than four bytes")

    while position < end:
        time += variable_length()
        if time > _MAX_TICKS:
            corrupt(f"tick {time}; allowed: up to {_MAX_TICKS}")
        if position >= end:
            corrupt("the track ends before an event")
        if data[position] >= 0x80:
            status = data[position]
            position += 1
        elif not 0x80 <= status < 0xF0:
            corrupt(f"data byte {data[position]:#04x} without a status")
        if status < 0xF0:
            size = 1 if 0xC0 <= status < 0xE0 else 2
            if position + size > end or max(data[position : position + size]) > 127:
                corrupt(f"event {status:#04x} without {size} data bytes of 0 to 127")
            position += size
        elif status in (0xF0, 0xF7, 0xFF):
            kind = data[position] if status == 0xFF and position < end else -1
            position += status == 0xFF
            size = variable_length()
            if position + size > end or size < _MIN_META.get(kind, 0):
                corrupt(f"event {status:#04x} of {size} bytes")
            if kind == 0x03 and not name:
                name = data[position : position + size]
            position += size
            if kind == 0x2F:
                break
        else:
            corrupt(f"status {status:#04x} does not belong in a file")
    return name
