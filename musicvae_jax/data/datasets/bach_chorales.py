"""Bach's chorales: the TFDS builder over the scores of the music21 package, read where they are installed."""

import importlib.metadata
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from musicvae_jax.data.datasets.bach_scores import find_chorales, read_chorale
from musicvae_jax.data.datasets.features import score_features
from musicvae_jax.data.datasets.pieces import (
    SHARES,
    Piece,
    choose_splits,
    corpus_folder,
    note_counts,
    refusal_counts,
    sort_out,
)
from musicvae_jax.data.datasets.readers import read_parallel

_CITATION = """\
@book{bach1784, title={Vierstimmige Choralges{\\"a}nge}, author={Bach, Johann Sebastian}, editor={Bach, Carl Philipp
  Emanuel and Kirnberger, Johann Philipp}, year={1784--1787}}
@inproceedings{cuthbert2010, title={music21: A toolkit for computer-aided musicology and symbolic music data},
  author={Cuthbert, Michael Scott and Ariza, Christopher}, booktitle={ISMIR}, year={2010}}
"""


class BachChorales(tfds.core.GeneratorBasedBuilder):
    """Four-part chorales: soprano, alto, tenor and bass, with key, mode, metre and the fermatas that end phrases.

    Way in: ``prepare("bach_chorales")``. Works of other than four parts ("parts"), and four-part ones whose parts are
    not the four voices, in that order ("instrumental", "order"), are refused; so are copies.

    Splits: about 80/10/10 by chorales, by whole connected components of shared windows of four measures of soprano, in
    any key: Bach set many a melody more than once.

    ``builder.info.metadata`` counts works and refusals and the components.
    """

    # To be raised with every change of what a record holds or of how chorales fall into splits, the reader's included.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The four-part chorales of music21's corpus."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Chorales of Johann Sebastian Bach in four voices, as transcribed in the corpus of music21. "
            "The music is in the public domain.",
            homepage="https://github.com/cuthbertLab/music21",
            citation=_CITATION,
            features=score_features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads every chorale first, because a chorale's split depends on all the others."""
        del dl_manager  # nothing is downloaded
        sources = find_chorales(corpus_folder())
        read = read_parallel(read_chorale, sources, desc="Reading chorales", unit=" works")
        pieces, refusals = sort_out(list(read))
        by_split, sizes = choose_splits(pieces, SHARES)
        self.info.metadata.update(
            {
                "music21": importlib.metadata.version("music21"),
                "works_found": len(sources),
                **refusal_counts(refusals),
                "left_out": [],
                "notes": note_counts(pieces),
                "component_sizes": sizes,
            }
        )
        return {name: self._generate_examples(mine) for name, mine in by_split.items()}

    def _generate_examples(self, pieces: list[Piece]) -> Iterator[tuple[str, dict[str, Any]]]:
        for piece in pieces:
            yield piece.record["id"], piece.record
