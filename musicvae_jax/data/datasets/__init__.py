"""Data sets by name: prepare them once, read their splits as records in random access."""

import contextlib
import fcntl
import functools
import io
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from musicvae_jax.config import UserError, nearest
from musicvae_jax.data.datasets.folk_tunes import FolkTunes
from musicvae_jax.data.records import to_score

__all__ = ["BUILDERS", "FolkTunes", "list_styles", "load_split", "prepare", "summary", "to_score"]

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {"folk_tunes": FolkTunes}


def prepare(name: str, data_dir: str = "") -> tfds.core.GeneratorBasedBuilder:
    """Makes a data set ready to read; does nothing when it is.

    The data set appears in one rename, when it is whole. Processes that prepare the same one take turns.

    Args:
        name: a key of `BUILDERS`.
        data_dir: where prepared data sets live; ``""`` is TFDS's own default, ``~/tensorflow_datasets``.

    Returns:
        The builder; ``builder.info.splits`` names the splits, ``builder.info.metadata`` what was refused.

    Raises:
        UserError: an unknown name; the message has the nearest ones.
    """
    if name not in BUILDERS:
        raise UserError(f"no data set {name!r}: {nearest(name, BUILDERS)}")
    builder = BUILDERS[name](data_dir=data_dir or None, file_format="array_record")
    if not builder.data_path.exists():
        with _locked(Path(builder.data_path)), _quiet():
            # The one that held the lock may have prepared it: a new builder looks again.
            builder = BUILDERS[name](data_dir=data_dir or None, file_format="array_record")
            builder.download_and_prepare()
        print(summary(builder), file=sys.stderr)
    return builder


def load_split(name: str, data_dir: str, split: str) -> Sequence[Mapping[str, Any]]:
    """The records of a split in random access, the data set prepared if need be; `to_score` reads a record.

    Raises:
        UserError: an unknown data set or split; the message has the nearest ones.
    """
    builder = prepare(name, data_dir)
    if split not in builder.info.splits:
        raise UserError(f"{name} has no split {split!r}: {nearest(split, builder.info.splits)}")
    return builder.as_data_source(split)


@functools.cache
def list_styles(name: str, data_dir: str) -> tuple[str, ...]:
    """The labels of style that the pieces of a data set have, over all its splits, sorted; the data set is prepared.

    A style's number, where an attribute wants one, is its place here: it depends on the data set alone.
    """
    builder = prepare(name, data_dir)
    splits = (builder.as_data_source(split) for split in builder.info.splits)
    found = {to_score(record).style for records in splits for record in records}
    return tuple(sorted(found - {""}))


def summary(builder: tfds.core.GeneratorBasedBuilder) -> str:
    """One line: the sizes of the splits, and what was refused or left out, by reason."""
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    metadata = builder.info.metadata
    refused = ", ".join(f"{number} {reason}" for reason, number in metadata["refused"].items())
    return f"{builder.info.full_name}: {sizes}; refused: {refused or 'none'}; left out: {len(metadata['left_out'])}"


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the data set's lock, and removes what a killed preparation left beside the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
        for leftover in target.parent.glob(f"incomplete.*_{target.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's own progress bars, log lines and talk of downloads off the terminal; the builder has one bar."""
    verbosity = logging.get_verbosity()
    tfds.disable_progress_bar()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
