"""The ABC collections of folk tunes that the music21 package carries: where they are, and reading them.

Apart from the builder, because worker processes run this.
"""

import dataclasses
import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from musicvae_jax.codec.abc import parse_abc, split_tunes
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.data.datasets.pieces import GRID, Piece, Refusal
from musicvae_jax.data.datasets.readers import read_parallel
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import window_signatures

TUNE_TYPES = {"slipjig": "slip jig", "fling": "highland fling"}  # other spellings of the same


class Book(NamedTuple):
    """One printed collection."""

    name: str  # the first part of its tunes' ids
    files: str  # below the corpus folder of music21
    title: str
    one_tune_per_file: bool = False  # their X: numbers are nearly all 1, so the file's name makes the id


BOOKS = (
    Book("ryan", "ryansMammoth/*.abc", "Ryan's Mammoth Collection (1883)", one_tune_per_file=True),
    Book("oneill", "oneills1850/*.abc", "O'Neill's Music of Ireland (1903)"),
    Book("aird", "airdsAirs/*.abc", "Aird's Selection of Scotch, English, Irish and Foreign Airs (1778-1801)"),
    Book("fife", "miscFolk/americanfifeopus.abc", "Colonial and Civil War American Fife Music"),
    Book("northumbrian", "miscFolk/northumbrianminstrelsyopus.abc", "Northumbrian Minstrelsy (1882)"),
)


class Source(NamedTuple):
    """The text of one tune."""

    id: str
    book: str
    text: str


def find_tunes(folder: Path) -> Iterator[Source]:
    """The text of every tune below the corpus folder, in a fixed order, with unique ids.

    O'Neill's has tunes in two transcriptions, in overlapping files: the second is ``oneill/0732b``, and so on.
    """
    seen: Counter[str] = Counter()
    for book in BOOKS:
        for path in sorted(folder.glob(book.files)):
            for text in split_tunes(path.read_text(encoding="utf-8")):
                number = re.match(r"X:\s*(\d+)", text)
                part = path.stem if book.one_tune_per_file or not number else f"{int(number[1]):04d}"
                name = f"{book.name}/{part}"
                yield Source(name + string.ascii_lowercase[seen[name]].removeprefix("a"), book.title, text)
                seen[name] += 1


def read_tune(source: Source) -> Piece | Refusal:
    """One tune's record and the signatures of its windows on the default melody grid."""
    try:
        score, header = parse_abc(source.text, source=source.id)
        signatures = window_signatures(GRID.encode(score), GRID)
    except MusicError as error:
        return Refusal(source.id, error.reason)
    kind = " ".join(header.get("R", "").lower().split())
    composer = header.get("C", "").partition("\n")[0]
    score = dataclasses.replace(score, style=TUNE_TYPES.get(kind, kind), composer=composer)
    record = to_record(score, id=source.id, source=source.book)
    return Piece(record, signatures)


def read_tunes(sources: list[Source], num_processes: int | None = None) -> list[Piece | Refusal]:
    """Reads tunes in parallel, in order; see `read_parallel`."""
    return list(read_parallel(read_tune, sources, num_processes, "Reading folk tunes", " tunes"))
