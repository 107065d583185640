"""Folk tunes: the TFDS builder over the ABC collections of the music21 package, read where they are installed."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.data.datasets.features import score_features
from musicvae_jax.data.datasets.folk_books import find_tunes, read_tunes
from musicvae_jax.data.datasets.pieces import SHARES, Piece, corpus_folder, refusal_counts, sort_out
from musicvae_jax.data.splits import assign, component_sizes, components, sharing

HELD_OUT_BOOK, HELD_OUT_SPLIT = "aird/", "test_airds"
LEFT_OUT = ""  # the split of tunes that are in none

_CITATION = """\
@book{ryan1883, title={Ryan's Mammoth Collection}, author={Ryan, William Bradbury}, year={1883}}
@book{oneill1903, title={O'Neill's Music of Ireland}, author={O'Neill, Francis}, year={1903}}
@book{aird1782, title={A Selection of Scotch, English, Irish and Foreign Airs}, author={Aird, James}, year={1778-1801}}
@book{bruce1882, title={Northumbrian Minstrelsy}, author={Bruce, J. Collingwood and Stokoe, John}, year={1882}}
@inproceedings{cuthbert2010, title={music21: A toolkit for computer-aided musicology and symbolic music data},
  author={Cuthbert, Michael Scott and Ariza, Christopher}, booktitle={ISMIR}, year={2010}}
"""


class FolkTunes(tfds.core.GeneratorBasedBuilder):
    """Folk tunes, monophonic, with key, mode, metre and tune type (``style``). Way in: ``prepare("folk_tunes")``.

    Splits: ``test_airds`` is Aird's books whole. Tunes of the other books that share a window of 4 measures with Aird's
    (in any key) are in no split. The rest goes to ``train``, ``validation`` and ``test``, about 80/10/10 by tunes, by
    whole connected components of shared windows. A tune whose notes equal another's is kept once.

    ``builder.info.metadata`` counts what was found, refused (by reason, with ids) and left out, and the components.
    A tune in a metre too long for a codec is in the data set: that codec's `WindowSource` refuses it.
    """

    # To be raised with every change of what a record holds or of how tunes fall into splits, the ABC reader's included:
    # a prepared data set is found by this number alone.
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "The features that all data sets share: book is now source, type is style.",
        "1.0.0": "Ryan's, O'Neill's and Aird's books, American fife tunes, Northumbrian Minstrelsy.",
    }

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="British, Irish and American fiddle, fife and pipe tunes of the 18th and 19th century, as "
            "transcribed to ABC in the corpus of music21. The tunes are in the public domain.",
            homepage="https://github.com/cuthbertLab/music21",
            citation=_CITATION,
            features=score_features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads every tune first, because a tune's split depends on all the others."""
        del dl_manager  # nothing is downloaded
        sources = list(find_tunes(corpus_folder()))
        tunes, refusals = sort_out(read_tunes(sources))
        split_of, sizes = choose_splits(tunes)
        self.info.metadata.update(
            {
                "music21": importlib.metadata.version("music21"),
                "tunes_found": len(sources),
                **refusal_counts(refusals),
                "left_out": [
                    tune.record["id"] for tune, split in zip(tunes, split_of, strict=True) if split == LEFT_OUT
                ],
                "component_sizes": {str(size): number for size, number in sizes.items()},
            }
        )
        return {
            name: self._generate_examples([tune for tune, split in zip(tunes, split_of, strict=True) if split == name])
            for name in (*SHARES, HELD_OUT_SPLIT)
        }

    def _generate_examples(self, tunes: list[Piece]) -> Iterator[tuple[str, dict[str, Any]]]:
        for tune in tunes:
            yield tune.record["id"], tune.record


def choose_splits(tunes: Sequence[Piece]) -> tuple[list[str], dict[int, int]]:
    """The split of each tune, `LEFT_OUT` for none, and the component sizes of train, validation and test together."""
    held_out = np.array([tune.record["id"].startswith(HELD_OUT_BOOK) for tune in tunes], bool)
    signatures = [tune.signatures for tune in tunes]
    shared = sharing(signatures, [signatures[number] for number in np.flatnonzero(held_out).tolist()])
    split_of = np.where(held_out, HELD_OUT_SPLIT, LEFT_OUT).astype(object)
    rest = np.flatnonzero(~held_out & ~shared).tolist()
    labels = components([signatures[number] for number in rest])
    split_of[rest] = assign([tunes[number].record["id"] for number in rest], labels, SHARES)
    return split_of.tolist(), component_sizes(labels)
