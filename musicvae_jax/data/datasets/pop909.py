"""POP909: the TFDS builder, which finds or downloads the two repositories with the files of a song."""

import hashlib
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.config import UserError
from musicvae_jax.data.datasets.corpus import CorpusBuilder
from musicvae_jax.data.datasets.pop909_songs import CORRECTED, ORIGINAL, find_songs, read_song
from musicvae_jax.data.records import score_features
from musicvae_jax.files import disk_refusal

# One commit of each repository, so that everybody gets the same songs.
URLS = {
    ORIGINAL: "https://github.com/music-x-lab/POP909-Dataset/archive/d83e6edba6872a704f5d3b8b32f5cb540088dae6.zip",
    CORRECTED: (
        "https://github.com/AndyWeasley2004/POP909-CL-Dataset/archive/be9094392903c471a930519e1c0bacf8b6be5d62.zip"
    ),
}
# Of the files of songs 1 to 859, by `digest_of`. An archive has no fixed checksum: GitHub compresses it anew.
LAST_KNOWN = 859
DIGESTS = {
    ORIGINAL: "490397f504845681a922f20f05bbc95e23d7f1d35c2608b5d67f00b1b55a651c",
    CORRECTED: "775e0a65a413c00f170c136b972810fb9b2d8b72248ebdf09358c0f2bccb7ae4",
}
MOST_FILES, MOST_BYTES = 10_000, 2**28  # of the MIDI files of an archive


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
        return {name: _unpack(name, Path(path)) for name, path in dl_manager.download(URLS).items()}
    except (OSError, tfds.download.DownloadError) as error:
        allowed = f"a manual_dir with both repositories, cloned as {' and '.join(URLS)}"
        raise UserError(f"POP909 cannot be downloaded: {error}; allowed is also {allowed}") from error


def digest_of(folder: Path) -> str:
    """The digest of the files of songs 1 to `LAST_KNOWN` in a repository: of each song's number and bytes."""
    digest = hashlib.sha256()
    for song in find_songs(folder, folder):
        path = song.original or song.corrected
        if int(song.id[-3:]) <= LAST_KNOWN:
            digest.update(song.id.encode() + hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def _unpack(name: str, archive: Path) -> Path:
    """Unpacks the MIDI files of a GitHub archive beside it. TFDS's own extraction needs TensorFlow.

    Raises:
        UserError: it is no archive, has too many or too large files, or others than the commit in `URLS`; it is then
            removed, so that the next try downloads it again.
    """
    target = archive.with_name(archive.name + ".files")
    if not target.is_dir():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            _extract(archive, unfinished)
            (root,) = unfinished.iterdir()  # the archive has one folder, named by repository and commit
            found = digest_of(root)
            if found != DIGESTS[name]:
                raise ValueError(f"its songs have the SHA-256 {found}; allowed is {DIGESTS[name]}")
        except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            if disk_refusal(error):
                raise
            for path in (archive, archive.with_name(f"{archive.name}.INFO")):  # TFDS keeps its checksum there
                path.unlink(missing_ok=True)
            raise UserError(f"{URLS[name]} is not what it was: {error}") from error
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    (root,) = target.iterdir()
    return root


def _extract(archive: Path, folder: Path) -> None:
    """Extracts MIDI files; never outside the folder, whatever their names, and never more than an archive says."""
    with zipfile.ZipFile(archive) as file:
        wanted = [entry for entry in file.infolist() if entry.filename.endswith(".mid")]
        size = sum(entry.file_size for entry in wanted)
        if len(wanted) > MOST_FILES or size > MOST_BYTES:
            allowed = f"{MOST_FILES:,} files of {MOST_BYTES:,} bytes"
            raise ValueError(f"{len(wanted):,} MIDI files of {size:,} bytes; allowed are up to {allowed}")
        if not {entry.compress_type for entry in wanted} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError("another compression than deflate, of which memory is not limited")
        file.extractall(folder, wanted)
