"""Data sets by name: prepares them once, then gives the records of their splits in random access."""

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
from musicvae_jax.files import disk_refusal

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    builder.name: builder for builder in (BachChorales, DMelodies, FolkTunes, MidiFolder, Pop909)
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
    """Prepares a data set if that has not been done.

    The data set appears by one rename when it is complete. Of several processes that prepare the same data set, one
    does it and the others wait.

    Args:
        name: a key of `BUILDERS`, or ``"name/config"`` for a builder with configs.
        data_dir: where prepared data sets are; ``""`` is TFDS's default, ``~/tensorflow_datasets``.
        manual_dir: the user's folder with the sources, for builders that read one. Not needed once prepared.
        path: midi_folder only: the folder. Once prepared, it is only compared with what was prepared.
        refresh: prepare again. The earlier data set is removed when the new one is complete.
        num_processes: midi_folder only: processes that read; the default is the number of cores.
        beam: midi_folder only: prepare with Apache Beam and these pipeline options, e.g. ``["--runner=FlinkRunner"]``.

    Returns:
        The builder. ``builder.info.splits`` has the splits, ``builder.info.metadata`` the counts of refusals.

    Raises:
        UserError: an unknown name; a `manual_dir` or `path` that does not exist or lacks the sources; an option of
            another data set; the disk is full or refuses to be written. Nothing half-written stays.
    """
    make_builder = functools.partial(_make_builder, name, data_dir, path, num_processes)
    builder = make_builder()
    if beam is not None and not path:
        raise UserError(f"{name} is not prepared with Beam: allowed is midi_folder")
    target = Path(builder.data_path)
    if refresh or not target.exists():
        with _naming_disk(target), _locked(target), _quiet():
            if manual_dir and not Path(manual_dir).expanduser().is_dir():
                raise UserError(f"manual_dir = {manual_dir!r}: no such folder")
            options = tfds.download.DownloadConfig(manual_dir=manual_dir or None)
            if beam is not None:
                options.beam_options = _beam_options(beam)
            with _replaced(target) if refresh else contextlib.nullcontext():
                # Made anew: another process may have prepared the data set while this one waited for the lock.
                builder = make_builder()
                builder.download_and_prepare(download_config=options)
        print(summary(builder), file=sys.stderr)
    elif path:
        _warn_if_changed(builder)
    return builder


def split_records(builder: tfds.core.GeneratorBasedBuilder, split: str) -> Sequence[Mapping[str, Any]]:
    """The records of a split of a prepared data set, in random access; `records.to_score` reads them.

    Raises:
        UserError: an unknown split.
    """
    if split not in builder.info.splits:
        raise UserError(f"{builder.name} has no split {split!r}: {nearest(split, builder.info.splits)}")
    return builder.as_data_source(split)


@functools.cache
def list_styles(name: str, data_dir: str, manual_dir: str = "", path: str = "") -> tuple[str, ...]:
    """The different styles of all pieces of a data set, sorted; arguments as for `prepare`.

    The attribute ``style`` is an index into this tuple, so it means the same in all splits.
    """
    builder = prepare(name, data_dir, manual_dir, path)
    splits = (builder.as_data_source(split) for split in builder.info.splits)
    return tuple(sorted({to_score(record).style for records in splits for record in records} - {""}))


def summary(builder: tfds.core.GeneratorBasedBuilder) -> str:
    """One line: the sizes of the splits, and how many pieces were refused, by reason, and left out."""
    sizes = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    metadata = builder.info.metadata
    refused = ", ".join(f"{number} {reason}" for reason, number in metadata["refused"].items())
    return f"{builder.info.full_name}: {sizes}; refused: {refused or 'none'}; left out: {len(metadata['left_out'])}"


def _make_builder(name: str, data_dir: str, path: str, num_processes: int | None) -> tfds.core.GeneratorBasedBuilder:
    dataset, _, config = name.partition("/")
    if dataset not in BUILDERS:
        raise UserError(f"no data set {name!r}: {nearest(name, BUILDERS)}")
    builder_class = BUILDERS[dataset]
    options = {"data_dir": data_dir or None, "file_format": "array_record"}
    if issubclass(builder_class, MidiFolder):
        if config or not path:
            raise UserError(f"{name} needs the path of a folder, and has no configs: --path DIR, or --data.path DIR")
        with _quiet():  # TFDS warns of a config that is not in BUILDER_CONFIGS
            return builder_class(config=FolderConfig.of(path, num_processes), **options)
    if path:
        raise UserError(f"path = {path!r} is for midi_folder, the data set is {name}")
    if config and config not in builder_class.builder_configs:
        known = nearest(config, builder_class.builder_configs) if builder_class.builder_configs else "it has none"
        raise UserError(f"{dataset} has no config {config!r}: {known}")
    return builder_class(config=config or None, **options)


def _warn_if_changed(builder: tfds.core.GeneratorBasedBuilder) -> None:
    """Warns if the folder differs from the one that was prepared."""
    metadata = builder.info.metadata
    folder = Path(metadata["path"])
    state = scan(folder) if folder.is_dir() else None
    if state is None or state.digest == metadata["digest"]:
        return
    then = f"{metadata['files']} files of {metadata['bytes']:,} bytes"
    _print_once(
        f"warning: {folder} has changed since {builder.info.full_name} was prepared (then {then}, now {state}); the "
        f"prepared data set is used. To read the folder again: prepare.py midi-folder --path {folder} --refresh"
    )


@functools.cache
def _print_once(text: str) -> None:
    print(text, file=sys.stderr)


def _beam_options(options: Sequence[str]) -> Any:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions  # type: ignore[import-not-found]
    except ImportError:
        raise UserError("Apache Beam is not installed: pip install apache-beam, or leave out --beam") from None
    return PipelineOptions(list(options))


@contextlib.contextmanager
def _naming_disk(target: Path) -> Iterator[None]:
    """An error of the disk in one line, whichever library met it."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        refusal = disk_refusal(error)
        if isinstance(error, UserError) or getattr(error, "filename", None) or not refusal:
            raise
        raise UserError(f"cannot write {target}: {refusal}; allowed is another data_dir, with space") from error


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lock of a data set, and removes what a killed preparation left beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also if the process is killed
        for leftover in target.parent.glob(f"incomplete.*_{target.name}"):
            shutil.rmtree(leftover, ignore_errors=True)
        _restore(target)  # a refresh was killed
        yield


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[None]:
    """Moves a data set away; moves it back if no new one takes its place."""
    if target.exists():
        target.rename(_former(target))
    try:
        yield
    finally:
        _restore(target)


def _restore(target: Path) -> None:
    if _former(target).exists() and not target.exists():
        _former(target).rename(target)
    shutil.rmtree(_former(target), ignore_errors=True)


def _former(target: Path) -> Path:
    return target.parent / f".former_{target.name}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides TFDS's progress bars, log and prints; the builders have their own progress bar."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
