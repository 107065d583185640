"""POP909: the TFDS builder over the two repositories that make a song."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.config import UserError
from musicvae_jax.data.datasets.features import score_features
from musicvae_jax.data.datasets.pieces import SHARES, Piece, choose_splits, note_counts, refusal_counts, sort_out
from musicvae_jax.data.datasets.pop909_songs import CORRECTED, ORIGINAL, find_songs, read_song
from musicvae_jax.data.datasets.readers import read_parallel

URLS = {
    ORIGINAL: "https://github.com/music-x-lab/POP909-Dataset/archive/HEAD.zip",
    CORRECTED: "https://github.com/AndyWeasley2004/POP909-CL-Dataset/archive/HEAD.zip",
}

_CITATION = """\
@inproceedings{pop909, title={POP909: A Pop-song Dataset for Music Arrangement Generation}, author={Wang, Ziyu and Chen,
  Ke and Jiang, Junyan and Zhang, Yiyi and Xu, Maoran and Dai, Shuqi and Bin, Guxian and Xia, Gus}, booktitle={ISMIR},
  year={2020}}
@inproceedings{bachi2026, title={BACHI: Boundary-Aware Symbolic Chord Recognition Through Masked Iterative Decoding on
  Pop and Classical Music}, author={Yao, Mingyang and Chen, Ke and Dubnov, Shlomo and Berg-Kirkpatrick, Taylor},
  booktitle={ICASSP}, year={2026}}
"""


class Pop909(tfds.core.GeneratorBasedBuilder):
    """Piano arrangements of pop songs: melody, bridge and piano with played velocities, bars, key and chords.

    Way in: ``prepare("pop909")`` downloads the two repositories; ``prepare("pop909", manual_dir=...)`` reads them below
    that folder, as ``POP909-Dataset`` and ``POP909-CL-Dataset``, where both are there. A codec of one voice takes the
    part ``melody`` (``DataConfig.track``).

    Onsets and lengths are as played; bars, metre, key and chords are POP909-CL's, the tempo the original's. A song
    whose tracks fit no bars is refused ("join"). Splits: about 80/10/10 by songs, by whole connected components of
    shared windows of four measures of melody. Labels: ``shift``, the ticks between the two, and ``match``, the share of
    notes that both have.

    ``builder.info.metadata`` counts songs and refusals, notes found and lost, and the components.
    """

    # To be raised with every change of what a record holds or of how songs fall into splits.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Melody, bridge and piano in corrected bars, with chords."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Optional: clone {' and '.join(URLS)} into manual_dir; else both are downloaded."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Piano arrangements of 909 Chinese pop songs (POP909, MIT licence), in the bars and with the "
            "keys and chords that POP909-CL (MIT licence) corrected by hand.",
            homepage="https://github.com/music-x-lab/POP909-Dataset",
            citation=_CITATION,
            features=score_features(
                shift=tfds.features.Scalar(np.int32, doc="ticks from the original's onsets to the corrected bars"),
                match=tfds.features.Scalar(np.float32, doc="share of the notes that the corrected file has there"),
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads every song first, because a song's split depends on all the others."""
        folders = find_folders(dl_manager)
        songs = find_songs(folders[ORIGINAL], folders[CORRECTED])
        pieces, refusals = sort_out(list(read_parallel(read_song, songs, desc="Reading POP909", unit=" songs")))
        if not pieces:
            raise UserError(f"no song in {', '.join(map(str, folders.values()))}; allowed: the two repositories")
        by_split, sizes = choose_splits(pieces, SHARES)
        self.info.metadata.update(
            {
                "songs_found": len(songs),
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


def find_folders(dl_manager: tfds.download.DownloadManager) -> dict[str, Path]:
    """Where the two repositories are: below the user's folder where both are there, else downloaded.

    Raises:
        UserError: the user's folder has one of the two only, or nothing can be downloaded.
    """
    try:
        manual_dir = Path(dl_manager.manual_dir)
    except AssertionError:  # there is none, or it is empty
        manual_dir = Path()
    folders = {name: manual_dir / name for name in URLS}
    missing = [name for name, folder in folders.items() if not folder.is_dir()]
    if not missing:
        return folders
    if len(missing) < len(folders):
        raise UserError(f"{manual_dir} has no folder {missing[0]}; allowed: {' and '.join(URLS)}, or neither")
    try:
        return {name: _unpack(Path(path)) for name, path in dl_manager.download(URLS).items()}
    except (OSError, tfds.download.DownloadError) as error:
        allowed = f"a manual_dir with both repositories, cloned as {' and '.join(URLS)}"
        raise UserError(f"POP909 cannot be downloaded: {error}; allowed is also {allowed}") from error


def _unpack(archive: Path) -> Path:
    """The MIDI files of an archive that GitHub made, unpacked beside it; not by TFDS, whose way needs TensorFlow."""
    target = archive.with_name(archive.name + ".files")
    if not target.is_dir():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        with zipfile.ZipFile(archive) as file:
            wanted = [name for name in file.namelist() if name.endswith(".mid")]
            file.extractall(unfinished, wanted)  # keeps what it writes below the folder, whatever the names
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    (root,) = target.iterdir()  # such an archive holds one folder, named after the repository and the commit
    return root
