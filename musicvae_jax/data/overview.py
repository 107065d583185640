"""What a prepared data set holds, what the codecs keep of it and what was refused, as tables to print."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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


def overview(builder: tfds.core.GeneratorBasedBuilder, measures: int, sample: int, seconds: float | None) -> str:
    """Two tables: what the codecs keep, and one row for the README.

    Args:
        builder: of a prepared data set.
        measures: in a window.
        sample: the most pieces to read, at even distances over all splits; at least 1.
        seconds: of the preparation, or None if it was done before.
    """
    splits = {name: builder.as_data_source(name) for name in builder.info.splits}
    records, total = _sample(list(splits.values()), sample), sum(map(len, splits.values()))
    num_windows = sum(-(-len(record["measures"]) // measures) for record in records)
    kept = {name: kept_shares(_scores(records, track), codec) for name, (codec, track) in CODECS.items()}
    width = max(map(len, kept))
    lines = [f"kept, of {len(records):,} pieces; notes, onsets and velocities of the pieces that the codec takes"]
    lines.append(f"{'codec':<{width}}" + "".join(f"{name:>12}" for name in _SHARES))
    for name, shares in kept.items():
        cells = [f"{shares[share]:.2%}" if share == "pieces" or shares["pieces"] else "-" for share in _SHARES]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    about = "" if len(records) == total else "about "
    refused = builder.info.metadata["refused"].items()
    row = {
        "data set": builder.info.full_name,
        "pieces": f"{total:,} ({', '.join(f'{name} {len(split):,}' for name, split in splits.items())})",
        f"windows of {measures} measures": f"{about}{round(num_windows * total / len(records)):,}",
        "notes kept (performance)": f"{kept['performance']['notes']:.2%}",
        "refused": ", ".join(f"{number:,} {reason}" for reason, number in refused) or "none",
        "preparation": "done before" if seconds is None else f"{seconds:.1f} s",
    }
    widths = [max(len(name), len(value)) for name, value in row.items()]
    table = (row.keys(), ["-" * width for width in widths], row.values())
    return "\n".join([*lines, "", *("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in table)])


def _sample(splits: Sequence[Sequence[Any]], sample: int) -> list[Mapping[str, Any]]:
    starts = np.cumsum([0, *map(len, splits)])
    total = int(starts[-1])
    numbers = np.arange(min(sample, total)) * total // min(sample, total)
    split_of = np.searchsorted(starts, numbers, side="right") - 1
    return [splits[split][int(number - starts[split])] for split, number in zip(split_of, numbers, strict=True)]


def _scores(records: Sequence[Mapping[str, Any]], track: str) -> Iterator[Score]:
    """The scores of a track. A piece without it is returned whole: the codec refuses it, and so it is counted."""
    for record in records:
        try:
            yield piece_score(record, track)
        except MusicError:
            yield piece_score(record, "")


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
