"""What is told about a folder that was prepared: refusals, and music that the splits share."""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.files import format_refusals
from musicvae_jax.data.datasets.folder_pieces import SIGNATURE_BYTES, FolderPiece, FolderRefusal
from musicvae_jax.data.datasets.pieces import SHARES

REFUSALS = "refusals.json"
REPORT = "report.json"  # what a Beam pipeline says to `MidiFolder`
SPLITS = tuple(SHARES)


class RefusalWriter:
    """Writes refusals to a JSON list as they come, and counts them; memory holds the counts alone."""

    def __init__(self, path: Path):
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self.counts: Counter[str] = Counter()

    def add(self, refusal: FolderRefusal) -> None:
        self._file.write("[\n" if not self.counts else ",\n")
        entry = {name: value for name, value in refusal._asdict().items() if name != "order"}
        json.dump(entry, self._file, ensure_ascii=False)
        self.counts[refusal.reason] += 1

    def close(self) -> None:
        self._file.write("\n]\n" if self.counts else "[]\n")
        self._file.close()


class SharedWindows:
    """Which pieces share a window of 4 measures, in any key, with a piece of another split: 13 bytes a window."""

    def __init__(self) -> None:
        self._signature, self._piece = array("Q"), array("I")
        self._split = array("B")  # of each piece

    def add(self, piece: FolderPiece) -> None:
        self._signature.frombytes(piece.signatures)
        self._piece.extend([len(self._split)] * (len(piece.signatures) // SIGNATURE_BYTES))
        self._split.append(SPLITS.index(piece.split))

    def counts(self) -> dict[str, int]:
        """Split -> how many of its pieces do."""
        split = np.array(self._split, np.uint8)
        shared = np.zeros(len(split), bool)
        if len(self._signature):
            signature, piece = np.array(self._signature, np.uint64), np.array(self._piece, np.int64)
            order = np.argsort(signature, kind="stable")
            signature, piece = signature[order], piece[order]
            first = np.flatnonzero(np.append(True, signature[1:] != signature[:-1]))
            lowest, highest = (split_of.reduceat(split[piece], first) for split_of in (np.minimum, np.maximum))
            group = np.repeat(lowest != highest, np.diff(np.append(first, len(piece))))
            shared[piece[group]] = True
        return {name: int((shared & (split == number)).sum()) for number, name in enumerate(SPLITS)}


def metadata(
    state: Mapping[str, Any], sizes: Mapping[str, int], refused: Mapping[str, int], shared: Mapping[str, int]
) -> dict[str, Any]:
    """What the data set says about itself.

    Args:
        state: of the folder: path, files, bytes, digest.
        sizes: split -> pieces.
        refused: reason -> refusals.
        shared: split -> pieces that share a window with another split, from `SharedWindows.counts`.
    """
    return {
        **state,
        "refused": dict(sorted(refused.items())),
        "left_out": [],
        "shared_windows": {
            name: {"pieces": shared.get(name, 0), "share": round(shared.get(name, 0) / sizes[name], 4)}
            for name in SPLITS
            if sizes.get(name)
        },
    }


def write_refusals(refusals: Iterable[FolderRefusal], path: Path) -> Counter[str]:
    """Writes all refusals in order; returns how many there are of each reason."""
    writer = RefusalWriter(path)
    for refusal in sorted(refusals):
        writer.add(refusal)
    writer.close()
    return writer.counts


def refusal_table(folder: Path, metadata: Mapping[str, Any], rows: int = 40) -> str:
    """The refusals of a prepared data set as a table of so many rows, and the counts of all; "" for none.

    Args:
        folder: the data set's; of a folder of music, `REFUSALS` in it says most.
        metadata: the data set's; of others it says ids and reasons.
        rows: at most so many.
    """
    path = folder / REFUSALS
    if path.is_file():
        entries = json.loads(path.read_text("utf-8"))
        refusals = [MusicError(entry["file"], entry["place"], entry["reason"], entry["detail"]) for entry in entries]
    else:
        refusals = [MusicError(id, "piece", reason, "") for id, reason in metadata.get("refused_ids", {}).items()]
    if len(refusals) <= rows:
        return format_refusals(refusals)
    *shown, _ = format_refusals(refusals[:rows]).split("\n")
    *_, total = format_refusals(refusals).rsplit("\n", 1)
    return "\n".join([*(line.rstrip() for line in shown), f"... and {len(refusals) - rows} more", total])
