"""The music files of a folder in a fixed order, and a digest that shows whether the folder changed."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from musicvae_jax.codec.files import ABC_SUFFIXES, MIDI_SUFFIXES, MUSICXML_SUFFIXES

SUFFIXES = MIDI_SUFFIXES + ABC_SUFFIXES + MUSICXML_SUFFIXES
ABC_CHUNK = 1 << 17  # bytes of an ABC book that are one item: about a second's work


class Item(NamedTuple):
    """What one call of a reader reads: a file, or a chunk of the tunes of a large ABC book."""

    order: int  # number of the item
    root: str  # the folder
    name: str  # path in the folder
    chunk: int = 0
    num_chunks: int = 1
    problem: str = ""  # see `Entry.problem`


class Entry(NamedTuple):
    """A file in the folder, or something else with the name of a music file."""

    name: str  # path in the folder, with "/"
    size: int
    changed: int  # modification time, ns
    problem: str = ""  # why it cannot be read: "link", "unreadable" or "no_file"; "" if it can


class FolderState(NamedTuple):
    """What a folder holds."""

    files: int
    bytes: int
    digest: str  # of names, sizes and modification times

    def __str__(self) -> str:
        return f"{self.files} files of {self.bytes:,} bytes"


def walk(folder: Path, prefix: str = "") -> Iterator[Entry]:
    """All entries with the suffix of a music file, at any depth, in the order of their names.

    Links to files count as files. Links to folders are not followed, because they may be endless or leave the folder.
    Problems: "link", a link to a folder; "unreadable", a folder or link that cannot be opened; "no_file", a pipe or a
    device. `prefix` is put before the names.
    """
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
                yield from walk(folder / entry.name, name + "/")
                continue
            if entry.is_dir():
                yield Entry(name, 0, 0, "link")
                continue
            if not entry.name.lower().endswith(SUFFIXES):
                continue
            status = entry.stat()
        except OSError:  # a dead link, or a file that was deleted meanwhile
            yield Entry(name, 0, 0, "unreadable")
            continue
        problem = "" if stat.S_ISREG(status.st_mode) else "no_file"
        yield Entry(name, status.st_size, status.st_mtime_ns, problem)


def scan(folder: Path) -> FolderState:
    """The state of a folder by names, sizes and times; memory does not grow with the number of files."""
    digest, files, size = hashlib.blake2b(digest_size=16), 0, 0
    for entry in walk(folder):
        text = f"{entry.name}\0{entry.size}\0{entry.changed}\0{entry.problem}\n"
        digest.update(text.encode("utf-8", "surrogateescape"))
        files += not entry.problem
        size += entry.size
    return FolderState(files, size, digest.hexdigest())


class FolderItems:
    """The items of a folder. Each iteration walks the folder again, so memory does not grow with its files."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._length = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        order, root = 0, os.fspath(self._folder)
        for entry in walk(self._folder):
            is_book = entry.name.lower().endswith(ABC_SUFFIXES) and not entry.problem
            num_chunks = max(-(-entry.size // ABC_CHUNK), 1) if is_book else 1
            for chunk in range(num_chunks):
                yield Item(order, root, entry.name, chunk, num_chunks, entry.problem)
                order += 1
