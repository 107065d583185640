"""What the builders have in common between a source and the records of its splits."""

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musicvae_jax.codec.grid_codec import MelodyCodec
from musicvae_jax.data.splits import assign, component_sizes, components

# The default melody grid, but with room for every metre: a codec with more slots may use the long ones.
GRID = MelodyCodec(slots=64)
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


class Piece(NamedTuple):
    """A piece that was read."""

    record: dict[str, Any]
    signatures: list[bytes]  # of the melody's windows, see `splits.window_signatures`
    notes: Mapping[str, int] = {}  # notes found, and lost by reason, where the builder counts them


class Refusal(NamedTuple):
    """A piece that was not."""

    id: str
    reason: str


def sort_out(read: Sequence[Piece | Refusal]) -> tuple[list[Piece], list[Refusal]]:
    """The pieces whose notes and measures no earlier piece has, and everything else as refusals."""
    seen: set[bytes] = set()
    kept: list[Piece] = []
    refused = [item for item in read if isinstance(item, Refusal)]
    for piece in read:
        if isinstance(piece, Refusal):
            continue
        key = piece.record["notes"].tobytes() + piece.record["measures"].tobytes()
        if key in seen:
            refused.append(Refusal(piece.record["id"], "duplicate"))
        else:
            kept.append(piece)
        seen.add(key)
    return kept, refused


def choose_splits(
    pieces: Sequence[Piece], shares: Mapping[str, float]
) -> tuple[dict[str, list[Piece]], dict[str, int]]:
    """Deals out pieces by whole components of shared windows.

    Returns:
        The pieces of each split, and the number of components of each size, largest first.
    """
    labels = components([piece.signatures for piece in pieces])
    sizes = {str(size): number for size, number in component_sizes(labels).items()}
    split_of = assign([piece.record["id"] for piece in pieces], labels, shares)
    return {
        name: [piece for piece, split in zip(pieces, split_of, strict=True) if split == name] for name in shares
    }, sizes


def refusal_counts(refusals: Sequence[Refusal]) -> dict[str, Any]:
    """The metadata entries that say what was refused, for `datasets.summary`."""
    return {
        "refused": dict(Counter(refusal.reason for refusal in refusals)),
        "refused_ids": {refusal.id: refusal.reason for refusal in refusals},
    }


def note_counts(pieces: Sequence[Piece]) -> dict[str, int]:
    """The sum of the pieces' note counts."""
    total: Counter[str] = Counter()
    for piece in pieces:
        total.update(piece.notes)
    return dict(total)


def corpus_folder() -> Path:
    """Where the installed music21 keeps its corpus; found without importing it, which takes seconds.

    Raises:
        FileNotFoundError: music21 is not installed, or lacks its corpus.
    """
    spec = importlib.util.find_spec("music21")
    folders = [Path(folder) / "corpus" for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if folder.is_dir():
            return folder
    place = f"no folder {folders[0]}" if folders else "the package is not installed"
    raise FileNotFoundError(f"the corpus of the music21 package: {place}; pip install music21")
