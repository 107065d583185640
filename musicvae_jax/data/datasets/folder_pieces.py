"""Reads the items of a folder into pieces and refusals. Worker processes run this, so it does not import TFDS."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from musicvae_jax.codec.abc import MAX_BYTES, parse_abc, split_tunes
from musicvae_jax.codec.errors import MusicError, read_bytes
from musicvae_jax.codec.files import ABC_SUFFIXES, read_whole
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.folder_files import Item
from musicvae_jax.data.readers import Limits, next_piece
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import SHARES, melody_signatures

MOST_REFUSALS = 1000  # of an item's tunes, one by one; the others are counted by reason
# Which music is read follows from its size alone: each reader takes so many bytes, elements and measures, and time that
# grows with them, a few seconds at most. These guard against hangs, on a slow or busy machine too.
LIMITS = Limits(cpu=60.0, wall=600.0)
SIGNATURE_BYTES = 8  # two of a million windows have the same signature by chance with probability 1 in 30 million
_PROBLEMS = {
    "link": "a link to a folder; allowed: links to files",
    "unreadable": "it cannot be opened",
    "no_file": "a pipe or a device; allowed: files",
}


class FolderPiece(NamedTuple):
    """A piece that was read."""

    order: tuple[int, int]  # number of the item, number of the tune in the file
    id: str  # path in the folder, followed by "#2" for the second of several tunes
    split: str
    record: dict[str, Any]
    music: bytes  # digest of notes and measures
    file: bytes  # digest of the bytes of the file
    signatures: bytes  # of the windows of the melody, `SIGNATURE_BYTES` each; see `splits.window_signatures`


class FolderRefusal(NamedTuple):
    """A file or tune that is not in the data set, and why."""

    order: tuple[int, int]
    file: str
    place: str
    reason: str
    detail: str
    tunes: int = 1  # that it stands for


Outcome = FolderPiece | FolderRefusal


def read_item(item: Item) -> list[Outcome]:
    """The pieces of an item, and refusals for what cannot be read; raises nothing."""
    if item.problem:
        return [_refuse_file(item, item.problem, _PROBLEMS[item.problem])]
    try:
        return list(_read(item))
    except MusicError as error:
        return [_refuse(item, 0, error)]
    except Exception as error:  # noqa: BLE001 -- an unforeseen error costs one file, not the data set
        return [_refuse_file(item, "unreadable", f"{type(error).__name__}: {error}"[:200])]


def lost_item(item: Item, what: str) -> list[Outcome]:
    """The refusal of an item that ended the process that read it; `what` is from `readers.LostError`."""
    return [_refuse_file(item, "timeout" if "took over" in what else "crashed", what)]


def copy_of(piece: FolderPiece, first_id: str, first_file: bytes) -> FolderRefusal:
    """The refusal of a piece whose notes and measures equal those of the earlier piece `first_id`."""
    same_file = first_file == piece.file and first_id.partition("#")[0] != piece.record["source"]
    reason, detail = ("duplicate", "the same bytes as") if same_file else ("same_music", "the same notes as")
    return FolderRefusal(piece.order, piece.id, "file", reason, f"{detail} {first_id}")


def split_of(music: bytes) -> str:
    """The split of a piece, from the digest of its music alone: other pieces cannot move it."""
    position = int.from_bytes(music[:8]) / 2**64
    for split, share in SHARES.items():
        if position < share:
            return split
        position -= share
    return next(iter(SHARES))  # reached by rounding errors only


def _read(item: Item) -> Iterator[Outcome]:
    path = Path(item.root, item.name)
    data = read_bytes(path, MAX_BYTES)
    file = hashlib.blake2b(data, digest_size=16).digest()
    name = _printable(item.name)
    if not item.name.lower().endswith(ABC_SUFFIXES):
        for number, score in enumerate(read_whole(path)):
            yield _piece(item, number, name, score, file)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    tunes = split_tunes(text)
    start, stop = (len(tunes) * chunk // item.num_chunks for chunk in (item.chunk, item.chunk + 1))
    listed, others = 0, Counter[str]()
    for number in range(start, stop):
        next_piece()
        try:
            score, header = parse_abc(tunes[number], source=os.fspath(path))
            style, composer = (header.get(field, "").partition("\n")[0].strip() for field in ("R", "C"))
            score = dataclasses.replace(score, style=style.lower(), composer=composer)
            yield _piece(item, number, f"{name}#{number + 1}" if len(tunes) > 1 else name, score, file)
        except MusicError as error:
            if listed < MOST_REFUSALS:
                yield _refuse(item, number, error, f"tune {number + 1}, ")
                listed += 1
            else:
                others[error.reason] += 1
    for reason, count in others.items():
        yield FolderRefusal((item.order, stop), name, "tunes", reason, f"{count:,} more of this file", count)


def _piece(item: Item, number: int, id: str, score: Score, file: bytes) -> FolderPiece:
    if not len(score.notes):
        raise MusicError(score.source, "file", "empty", "no notes")
    record = to_record(score, id=id, source=_printable(item.name))
    music = hashlib.blake2b(record["measures"].tobytes() + record["notes"].tobytes(), digest_size=16).digest()
    return FolderPiece((item.order, number), id, split_of(music), record, music, file, _signatures(score))


def _signatures(score: Score) -> bytes:
    """The signatures of the highest notes; none if a measure is too long for the grid."""
    try:
        signatures = melody_signatures(select_track(score, "skyline"))
    except MusicError:
        return b""
    return b"".join(sorted({signature[:SIGNATURE_BYTES] for signature in signatures}))


def _refuse(item: Item, number: int, error: MusicError, tune: str = "") -> FolderRefusal:
    detail = error.detail.replace(item.root.rstrip("/") + "/", "")
    place = tune + error.place
    return FolderRefusal((item.order, number), _printable(item.name), place, error.reason, detail)


def _refuse_file(item: Item, reason: str, detail: str) -> FolderRefusal:
    return FolderRefusal((item.order, 0), _printable(item.name), "file", reason, detail)


def _printable(name: str) -> str:
    """A file name as text, even if it is not UTF-8. Different names give different texts: a backslash is doubled."""
    return name.replace("\\", "\\\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
