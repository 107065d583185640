"""Folk tunes, from the ABC collections in the corpus of the installed music21."""

import dataclasses
import importlib.metadata
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import tensorflow_datasets as tfds

from musicvae_jax.codec.abc import parse_abc, split_tunes
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.data.datasets.corpus import CorpusBuilder, Piece, Refusal, corpus_folder
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import melody_signatures, sharing

HELD_OUT_BOOK, HELD_OUT_SPLIT = "aird/", "test_airds"
STYLE_NAMES = {"slipjig": "slip jig", "fling": "highland fling"}  # other spelling -> ours


class FolkTunes(CorpusBuilder):
    """Folk tunes of one voice with key, mode, metre and tune type (``style``): ``prepare("folk_tunes")``.

    Splits: ``test_airds`` is the whole of Aird's books. Tunes of other books that share a window of four measures with
    them, in any key, are in no split. The other tunes go to ``train``, ``validation`` and ``test``, about 80/10/10, by
    connected components of shared windows. Of tunes with equal notes the first is kept.

    ``builder.info.metadata`` counts tunes and components, and lists the ids that were refused or left out. A tune whose
    measures are too long for a codec is in the data set; `WindowSource` refuses it.
    """

    # Raise it when records or splits change; changes of the ABC reader count.
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "The features that all data sets share: book is now source, type is style.",
        "1.0.0": "Ryan's, O'Neill's and Aird's books, American fife tunes, Northumbrian Minstrelsy.",
    }
    DESCRIPTION = (
        "British, Irish and American fiddle, fife and pipe tunes of the 18th and 19th century, as transcribed to ABC "
        "in the corpus of music21. The tunes are in the public domain."
    )
    CITATION = """\
@book{ryan1883, title={Ryan's Mammoth Collection}, author={Ryan, William Bradbury}, year={1883}}
@book{oneill1903, title={O'Neill's Music of Ireland}, author={O'Neill, Francis}, year={1903}}
@book{aird1782, title={A Selection of Scotch, English, Irish and Foreign Airs}, author={Aird, James}, year={1778-1801}}
@book{bruce1882, title={Northumbrian Minstrelsy}, author={Bruce, J. Collingwood and Stokoe, John}, year={1882}}
@inproceedings{cuthbert2010, title={music21: A toolkit for computer-aided musicology and symbolic music data},
  author={Cuthbert, Michael Scott and Ariza, Christopher}, booktitle={ISMIR}, year={2010}}
"""

    def choose_splits(self, pieces: Sequence[Piece]) -> tuple[dict[str, list[Piece]], dict[int, int]]:
        """The tunes of each split, and the sizes of the components of train, validation and test."""
        held_out = [piece for piece in pieces if piece.id.startswith(HELD_OUT_BOOK)]
        others = [piece for piece in pieces if not piece.id.startswith(HELD_OUT_BOOK)]
        shared = sharing([piece.signatures for piece in others], [piece.signatures for piece in held_out])
        rest = [piece for piece, is_shared in zip(others, shared.tolist(), strict=True) if not is_shared]
        by_split, sizes = super().choose_splits(rest)
        return {**by_split, HELD_OUT_SPLIT: held_out}, sizes

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        tunes = list(find_tunes(corpus_folder()))
        return self.read_splits(read_tune, tunes, music21=importlib.metadata.version("music21"), tunes_found=len(tunes))


class Book(NamedTuple):
    """One printed collection."""

    name: str  # the first part of its tunes' ids
    files: str  # in the corpus folder of music21
    title: str
    one_tune_per_file: bool = False  # their numbers (X:) are nearly all 1, so ids are made from file names


BOOKS = (
    Book("ryan", "ryansMammoth/*.abc", "Ryan's Mammoth Collection (1883)", one_tune_per_file=True),
    Book("oneill", "oneills1850/*.abc", "O'Neill's Music of Ireland (1903)"),
    Book("aird", "airdsAirs/*.abc", "Aird's Selection of Scotch, English, Irish and Foreign Airs (1778-1801)"),
    Book("fife", "miscFolk/americanfifeopus.abc", "Colonial and Civil War American Fife Music"),
    Book("northumbrian", "miscFolk/northumbrianminstrelsyopus.abc", "Northumbrian Minstrelsy (1882)"),
)


class TuneText(NamedTuple):
    """One tune in ABC."""

    id: str
    book: str
    text: str


def find_tunes(folder: Path) -> Iterator[TuneText]:
    """All tunes in the corpus folder, in a fixed order, with unique ids.

    O'Neill's files overlap and hold some tunes in two transcriptions; the second has the id ``oneill/0732b``.
    """
    seen: Counter[str] = Counter()
    for book in BOOKS:
        for path in sorted(folder.glob(book.files)):
            for text in split_tunes(path.read_text(encoding="utf-8")):
                number = re.match(r"X:\s*(\d+)", text)
                part = path.stem if book.one_tune_per_file or not number else f"{int(number[1]):04d}"
                name = f"{book.name}/{part}"
                yield TuneText(name + string.ascii_lowercase[seen[name]].removeprefix("a"), book.title, text)
                seen[name] += 1


def read_tune(tune: TuneText) -> Piece | Refusal:
    """The record of a tune, with the signatures of its windows."""
    try:
        score, header = parse_abc(tune.text, source=tune.id)
        signatures = melody_signatures(score)
    except MusicError as error:
        return Refusal(tune.id, error.reason)
    style = " ".join(header.get("R", "").lower().split())
    composer = header.get("C", "").partition("\n")[0]
    score = dataclasses.replace(score, style=STYLE_NAMES.get(style, style), composer=composer)
    return Piece(to_record(score, id=tune.id, source=tune.book), signatures)
