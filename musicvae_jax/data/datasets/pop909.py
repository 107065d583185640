"""POP909: the TFDS builder, which finds or downloads the two repositories with the files of a song."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.config import UserError
from musicvae_jax.data.datasets.corpus import CorpusBuilder
from musicvae_jax.data.datasets.pop909_songs import CORRECTED, ORIGINAL, find_songs, read_song
from musicvae_jax.data.records import score_features

URLS = {
    ORIGINAL: "https://github.com/music-x-lab/POP909-Dataset/archive/HEAD.zip",
    CORRECTED: "https://github.com/AndyWeasley2004/POP909-CL-Dataset/archive/HEAD.zip",
}


class Pop909(CorpusBuilder):
    """Piano arrangements of pop songs: melody, bridge and piano with velocities, bars, key and chords.

    ``prepare("pop909")`` downloads the two repositories; ``prepare("pop909", manual_dir=...)`` reads the folders
    ``POP909-Dataset`` and ``POP909-CL-Dataset`` in that folder. A codec of one voice takes the part ``melody``
    (``DataConfig.track``).

    Onsets and durations are as played. Bars, metre, key and chords are those of POP909-CL, the tempo is the original's.
    A song whose notes do not fit the bars is refused ("join"). Labels: ``shift``, the ticks from original to corrected
    onsets, and ``match``, the share of notes that are in both files.

    Splits: about 80/10/10 of the songs, by connected components of shared windows of four measures of melody, in any
    key. ``builder.info.metadata`` counts songs, refusals, components, and notes found and lost.
    """

    # Raise it when records or splits change.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Melody, bridge and piano in corrected bars, with chords."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Optional: clone {' and '.join(URLS)} into manual_dir; else both are downloaded."
    DESCRIPTION = (
        "Piano arrangements of 909 Chinese pop songs (POP909, MIT licence), in the bars and with the keys and chords "
        "that POP909-CL (MIT licence) corrected by hand."
    )
    HOMEPAGE = "https://github.com/music-x-lab/POP909-Dataset"
    CITATION = """\
@inproceedings{pop909, title={POP909: A Pop-song Dataset for Music Arrangement Generation}, author={Wang, Ziyu and Chen,
  Ke and Jiang, Junyan and Zhang, Yiyi and Xu, Maoran and Dai, Shuqi and Bin, Guxian and Xia, Gus}, booktitle={ISMIR},
  year={2020}}
@inproceedings{bachi2026, title={BACHI: Boundary-Aware Symbolic Chord Recognition Through Masked Iterative Decoding on
  Pop and Classical Music}, author={Yao, Mingyang and Chen, Ke and Dubnov, Shlomo and Berg-Kirkpatrick, Taylor},
  booktitle={ICASSP}, year={2026}}
"""

    def features(self) -> tfds.features.FeaturesDict:
        """The features of a record."""
        return score_features(
            shift=tfds.features.Scalar(np.int32, doc="ticks from the original's onsets to the corrected bars"),
            match=tfds.features.Scalar(np.float32, doc="share of the notes that the corrected file has there"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folders = find_folders(dl_manager)
        songs = find_songs(folders[ORIGINAL], folders[CORRECTED])
        if not songs:
            raise UserError(f"no song in {', '.join(map(str, folders.values()))}; allowed: the two repositories")
        return self.read_splits(read_song, songs, songs_found=len(songs))


def find_folders(dl_manager: tfds.download.DownloadManager) -> dict[str, Path]:
    """The folders of the two repositories: in the user's folder if both are there, else downloaded.

    Raises:
        UserError: the user's folder has only one of them, or the download fails.
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
    """Unpacks the MIDI files of a GitHub archive beside it. TFDS's own extraction needs TensorFlow."""
    target = archive.with_name(archive.name + ".files")
    if not target.is_dir():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        with zipfile.ZipFile(archive) as file:
            wanted = [name for name in file.namelist() if name.endswith(".mid")]
            file.extractall(unfinished, wanted)  # never writes outside the folder, whatever the names
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    (root,) = target.iterdir()  # the archive has one folder, named by repository and commit
    return root
