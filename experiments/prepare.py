"""Prepares a data set, and prints what is in it, what was refused and how much the codecs keep.

Examples:
    python experiments/prepare.py folk-tunes
    python experiments/prepare.py midi-folder --path ~/music --num-processes 8
    python experiments/prepare.py midi-folder --path /shared/music --data-dir /shared/data --beam \
        --beam-options=--runner=FlinkRunner --beam-options=--flink_master=host:8081
"""

from commandline import check_first_word, run

import functools
import time
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import UseAppendAction

from musicvae_jax.config.checks import check

MEASURES = 8  # of the windows that are counted


def main() -> int:
    """Parses the command line and calls one of the functions below."""
    commands = {
        "folk-tunes": functools.partial(prepare_named, "folk_tunes"),
        "bach-chorales": functools.partial(prepare_named, "bach_chorales"),
        "pop909": functools.partial(prepare_named, "pop909"),
        "dmelodies": functools.partial(prepare_named, "dmelodies"),
        "midi-folder": prepare_folder,
    }
    check_first_word(commands, "data set")
    return tyro.extras.subcommand_cli_from_dict(commands, description=__doc__)  # type: ignore[arg-type]


def prepare_named(
    name: tyro.conf.Suppress[str],
    /,
    *,
    data_dir: str = "",
    manual_dir: str = "",
    refresh: bool = False,
    sample: int = 1000,
) -> int:
    """Prepares one of the data sets of this package.

    Args:
        name: the data set.
        data_dir: where prepared data sets are; default: TFDS's own.
        manual_dir: a folder with the sources of the data set, if they are not to be downloaded.
        refresh: prepare again and replace the earlier data set.
        sample: number of pieces over which the shares that the codecs keep are measured.
    """
    return _prepare_and_report(name, data_dir, sample, manual_dir=manual_dir, refresh=refresh)


def prepare_folder(
    *,
    path: str,
    data_dir: str = "",
    num_processes: int | None = None,
    refresh: bool = False,
    beam: bool = False,
    beam_options: UseAppendAction[tuple[str, ...]] = (),
    sample: int = 1000,
) -> int:
    """Prepares a folder of MIDI, ABC and MusicXML.

    Args:
        path: the folder.
        data_dir: where prepared data sets are; default: TFDS's own.
        num_processes: processes that read; default: one per core.
        refresh: prepare again and replace the earlier data set.
        beam: prepare with Apache Beam; every split must get a piece.
        beam_options: a pipeline option of Beam, e.g. --runner=FlinkRunner; may be repeated.
        sample: number of pieces over which the shares that the codecs keep are measured.
    """
    options = list(beam_options) if beam or beam_options else None
    return _prepare_and_report(
        "midi_folder", data_dir, sample, path=path, refresh=refresh, num_processes=num_processes, beam=options
    )


def _prepare_and_report(name: str, data_dir: str, sample: int, **options: Any) -> int:
    from musicvae_jax.data.overview import overview, refusal_table
    from musicvae_jax.data.prepare import prepare

    check(sample > 0, "sample", sample, "1 or more")
    start = time.time()
    builder = prepare(name, data_dir, **options)
    seconds, folder = time.time() - start, Path(builder.data_path)
    is_new = (folder / "dataset_info.json").stat().st_mtime > start
    if table := refusal_table(folder, builder.info.metadata):
        print(f"{table}\n")
    for split, shared in builder.info.metadata.get("shared_windows", {}).items():
        print(f"{split}: {shared['pieces']} pieces ({shared['share']:.1%}) share 4 measures with another split")
    print(overview(builder, MEASURES, sample, seconds if is_new else None))
    print(f"\nin {folder}")
    return 0


if __name__ == "__main__":
    run(main)
