"""Reads a folder with Apache Beam into the same pieces and refusals as `MidiFolder` on one machine.

Every worker needs this package, the folder of music and the folder of the data set, under the same paths.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam  # type: ignore[import-not-found]

from musicvae_jax.data.datasets.folder_files import FolderItems, Item
from musicvae_jax.data.datasets.folder_pieces import (
    LIMITS,
    SIGNATURE_BYTES,
    FolderPiece,
    FolderRefusal,
    Outcome,
    copy_of,
    lost_item,
    read_item,
)
from musicvae_jax.data.datasets.folder_report import REFUSALS, REPORT, SPLITS, RefusalWriter
from musicvae_jax.data.readers import LostError, Reader


def read_folder(pipeline: beam.Pipeline, folder: Path, target: Path) -> dict[str, beam.PCollection]:
    """The pieces of each split of a folder. The pipeline also writes `REFUSALS` and `REPORT` into `target`."""
    outcomes = (
        pipeline
        | "Items" >> beam.Create(FolderItems(folder))
        | "To all workers" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(_Read())
    )
    read, refused = outcomes | "Refused or not" >> beam.Partition(_is_refusal, 2)
    kept, copies = (
        read
        | "By music" >> beam.Map(lambda piece: (piece.music, piece))
        | "Same music" >> beam.GroupByKey()
        | "Keep the first" >> beam.FlatMap(_keep_first)
        | "Copy or not" >> beam.Partition(_is_refusal, 2)
    )
    splits = kept | "Split" >> beam.Partition(lambda piece, _: SPLITS.index(piece.split), len(SPLITS))
    refusals = (refused, copies) | "All refusals" >> beam.Flatten() | "Collect refusals" >> beam.combiners.ToList()
    sizes = kept | "Splits" >> beam.Map(lambda piece: piece.split) | "Sizes" >> beam.combiners.Count.PerElement()
    shared = (
        kept
        | "Windows" >> beam.FlatMap(_windows)
        | "Same window" >> beam.GroupByKey()
        | "Across splits" >> beam.FlatMap(_across)
        | "Once each" >> beam.Distinct()
        | "Their splits" >> beam.Values()
        | "Shared" >> beam.combiners.Count.PerElement()
    )
    inputs = (beam.pvalue.AsSingleton(refusals), beam.pvalue.AsDict(sizes), beam.pvalue.AsDict(shared))
    _ = pipeline | "Report" >> beam.Create([str(target)]) | "Write report" >> beam.Map(_write_report, *inputs)
    return dict(zip(SPLITS, splits, strict=True))


class _Read(beam.DoFn):
    """Reads items in a second process, so that an item that crashes or hangs does not end the worker."""

    def setup(self) -> None:
        self._reader = Reader(read_item, LIMITS)

    def process(self, item: Item) -> Iterator[Outcome]:
        try:
            yield from self._reader(item)
        except LostError as error:
            yield from lost_item(item, str(error))

    def teardown(self) -> None:
        self._reader.end()


def _is_refusal(outcome: Outcome, _: int) -> int:
    return int(isinstance(outcome, FolderRefusal))


def _keep_first(group: tuple[bytes, Iterable[FolderPiece]]) -> Iterator[Outcome]:
    first, *copies = sorted(group[1], key=lambda piece: piece.order)
    yield first
    for piece in copies:
        yield copy_of(piece, first.id, first.file)


def _windows(piece: FolderPiece) -> Iterator[tuple[bytes, tuple[str, str]]]:
    for start in range(0, len(piece.signatures), SIGNATURE_BYTES):
        yield piece.signatures[start : start + SIGNATURE_BYTES], (piece.id, piece.split)


def _across(group: tuple[bytes, Iterable[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    pieces = list(group[1])
    if len({split for _, split in pieces}) > 1:
        yield from pieces


def _write_report(target: str, refusals: list[FolderRefusal], sizes: dict[str, int], shared: dict[str, int]) -> None:
    writer = RefusalWriter(Path(target, REFUSALS))
    for refusal in sorted(refusals):
        writer.add(refusal)
    writer.close()
    report: dict[str, Any] = {"sizes": sizes, "refused": writer.counts, "shared": shared}
    Path(target, REPORT).write_text(json.dumps(report), encoding="utf-8")
