"""The music files of a folder: in a fixed order, each once, with a digest that says whether the folder changed."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from musicvae_jax.codec.files import ABC_SUFFIXES, MIDI_SUFFIXES, MUSICXML_SUFFIXES

SUFFIXES = MIDI_SUFFIXES + ABC_SUFFIXES + MUSICXML_SUFFIXES
ABC_SHARE = 1 << 17  # bytes of a book of ABC tunes that are read at a time: a second's work


class Item(NamedTuple):
    """What one call of a reader reads: a file, or a share of the tunes of a large ABC book."""

    order: int  # position among the items
    root: str  # the folder
    name: str  # the file's path in it, or what else stands there
    share: int = 0
    shares: int = 1
    problem: str = ""  # why it is not to be read, see `Entry.problem`


class Entry(NamedTuple):
    """A file, or something that stands where one might."""

    name: str  # its path in the folder, with "/"
    size: int
    changed: int  # modification time, ns
    problem: str = ""  # why it is not to be read: "link", "unreadable" or "no_file"


class FolderState(NamedTuple):
    """What a folder held."""

    files: int
    bytes: int
    digest: str  # of names, sizes and modification times

    def __str__(self) -> str:
        return f"{self.files} files of {self.bytes:,} bytes"


def walk(folder: Path) -> Iterator[Entry]:
    """Everything below the folder with the suffix of a music file, in the order of the names.

    Links to folders are not entered, which might never end or lead anywhere; links to files are files.

    Yields:
        Entries; with a problem, a "link" to a folder, a folder or a dead link that is "unreadable", and "no_file", a
        pipe or a device.
    """
    yield from _walk(folder, "")


def scan(folder: Path) -> FolderState:
    """The state of a folder, from the names, sizes and times alone; memory does not grow with the files."""
    digest, files, size = hashlib.blake2b(digest_size=16), 0, 0
    for entry in walk(folder):
        digest.update(
            f"{entry.name}\0{entry.size}\0{entry.changed}\0{entry.problem}\n".encode("utf-8", "surrogateescape")
        )
        files += not entry.problem
        size += entry.size
    return FolderState(files, size, digest.hexdigest())


class FolderItems:
    """The items of a folder, found again each time: an iterable of known length that holds no names."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._length = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        order, root = 0, os.fspath(self._folder)
        for entry in walk(self._folder):
            is_book = entry.name.lower().endswith(ABC_SUFFIXES) and not entry.problem
            shares = -(-entry.size // ABC_SHARE) if is_book else 1
            for share in range(max(shares, 1)):
                yield Item(order, root, entry.name, share, max(shares, 1), entry.problem)
                order += 1


def _walk(folder: Path, prefix: str) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        yield Entry(prefix.rstrip("/") or ".", 0, 0, "unreadable")
        return
    for entry in entries:
        name = prefix + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, name + "/")
                continue
            if entry.is_dir():
                yield Entry(name, 0, 0, "link")
                continue
            if not entry.name.lower().endswith(SUFFIXES):
                continue
            status = entry.stat()
        except OSError:  # a dead link, or gone
            yield Entry(name, 0, 0, "unreadable")
            continue
        problem = "" if stat.S_ISREG(status.st_mode) else "no_file"
        yield Entry(name, status.st_size, status.st_mtime_ns, problem)
