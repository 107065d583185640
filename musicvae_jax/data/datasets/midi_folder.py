"""Any folder of MIDI, ABC and MusicXML: the TFDS builder."""

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
from musicvae_jax.data.datasets.features import score_features
from musicvae_jax.data.datasets.folder_files import FolderItems, scan
from musicvae_jax.data.datasets.folder_pieces import TIMEOUT, FolderPiece, FolderRefusal, copy_of, lost_item, read_item
from musicvae_jax.data.datasets.folder_report import REFUSALS, REPORT, SPLITS, RefusalWriter, SharedWindows, metadata
from musicvae_jax.data.datasets.readers import read_parallel
from musicvae_jax.data.datasets.spool import Spool


@dataclasses.dataclass(kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """Which folder, and how it is read."""

    path: str
    num_processes: int | None = None  # of readers; None for one per core

    @classmethod
    def of(cls, path: str, num_processes: int | None = None) -> "FolderConfig":
        """The config of a folder; its name, and so the data set's place, goes with the folder's own place."""
        folder = Path(path).expanduser().resolve()
        digest = hashlib.blake2b(str(folder).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
        word = re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")[:40] or "folder"
        return cls(name=f"{word}-{digest}", path=str(folder), num_processes=num_processes)


class MidiFolder(tfds.core.GeneratorBasedBuilder):
    """The pieces of a folder, whole, with all their tracks. Way in: ``prepare("midi_folder", path=...)``.

    An ABC file may hold many pieces. A piece whose notes and measures equal an earlier one's (by the order of the
    paths) is a copy and is refused: "duplicate" where the files' bytes are the same, else "same_music".

    Splits, about 80/10/10: by a digest of the piece's notes and measures alone, so that files that are added never move
    others. The price: pieces that are alike, but not equal, may fall into different splits.
    ``builder.info.metadata["shared_windows"]`` says how many of each split share 4 measures of melody (the highest
    notes, in any key) with another split. A split without pieces does not exist.

    ``refusals.json`` beside the data says what was refused and why, ``metadata["refused"]`` counts it by reason.
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
        """Reads the folder once, in parallel; memory holds digests, never the pieces.

        Raises:
            UserError: no folder, no music files in it, or none that could be read.
        """
        state = self._state()
        if download_config.beam_options is not None or download_config.beam_runner is not None:
            try:
                infos = super()._generate_splits(dl_manager, download_config)
            except Exception as error:
                if "should be >0" not in str(error):  # the words of TFDS about a split without pieces
                    raise
                raise UserError(f"{state['path']}: too few pieces for three splits; prepare it without Beam") from error
            report = Path(self.data_path, REPORT)
            self.info.metadata.update(metadata(state, **json.loads(report.read_text())))
            report.unlink()
            return list(infos)
        target = Path(self.data_path)
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
                raise UserError(f"{state['path']}: no music could be read; refused: {dict(refusals.counts)}")
            self.info.metadata.update(metadata(state, sizes, refusals.counts, shared.counts()))
            return [
                spool.write(self._get_filename_template(split_name=split), self.info.file_format)
                for split, spool in spools.items()
                if len(spool)
            ]

    def _state(self) -> dict[str, Any]:
        """What the folder holds, for the metadata."""
        folder = Path(self.builder_config.path)
        if not folder.is_dir():
            raise UserError(f"path = {str(folder)!r}: no such folder")
        state = scan(folder)
        if not state.files:
            raise UserError(f"path = {str(folder)!r}: no MIDI, ABC or MusicXML in it")
        return {"path": str(folder), **state._asdict()}

    def _read(self) -> Iterator[FolderPiece | FolderRefusal]:
        """Everything in the folder, in order, copies as refusals."""
        config = self.builder_config
        items = FolderItems(Path(config.path))
        first: dict[bytes, tuple[str, bytes]] = {}  # digest of music -> id and digest of the file
        outcomes = read_parallel(
            read_item, items, config.num_processes, "Reading the folder", " files", lost_item, TIMEOUT
        )
        for outcome in (outcome for item in outcomes for outcome in item):
            if isinstance(outcome, FolderRefusal):
                yield outcome
            elif outcome.music in first:
                yield copy_of(outcome, first[outcome.music])
            else:
                first[outcome.music] = (outcome.id, outcome.file)
                yield outcome

    def _split_generators(self, dl_manager: tfds.download.DownloadManager, pipeline: Any) -> dict[str, Any]:
        """The same with Apache Beam."""
        del dl_manager
        from musicvae_jax.data.datasets import folder_beam

        pieces = folder_beam.read_folder(pipeline, Path(self.builder_config.path), Path(self.data_path))
        return {split: self._generate_examples(pieces[split], split) for split in SPLITS}

    def _generate_examples(self, pieces: Any, split: str) -> Any:
        """(key, record) of a Beam collection of pieces."""
        import apache_beam as beam  # type: ignore[import-not-found]

        return pieces | f"{split}_records" >> beam.Map(lambda piece: (piece.id, piece.record))
