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
from musicvae_jax.data.datasets.bach_chorales import BachChorales
from musicvae_jax.data.datasets.dmelodies import DMelodies
from musicvae_jax.data.datasets.folder_files import scan
from musicvae_jax.data.datasets.folk_tunes import FolkTunes
from musicvae_jax.data.datasets.midi_folder import FolderConfig, MidiFolder
from musicvae_jax.data.datasets.pop909 import Pop909
from musicvae_jax.data.records import to_score

__all__ = [
    "BUILDERS",
    "BachChorales",
    "DMelodies",
    "FolkTunes",
    "MidiFolder",
    "Pop909",
    "list_styles",
    "load_split",
    "prepare",
    "split_records",
    "summary",
    "to_score",
]

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "bach_chorales": BachChorales,
    "dmelodies": DMelodies,
    "folk_tunes": FolkTunes,
    "midi_folder": MidiFolder,
    "pop909": Pop909,
}


def prepare(
    name: str,
    data_dir: str = "",
    manual_dir: str = "",
    path: str = "",
    *,
    refresh: bool = False,
    num_processes: int | None = None,
    beam: Sequence[str] | None = None,
) -> tfds.core.GeneratorBasedBuilder:
    """Makes a data set ready to read; does nothing when it is.

    The data set appears in one rename, when it is whole. Processes that prepare the same one take turns.

    Args:
        name: a key of `BUILDERS`, for a builder with configs also ``"name/config"``.
        data_dir: where prepared data sets live; ``""`` is TFDS's own default, ``~/tensorflow_datasets``.
        manual_dir: the folder with what the user has put there, for the builders that read one; once the data set is
            prepared, it is not looked at.
        path: midi_folder's folder. Once prepared, it is looked at only to say when it has changed.
        refresh: prepare anew; what was prepared before goes when the new data set is whole.
        num_processes: midi_folder's readers; defaults to the number of cores.
        beam: midi_folder only: prepare with Apache Beam and these pipeline options, e.g. ``["--runner=FlinkRunner"]``.

    Returns:
        The builder; ``builder.info.splits`` names the splits, ``builder.info.metadata`` what was refused.

    Raises:
        UserError: an unknown name, with the nearest ones; a `manual_dir` or `path` that is not there, or lacks what is
            read; options of another data set.
    """
    builder = _builder(name, data_dir, path, num_processes)
    if beam is not None and not path:
        raise UserError(f"{name} is not prepared with Beam: allowed is midi_folder")
    if refresh or not builder.data_path.exists():
        with _locked(Path(builder.data_path)), _quiet():
            if manual_dir and not Path(manual_dir).expanduser().is_dir():
                raise UserError(f"manual_dir = {manual_dir!r}: no such folder")
            # The one that held the lock may have prepared it: a new builder looks again.
            builder = _builder(name, data_dir, path, num_processes)
            options = tfds.download.DownloadConfig(manual_dir=manual_dir or None)
            if beam is not None:
                options.beam_options = _beam_options(beam)
            with _replaced(Path(builder.data_path)) if refresh else contextlib.nullcontext():
                builder = _builder(name, data_dir, path, num_processes)
                builder.download_and_prepare(download_config=options)
        print(summary(builder), file=sys.stderr)
    elif path:
        _say_if_changed(builder)
    return builder


def load_split(
    name: str, data_dir: str, split: str, manual_dir: str = "", path: str = ""
) -> Sequence[Mapping[str, Any]]:
    """The records of a split in random access, the data set prepared if need be; `to_score` reads a record.

    Raises:
        UserError: an unknown data set or split; the message has the nearest ones.
    """
    return split_records(prepare(name, data_dir, manual_dir, path), split)


def split_records(builder: tfds.core.GeneratorBasedBuilder, split: str) -> Sequence[Mapping[str, Any]]:
    """The records of a split of a prepared data set in random access.

    Raises:
        UserError: an unknown split; the message has the nearest ones.
    """
    if split not in builder.info.splits:
        raise UserError(f"{builder.name} has no split {split!r}: {nearest(split, builder.info.splits)}")
    return builder.as_data_source(split)


@functools.cache
def list_styles(name: str, data_dir: str, manual_dir: str = "", path: str = "") -> tuple[str, ...]:
    """The labels of style that the pieces of a data set have, over all its splits, sorted; the data set is prepared.

    A style's number, where an attribute wants one, is its place here: it depends on the data set alone.
    """
    builder = prepare(name, data_dir, manual_dir, path)
    splits = (builder.as_data_source(split) for split in builder.info.splits)
    found = {to_score(record).style for records in splits for record in records}
    return tuple(sorted(found - {""}))


def summary(builder: tfds.core.GeneratorBasedBuilder) -> str:
    """One line: the sizes of the splits, and what was refused or left out, by reason."""
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    metadata = builder.info.metadata
    refused = ", ".join(f"{number} {reason}" for reason, number in metadata["refused"].items())
    return f"{builder.info.full_name}: {sizes}; refused: {refused or 'none'}; left out: {len(metadata['left_out'])}"


def _builder(
    name: str, data_dir: str, path: str = "", num_processes: int | None = None
) -> tfds.core.GeneratorBasedBuilder:
    dataset, _, config = name.partition("/")
    if dataset not in BUILDERS:
        raise UserError(f"no data set {name!r}: {nearest(name, BUILDERS)}")
    kind = BUILDERS[dataset]
    if issubclass(kind, MidiFolder):
        if config or not path:
            raise UserError(f"{name} needs the path of a folder, and has no configs: --path DIR, or --data.path DIR")
        folder = FolderConfig.of(path, num_processes)
        with _no_log():  # TFDS warns of every config that is not on its list
            return kind(config=folder, data_dir=data_dir or None, file_format="array_record")
    if path:
        raise UserError(f"path = {path!r} is for midi_folder, the data set is {name}")
    if config and config not in kind.builder_configs:
        known = nearest(config, kind.builder_configs) if kind.builder_configs else "it has none"
        raise UserError(f"{dataset} has no config {config!r}: {known}")
    return kind(config=config or None, data_dir=data_dir or None, file_format="array_record")


def _say_if_changed(builder: tfds.core.GeneratorBasedBuilder) -> None:
    """A line on standard error when the folder is no longer what was prepared; nothing is read anew."""
    metadata = builder.info.metadata
    folder = Path(metadata["path"])
    state = scan(folder) if folder.is_dir() else None
    if state is None or state.digest == metadata["digest"]:
        return
    then = f"{metadata['files']} files of {metadata['bytes']:,} bytes"
    _warn(
        f"{folder} has changed since {builder.info.full_name} was prepared (then {then}, now {state}); what was "
        f"prepared is used. To read the folder anew: prepare.py midi-folder --path {folder} --refresh"
    )


@functools.cache
def _warn(text: str) -> None:
    """Says it once, however often the data set is opened."""
    print(f"warning: {text}", file=sys.stderr)


def _beam_options(options: Sequence[str]) -> Any:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions  # type: ignore[import-not-found]
    except ImportError:
        raise UserError("Apache Beam is not installed: pip install apache-beam, or leave out --beam") from None
    return PipelineOptions(list(options))


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the data set's lock, and removes what a killed preparation left beside the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
        for leftover in target.parent.glob(f"incomplete.*_{target.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        if _former(target).exists() and not target.exists():
            _former(target).rename(target)  # a refresh was killed
        shutil.rmtree(_former(target), ignore_errors=True)
        yield


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[None]:
    """Puts a data set aside; it comes back where no new one takes its place."""
    if target.exists():
        target.rename(_former(target))
    try:
        yield
    finally:
        if _former(target).exists() and not target.exists():
            _former(target).rename(target)
        shutil.rmtree(_former(target), ignore_errors=True)


def _former(target: Path) -> Path:
    return target.parent / f".former_{target.name}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's own progress bars, log lines and talk of downloads off the terminal; the builder has one bar."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()), _no_log():
            yield
    finally:
        tfds.enable_progress_bar()


@contextlib.contextmanager
def _no_log() -> Iterator[None]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
