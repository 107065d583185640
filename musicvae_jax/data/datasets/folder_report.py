"""What is reported about a folder of music: what was refused, and how much music the splits share."""

import json
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from musicvae_jax.data.datasets.folder_pieces import SIGNATURE_BYTES, FolderPiece, FolderRefusal
from musicvae_jax.data.splits import SHARES

REFUSALS = "refusals.json"
REPORT = "report.json"  # from a Beam pipeline to `MidiFolder`
SPLITS = tuple(SHARES)


class RefusalWriter:
    """Writes refusals to a JSON list one by one, and counts them by reason; memory holds the counts only."""

    def __init__(self, path: Path):
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self.counts: Counter[str] = Counter()

    def add(self, refusal: FolderRefusal) -> None:
        self._file.write("[\n" if not self.counts else ",\n")
        entry = {name: value for name, value in refusal._asdict().items() if name not in ("order", "tunes")}
        json.dump(entry, self._file, ensure_ascii=False)
        self.counts[refusal.reason] += refusal.tunes

    def close(self) -> None:
        self._file.write("\n]\n" if self.counts else "[]\n")
        self._file.close()


class SharedWindows:
    """Counts pieces that share a window of 4 measures, in any key, with another split; uses 13 bytes per window."""

    def __init__(self) -> None:
        self._signature, self._piece = array("Q"), array("I")  # of each window
        self._split = array("B")  # of each piece

    def add(self, piece: FolderPiece) -> None:
        self._signature.frombytes(piece.signatures)
        self._piece.extend([len(self._split)] * (len(piece.signatures) // SIGNATURE_BYTES))
        self._split.append(SPLITS.index(piece.split))

    def counts(self) -> dict[str, int]:
        """Split -> number of its pieces that share a window with another split."""
        split = np.array(self._split, np.uint8)
        shared = np.zeros(len(split), bool)
        if len(self._signature):
            signature, piece = np.array(self._signature, np.uint64), np.array(self._piece, np.int64)
            order = np.argsort(signature, kind="stable")
            signature, piece = signature[order], piece[order]
            starts = np.flatnonzero(np.append(True, signature[1:] != signature[:-1]))  # of groups of equal signatures
            lowest, highest = (ufunc.reduceat(split[piece], starts) for ufunc in (np.minimum, np.maximum))
            in_two_splits = np.repeat(lowest != highest, np.diff(np.append(starts, len(piece))))
            shared[piece[in_two_splits]] = True
        return {name: int((shared & (split == number)).sum()) for number, name in enumerate(SPLITS)}


def metadata(
    state: Mapping[str, Any], sizes: Mapping[str, int], refused: Mapping[str, int], shared: Mapping[str, int]
) -> dict[str, Any]:
    """The metadata of the data set.

    Args:
        state: path, files, bytes and digest of the folder.
        sizes: split -> number of pieces.
        refused: reason -> number of refusals.
        shared: split -> number of pieces, from `SharedWindows.counts`.
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
