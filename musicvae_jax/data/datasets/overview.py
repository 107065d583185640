"""What a prepared data set holds and what the codecs keep of it, as tables to print."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.codec import Codec, MelodyCodec, MusicError, PerformanceCodec, Score, VoicesCodec, kept_shares
from musicvae_jax.data.piece_index import piece_score

CODECS: dict[str, tuple[Codec, str]] = {
    "melody (skyline)": (MelodyCodec(), "skyline"),
    "voices": (VoicesCodec(), ""),
    "performance": (PerformanceCodec(tracks=16), ""),
}
_SHARES = ("pieces", "notes", "onsets", "velocities")


class Overview(NamedTuple):
    """The figures of a data set."""

    name: str
    pieces: dict[str, int]  # split -> number
    windows: int  # of `measures` measures, one after the other
    measures: int
    read: int  # pieces over which the windows were counted and the shares measured
    kept: dict[str, dict[str, float]]  # codec -> shares, see `kept_shares`; "notes" of all the pieces' notes
    refused: dict[str, int]  # reason -> number


def overview(builder: tfds.core.GeneratorBasedBuilder, measures: int, sample: int) -> Overview:
    """Reads up to so many pieces, spread evenly over all splits; the windows of the others are estimated from them.

    Args:
        builder: of a prepared data set.
        measures: in a window.
        sample: pieces to read, at least 1.
    """
    sources = [builder.as_data_source(split) for split in builder.info.splits]
    total = sum(map(len, sources))
    chosen = np.arange(min(sample, total)) * total // min(sample, total)
    records = [_record(sources, number) for number in chosen.tolist()]
    windows = sum(-(-len(record["measures"]) // measures) for record in records)
    return Overview(
        builder.info.full_name,
        {name: split.num_examples for name, split in builder.info.splits.items()},
        round(windows * total / len(records)),
        measures,
        len(records),
        {name: kept_shares(_melodies(records, track), codec) for name, (codec, track) in CODECS.items()},
        dict(builder.info.metadata["refused"]),
    )


def format_overview(found: Overview, seconds: float | None) -> str:
    """Two tables: what the codecs keep, and a row of everything.

    Args:
        found: the figures.
        seconds: that the preparation took, or None if it was done before.
    """
    width = max(map(len, found.kept))
    total = sum(found.pieces.values())
    about = "" if found.read == total else "about "
    lines = [f"kept, of {found.read:,} pieces; notes, onsets and velocities of the pieces that the codec takes"]
    lines.append(f"{'codec':<{width}}" + "".join(f"{name:>12}" for name in _SHARES))
    for name, shares in found.kept.items():
        cells = [f"{shares[share]:.2%}" if share == "pieces" or shares["pieces"] else "-" for share in _SHARES]
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    row = {
        "data set": found.name,
        "pieces": f"{total:,} ({', '.join(f'{name} {number:,}' for name, number in found.pieces.items())})",
        f"windows of {found.measures} measures": f"{about}{found.windows:,}",
        "notes kept (performance)": f"{found.kept['performance']['notes']:.2%}",
        "refused": ", ".join(f"{number:,} {reason}" for reason, number in found.refused.items()) or "none",
        "preparation": "done before" if seconds is None else f"{seconds:.1f} s",
    }
    return "\n".join([*lines, "", *_markdown(row)])


def _markdown(row: Mapping[str, str]) -> list[str]:
    widths = [max(len(name), len(value)) for name, value in row.items()]
    cells = (row.keys(), ["-" * width for width in widths], row.values())
    return ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]


def _record(sources: Sequence[Sequence[Any]], number: int) -> Mapping[str, Any]:
    for source in sources:
        if number < len(source):
            return source[number]
        number -= len(source)
    raise IndexError(number)


def _melodies(records: Sequence[Mapping[str, Any]], track: str) -> Iterator[Score]:
    """The scores; the whole piece where it has no such melody, which the codec then counts as refused."""
    for record in records:
        try:
            yield piece_score(record, track)
        except MusicError:
            yield piece_score(record, "")
