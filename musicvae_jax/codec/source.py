"""The bytes of a music file, taken in only if they are a file's and not too many."""

import os
import stat
from pathlib import Path

from musicvae_jax.codec.errors import MusicError


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """All of a file.

    Raises:
        MusicError: "missing" (or not allowed to be read), "unreadable" for a folder, a pipe or a device, whose reading
            might never end, "empty", or "size" for more than `limit` bytes.
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
        raise MusicError(str(path), "file", "empty", "nothing in it; allowed: MIDI, ABC or MusicXML")
    if len(data) > limit:
        raise MusicError(str(path), "file", "size", f"over {limit:,} bytes; allowed: up to that")
    return data
