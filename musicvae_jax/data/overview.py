"""What a prepared data set holds, what the codecs keep of it and what was refused, as tables to print."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.codec import Codec, MelodyCodec, MusicError, PerformanceCodec, Score, VoicesCodec, kept_shares
from musicvae_jax.codec.files import format_refusals
from musicvae_jax.data.datasets.folder_report import REFUSALS
from musicvae_jax.data.piece_index import piece_score

CODECS: dict[str, tuple[Codec, str]] = {  # with the track that each takes
    "melody (skyline)": (MelodyCodec(), "skyline"),
    "voices": (VoicesCodec(), ""),
    "performance": (PerformanceCodec(tracks=16), ""),
}
_SHARES = ("pieces", "notes", "onsets", "velocities")


class Overview(NamedTuple):
    """The figures of a data set."""

    name: str
    pieces: dict[str, int]  # split -> number
    measures: int  # in a window
    num_windows: int  # without overlap; estimated from the sample
    sample: int  # number of pieces that were read
    kept: dict[str, dict[str, float]]  # codec -> shares of the sample, see `kept_shares`
    refused: dict[str, int]  # reason -> number


def overview(builder: tfds.core.GeneratorBasedBuilder, measures: int, sample: int) -> Overview:
    """Reads a sample of pieces, at even distances over all splits.

    Args:
        builder: of a prepared data set.
        measures: in a window.
        sample: the most pieces to read, at least 1.
    """
    splits = [builder.as_data_source(split) for split in builder.info.splits]
    starts = np.cumsum([0, *map(len, splits)])
    total, sample = int(starts[-1]), min(sample, int(starts[-1]))
    records = []
    for number in np.arange(sample) * total // sample:
        split = int(np.searchsorted(starts, number, side="right")) - 1
        records.append(splits[split][int(number - starts[split])])
    num_windows = sum(-(-len(record["measures"]) // measures) for record in records)
    return Overview(
        builder.info.full_name,
        {name: split.num_examples for name, split in builder.info.splits.items()},
        measures,
        round(num_windows * total / sample),
        sample,
        {name: kept_shares(_scores(records, track), codec) for name, (codec, track) in CODECS.items()},
        dict(builder.info.metadata["refused"]),
    )


def _scores(records: Sequence[Mapping[str, Any]], track: str) -> Iterator[Score]:
    """The scores of a track. A piece without it is returned whole: the codec refuses it, and so it is counted."""
    for record in records:
        try:
            yield piece_score(record, track)
        except MusicError:
            yield piece_score(record, "")


def format_overview(found: Overview, seconds: float | None) -> str:
    """Two tables: what the codecs keep, and one row for the README.

    Args:
        found: the figures.
        seconds: of the preparation, or None if it was done before.
    """
    width = max(map(len, found.kept))
    total = sum(found.pieces.values())
    about = "" if found.sample == total else "about "
    lines = [f"kept, of {found.sample:,} pieces; notes, onsets and velocities of the pieces that the codec takes"]
    lines.append(f"{'codec':<{width}}" + "".join(f"{name:>12}" for name in _SHARES))
    for name, shares in found.kept.items():
        cells = [f"{shares[share]:.2%}" if share == "pieces" or shares["pieces"] else "-" for share in _SHARES]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    row = {
        "data set": found.name,
        "pieces": f"{total:,} ({', '.join(f'{name} {number:,}' for name, number in found.pieces.items())})",
        f"windows of {found.measures} measures": f"{about}{found.num_windows:,}",
        "notes kept (performance)": f"{found.kept['performance']['notes']:.2%}",
        "refused": ", ".join(f"{number:,} {reason}" for reason, number in found.refused.items()) or "none",
        "preparation": "done before" if seconds is None else f"{seconds:.1f} s",
    }
    widths = [max(len(name), len(value)) for name, value in row.items()]
    table = (row.keys(), ["-" * width for width in widths], row.values())
    return "\n".join([*lines, "", *("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in table)])


def refusal_table(folder: Path, metadata: Mapping[str, Any], max_rows: int = 40) -> str:
    """The refusals of a prepared data set as a table, with the counts of all by reason; "" if there are none.

    Args:
        folder: of the data set. A folder of music has file, place and detail of each refusal there, in `REFUSALS`.
        metadata: of the data set. Other data sets have ids and reasons there.
        max_rows: of the table.
    """
    path = folder / REFUSALS
    if path.is_file():
        entries = json.loads(path.read_text("utf-8"))
        refusals = [MusicError(entry["file"], entry["place"], entry["reason"], entry["detail"]) for entry in entries]
    else:
        refusals = [MusicError(id, "piece", reason, "") for id, reason in metadata.get("refused_ids", {}).items()]
    if len(refusals) <= max_rows:
        return format_refusals(refusals)
    *shown, _ = format_refusals(refusals[:max_rows]).split("\n")
    *_, total = format_refusals(refusals).rsplit("\n", 1)
    return "\n".join([*(line.rstrip() for line in shown), f"... and {len(refusals) - max_rows} more", total])
