"""`MusicError`, which all music input raises, and `read_bytes`, through which all of it is read."""

import os
import stat
from pathlib import Path

from musicvae_jax.config import UserError

MAX_SOURCE, MAX_DETAIL = 4096, 500  # characters of a message


def readable(text: str, most: int) -> str:
    """A text that any stream and file takes, of so many characters at most: other code points become question marks.

    Names of files in another encoding hold such code points (surrogates).
    """
    text = text[: most + 1].encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 3]}..."


class MusicError(UserError):
    """A piece of music that cannot be read, or that a codec cannot hold.

    Attributes:
        source: the file (and tune) it came from; ``"score"`` for a score made in memory.
        place: where in the source, such as ``"measure 12"`` or ``"header"``.
        reason: one fixed word, such as ``"polyphonic"`` or ``"unreadable"``. Refusals are counted by it.
        detail: what was found and what is allowed.

    The texts are `readable`, so that every error can be printed.
    """

    def __init__(self, source: str, place: str, reason: str, detail: str):
        source, place, detail = readable(source, MAX_SOURCE), readable(place, MAX_DETAIL), readable(detail, MAX_DETAIL)
        super().__init__(source, place, reason, detail)
        self.source, self.place, self.reason, self.detail = source, place, reason, detail

    def __str__(self) -> str:
        return f"{self.source}, {self.place}: {self.reason}: {self.detail}"


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a file.

    Raises:
        MusicError: "missing" (or not permitted), "unreadable" for a folder, a pipe or a device (reading those may never
            end), "empty", or "size" for more than `limit` bytes.
    """
    path = Path(path)
    try:
        mode, data = path.stat().st_mode, b""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise MusicError(str(path), "file", "missing", getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise MusicError(str(path), "file", "unreadable", f"{kind}; allowed: a file")
    if not data.strip(b"\0 \t\r\n"):
        raise MusicError(str(path), "file", "empty", "no content; allowed: MIDI, ABC or MusicXML")
    if len(data) > limit:
        raise MusicError(str(path), "file", "size", f"over {limit:,} bytes; allowed: up to {limit:,}")
    return data
