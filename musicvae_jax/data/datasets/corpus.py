"""What the builders of fixed corpora share: from pieces that were read to the records of the splits."""

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import tensorflow_datasets as tfds

from musicvae_jax.data.readers import read_parallel
from musicvae_jax.data.records import score_features
from musicvae_jax.data.splits import SHARES, assign, component_sizes, components

Source = TypeVar("Source")


class Piece(NamedTuple):
    """A piece that was read."""

    record: dict[str, Any]
    signatures: list[bytes]  # of the windows of its melody, see `splits.window_signatures`
    note_counts: Mapping[str, int] = {}  # notes that were found, and lost by reason, if the builder counts them

    @property
    def id(self) -> str:
        return self.record["id"]


class Refusal(NamedTuple):
    """A piece that could not be read or does not belong to the data set."""

    id: str
    reason: str


class CorpusBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder that reads all pieces first, because the split of a piece depends on all the others."""

    DESCRIPTION: ClassVar[str]
    HOMEPAGE: ClassVar[str] = "https://github.com/cuthbertLab/music21"
    CITATION: ClassVar[str]

    def features(self) -> tfds.features.FeaturesDict:
        """The features of a record."""
        return score_features()

    def choose_splits(self, pieces: Sequence[Piece]) -> tuple[dict[str, list[Piece]], dict[int, int]]:
        """The pieces of train, validation and test, by whole components, and the sizes of the components."""
        labels = components([piece.signatures for piece in pieces])
        by_split: dict[str, list[Piece]] = {name: [] for name in SHARES}
        for piece, split in zip(pieces, assign([piece.id for piece in pieces], labels), strict=True):
            by_split[split].append(piece)
        return by_split, component_sizes(labels)

    def read_splits(
        self, read: Callable[[Source], Piece | Refusal], sources: Sequence[Source], **metadata: Any
    ) -> dict[str, Any]:
        """The examples of each split, for TFDS. Reads all sources in parallel and adds to the metadata."""
        pieces, refusals = drop_copies(list(read_parallel(read, sources, desc=f"Reading {self.name}")))
        by_split, sizes = self.choose_splits(pieces)
        in_a_split = {piece.id for split in by_split.values() for piece in split}
        note_counts: Counter[str] = Counter()
        for piece in pieces:
            note_counts.update(piece.note_counts)
        self.info.metadata.update(
            {
                **metadata,
                "refused": dict(Counter(refusal.reason for refusal in refusals)),
                "refused_ids": {refusal.id: refusal.reason for refusal in refusals},
                "left_out": [piece.id for piece in pieces if piece.id not in in_a_split],
                "component_sizes": {str(size): number for size, number in sizes.items()},
                **({"notes": dict(note_counts)} if note_counts else {}),
            }
        )
        return {name: self._generate_examples(split) for name, split in by_split.items()}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            features=self.features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _generate_examples(self, pieces: list[Piece]) -> Iterator[tuple[str, dict[str, Any]]]:
        for piece in pieces:
            yield piece.id, piece.record


def drop_copies(read: Sequence[Piece | Refusal]) -> tuple[list[Piece], list[Refusal]]:
    """The pieces whose notes and measures differ from those of all earlier pieces, and all refusals."""
    kept: dict[bytes, Piece] = {}
    refused = []
    for item in read:
        if isinstance(item, Refusal):
            refused.append(item)
        elif (key := item.record["notes"].tobytes() + item.record["measures"].tobytes()) in kept:
            refused.append(Refusal(item.id, "duplicate"))
        else:
            kept[key] = item
    return list(kept.values()), refused


def corpus_folder() -> Path:
    """The corpus of the installed music21, found without importing music21, which takes seconds.

    Raises:
        FileNotFoundError: music21 is not installed, or lacks its corpus.
    """
    spec = importlib.util.find_spec("music21")
    folders = [Path(folder) / "corpus" for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if folder.is_dir():
            return folder
    problem = f"no folder {folders[0]}" if folders else "the package is not installed"
    raise FileNotFoundError(f"the corpus of the music21 package: {problem}; pip install music21")
