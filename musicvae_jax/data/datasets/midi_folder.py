"""A folder of MIDI, ABC and MusicXML: the TFDS builder."""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from musicvae_jax.config import UserError
from musicvae_jax.data.datasets.folder_files import FolderItems, scan
from musicvae_jax.data.datasets.folder_pieces import LIMITS, FolderPiece, FolderRefusal, copy_of, lost_item, read_item
from musicvae_jax.data.datasets.folder_report import REFUSALS, REPORT, SPLITS, RefusalWriter, SharedWindows, metadata
from musicvae_jax.data.datasets.spool import Spool
from musicvae_jax.data.readers import read_parallel
from musicvae_jax.data.records import score_features


@dataclasses.dataclass(kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """Which folder, and how it is read."""

    path: str
    num_processes: int | None = None  # None: one per core

    @classmethod
    def of(cls, path: str, num_processes: int | None = None) -> "FolderConfig":
        """The config of a folder. Its name, and so the place of the prepared data set, depends on the absolute path."""
        folder = Path(path).expanduser().resolve()
        digest = hashlib.blake2b(str(folder).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
        word = re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")[:40] or "folder"
        return cls(name=f"{word}-{digest}", path=str(folder), num_processes=num_processes)


class MidiFolder(tfds.core.GeneratorBasedBuilder):
    """The pieces of a folder with all their tracks: ``prepare("midi_folder", path=...)``.

    An ABC file may hold many pieces. A piece whose notes and measures equal those of an earlier one, by the order of
    paths, is refused as a copy: "duplicate" if the files have the same bytes, else "same_music".

    Splits: about 80/10/10, by a digest of the notes and measures of each piece alone, so new files never move others
    to another split. In return, similar pieces may be in different splits: ``metadata["shared_windows"]`` counts the
    pieces of each split that share 4 measures of melody (the highest notes, in any key) with another split. A split
    without pieces does not exist.

    ``refusals.json`` beside the data has what was refused and why; ``metadata["refused"]`` counts it by reason.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "MIDI, ABC and MusicXML."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="A folder of MIDI, ABC and MusicXML.",
            features=score_features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _generate_splits(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
    ) -> list[tfds.core.SplitInfo]:
        """Reads the folder once, in parallel. Memory holds digests of pieces, not pieces.

        Raises:
            UserError: no folder, no music files in it, or none that could be read.
        """
        folder = Path(self.builder_config.path)
        if not folder.is_dir():
            raise UserError(f"path = {str(folder)!r}: no such folder")
        found = scan(folder)
        if not found.files:
            raise UserError(f"path = {str(folder)!r}: no MIDI, ABC or MusicXML in it")
        state = {"path": str(folder), **found._asdict()}
        target = Path(self.data_path)
        if download_config.beam_options is not None or download_config.beam_runner is not None:
            try:
                infos = super()._generate_splits(dl_manager, download_config)
            except Exception as error:
                if "should be >0" not in str(error):  # TFDS's message for a split without pieces
                    raise
                raise UserError(f"{folder}: too few pieces for three splits; prepare it without Beam") from error
            self.info.metadata.update(metadata(state, **json.loads((target / REPORT).read_text())))
            (target / REPORT).unlink()
            return list(infos)
        shared, refusals = SharedWindows(), RefusalWriter(target / REFUSALS)
        with contextlib.ExitStack() as stack:
            stack.callback(refusals.close)
            spools = {split: Spool(target / f"{split}.spool", split, self.info.features) for split in SPLITS}
            for spool in spools.values():
                stack.callback(spool.close)
            for outcome in self._read():
                if isinstance(outcome, FolderRefusal):
                    refusals.add(outcome)
                else:
                    spools[outcome.split].add(outcome.id, outcome.record)
                    shared.add(outcome)
            sizes = {split: len(spool) for split, spool in spools.items()}
            if not any(sizes.values()):
                raise UserError(f"{folder}: no music could be read; refused: {dict(refusals.counts)}")
            self.info.metadata.update(metadata(state, sizes, refusals.counts, shared.counts()))
            return [
                spool.write(self._get_filename_template(split_name=split), self.info.file_format)
                for split, spool in spools.items()
                if len(spool)
            ]

    def _read(self) -> Iterator[FolderPiece | FolderRefusal]:
        """All pieces and refusals of the folder, in order; copies are refusals."""
        config = self.builder_config
        items = FolderItems(Path(config.path))
        first: dict[bytes, tuple[str, bytes]] = {}  # digest of music -> id and digest of the file
        outcomes = read_parallel(
            read_item, items, config.num_processes, "Reading the folder", " files", lost_item, LIMITS
        )
        for outcome in (outcome for item in outcomes for outcome in item):
            if isinstance(outcome, FolderRefusal):
                yield outcome
            elif outcome.music in first:
                yield copy_of(outcome, *first[outcome.music])
            else:
                first[outcome.music] = (outcome.id, outcome.file)
                yield outcome

    # TFDS calls the methods below to prepare with Apache Beam.

    def _split_generators(self, dl_manager: tfds.download.DownloadManager, pipeline: Any) -> dict[str, Any]:
        del dl_manager
        from musicvae_jax.data.datasets.folder_beam import read_folder

        pieces = read_folder(pipeline, Path(self.builder_config.path), Path(self.data_path))
        return {split: self._generate_examples(pieces[split], split) for split in SPLITS}

    def _generate_examples(self, pieces: Any, split: str) -> Any:
        import apache_beam as beam  # type: ignore[import-not-found]

        return pieces | f"{split}_records" >> beam.Map(lambda piece: (piece.id, piece.record))
