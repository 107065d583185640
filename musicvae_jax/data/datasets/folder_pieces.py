"""Reading the items of a folder into pieces and refusals. Apart from the builder, because worker processes run this."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from musicvae_jax.codec.abc import MAX_BYTES, parse_abc, split_tunes
from musicvae_jax.codec.errors import MusicError, read_bytes
from musicvae_jax.codec.files import ABC_SUFFIXES, read_whole
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.folder_files import Item
from musicvae_jax.data.datasets.pieces import GRID, SHARES
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import window_signatures

TIMEOUT = 5.0  # seconds that an item may take
SIGNATURE_BYTES = 8  # enough: among a million windows a chance meeting has odds of one in thirty million
_PROBLEMS = {
    "link": "a link to a folder; allowed: links to files",
    "unreadable": "it cannot be opened",
    "no_file": "a pipe or a device; allowed: files",
}


class FolderPiece(NamedTuple):
    """A piece that was read."""

    order: tuple[int, int]  # of its item, and of the tune in the file
    id: str  # the path in the folder, and "#2" for the second of several tunes
    split: str
    record: dict[str, Any]
    music: bytes  # digest of its notes and measures
    file: bytes  # digest of the bytes that it was read from
    signatures: bytes  # of its windows, `SIGNATURE_BYTES` each; see `splits.window_signatures`


class FolderRefusal(NamedTuple):
    """A file or tune that is not in the data set, and why."""

    order: tuple[int, int]
    file: str
    place: str
    reason: str
    detail: str


Outcome = FolderPiece | FolderRefusal


def read_item(item: Item) -> list[Outcome]:
    """The pieces of an item, and what in it cannot be read; raises nothing."""
    if item.problem:
        return [FolderRefusal((item.order, 0), show(item.name), "file", item.problem, _PROBLEMS[item.problem])]
    try:
        return list(_read(item))
    except MusicError as error:
        return [_refusal(item, 0, error)]
    except Exception as error:  # noqa: BLE001 -- a file that a reader is not prepared for costs itself only
        detail = f"{type(error).__name__}: {error}"[:200]
        return [FolderRefusal((item.order, 0), show(item.name), "file", "unreadable", detail)]


def lost_item(item: Item, what: str) -> list[Outcome]:
    """What stands for an item that ended the process that read it."""
    reason = "timeout" if "took over" in what else "crashed"
    return [FolderRefusal((item.order, 0), show(item.name), "file", reason, what)]


def split_of(music: bytes) -> str:
    """The split of a piece by the digest of its music: other pieces have no say in it, so it never moves."""
    place = int.from_bytes(music[:8]) / 2**64
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return next(iter(SHARES))  # what rounding leaves over


def copy_of(piece: FolderPiece, first: FolderPiece | tuple[str, bytes]) -> FolderRefusal:
    """The refusal of a piece whose music an earlier one has.

    Args:
        piece: the copy.
        first: the earlier piece, or its id and the digest of its file.
    """
    id, file = (first.id, first.file) if isinstance(first, FolderPiece) else first
    same_file = file == piece.file and id.partition("#")[0] != piece.record["source"]
    reason, detail = ("duplicate", "the same bytes as") if same_file else ("same_music", "the same notes as")
    return FolderRefusal(piece.order, piece.id, "file", reason, f"{detail} {id}")


def show(name: str) -> str:
    """A file's name as text, also where it is no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read(item: Item) -> Iterator[Outcome]:
    path = Path(item.root, item.name)
    data = read_bytes(path, MAX_BYTES)
    file = hashlib.blake2b(data, digest_size=16).digest()
    if not item.name.lower().endswith(ABC_SUFFIXES):
        for number, score in enumerate(read_whole(path)):
            yield _piece(item, number, show(item.name), score, file)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    tunes = split_tunes(text)
    first, stop = (len(tunes) * part // item.shares for part in (item.share, item.share + 1))
    for number in range(first, stop):
        try:
            score, header = parse_abc(tunes[number], source=os.fspath(path))
            style, composer = (header.get(field, "").partition("\n")[0].strip() for field in ("R", "C"))
            score = dataclasses.replace(score, style=style.lower(), composer=composer)
            yield _piece(
                item, number, f"{show(item.name)}#{number + 1}" if len(tunes) > 1 else show(item.name), score, file
            )
        except MusicError as error:
            yield _refusal(item, number, error, f"tune {number + 1}, ")


def _piece(item: Item, number: int, id: str, score: Score, file: bytes) -> FolderPiece:
    if not len(score.notes):
        raise MusicError(score.source, "file", "empty", "no notes")
    record = to_record(score, id=id, source=show(item.name))
    music = hashlib.blake2b(record["measures"].tobytes(), digest_size=16)
    music.update(record["notes"].tobytes())
    digest = music.digest()
    return FolderPiece((item.order, number), id, split_of(digest), record, digest, file, _signatures(score))


def _signatures(score: Score) -> bytes:
    """Of the windows of the highest notes; of no windows where a measure is too long for the grid."""
    try:
        melody = select_track(score, "skyline")
        signatures = window_signatures(GRID.encode(melody), GRID)
    except MusicError:
        return b""
    return b"".join(sorted({signature[:SIGNATURE_BYTES] for signature in signatures}))


def _refusal(item: Item, number: int, error: MusicError, place: str = "") -> FolderRefusal:
    detail = error.detail.replace(item.root.rstrip("/") + "/", "")
    return FolderRefusal((item.order, number), show(item.name), place + error.place, error.reason, show(detail))
