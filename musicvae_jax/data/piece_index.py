"""The index of a split: what `WindowSource` must know of every piece to count windows, stored beside the data set.

Making it encodes every piece, which takes minutes for a large folder, in parallel. Reading it takes no time.
"""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicvae_jax.codec.base import Codec, Encoded
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.readers import read_parallel
from musicvae_jax.data.records import to_score
from musicvae_jax.files import replacing

# Raise it when a codec makes other tokens of the same score with the same settings: stored indices are found by this
# number, the codec's settings and the track.
VERSION = 1
NO_PITCHES = (127, 0)  # of a piece without notes; every transposition keeps it in range
_CHUNK = 64  # pieces sent to a process at a time
_FEW = 2000  # pieces for which it is not worth starting processes


class PieceFacts(NamedTuple):
    """What the index holds of one piece."""

    measures: int  # 0 if the codec refuses it
    pitches: tuple[int, int]  # lowest and highest
    dropped: dict[str, int]  # what the codec lost, by reason
    refusal: MusicError | None = None


class PieceIndex(NamedTuple):
    """The facts of all pieces of a split."""

    measures: np.ndarray  # int32[piece]
    pitches: np.ndarray  # int16[piece, 2]
    dropped: dict[str, np.ndarray]  # reason -> int32[piece]
    refusals: dict[int, MusicError]  # piece -> why it has no tokens


def load_index(records: Sequence[Mapping[str, Any]], codec: Codec, track: str, folder: Path, split: str) -> PieceIndex:
    """The index of a split of the data set in a folder: reads its file, or makes it and writes the file if allowed."""
    key = json.dumps([VERSION, repr(codec), track])
    path = folder / f"windows-{split}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.npz"
    damaged = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged):
        index = _read(path)
        if len(index.measures) == len(records):
            return index
    index = make_index(records, codec, track)
    with contextlib.suppress(OSError):  # the folder may belong to another user
        _write(index, path)
    return index


def make_index(
    records: Sequence[Mapping[str, Any]], codec: Codec, track: str = "", num_processes: int | None = None
) -> PieceIndex:
    """Encodes all pieces once, in parallel, with a progress bar.

    Args:
        records: pieces in random access.
        codec: makes tokens of them.
        track: see `piece_score`.
        num_processes: the default is the number of cores, or 1 for few pieces.
    """

    def chunks() -> Iterator[tuple[list[Mapping[str, Any]], Codec, str]]:
        for start in range(0, len(records), _CHUNK):
            stop = min(start + _CHUNK, len(records))
            yield [records[number] for number in range(start, stop)], codec, track

    if num_processes is None and len(records) < _FEW:
        num_processes = 1
    found = read_parallel(_chunk_facts, chunks(), num_processes, "Indexing pieces", f" x {_CHUNK} pieces")
    return gather_facts(piece for chunk in found for piece in chunk)


def _chunk_facts(task: tuple[list[Mapping[str, Any]], Codec, str]) -> list[PieceFacts]:
    records, codec, track = task
    return [find_facts(lambda: codec.encode(piece_score(record, track)), codec) for record in records]  # noqa: B023


def piece_score(record: Mapping[str, Any] | Score, track: str) -> Score:
    """The score that is encoded: one melody of a piece, see `codec.tracks.select_track`, or for ``""`` the whole."""
    score = record if isinstance(record, Score) else to_score(record)
    return select_track(score, track)


def find_facts(encode: Callable[[], Encoded], codec: Codec) -> PieceFacts:
    """The facts of the piece that `encode` encodes with this codec."""
    try:
        encoded = encode()
    except MusicError as error:
        return PieceFacts(0, NO_PITCHES, {}, error.with_traceback(None))  # its frames would keep arrays alive
    return PieceFacts(len(encoded.tokens), codec.pitch_range(encoded.tokens) or NO_PITCHES, encoded.dropped)


def gather_facts(facts: Iterable[PieceFacts]) -> PieceIndex:
    """The index of pieces in order."""
    facts = list(facts)
    reasons = sorted({reason for piece in facts for reason in piece.dropped})
    return PieceIndex(
        np.array([piece.measures for piece in facts], np.int32),
        np.array([piece.pitches for piece in facts], np.int16).reshape(-1, 2),
        {reason: np.array([piece.dropped.get(reason, 0) for piece in facts], np.int32) for reason in reasons},
        {number: piece.refusal for number, piece in enumerate(facts) if piece.refusal is not None},
    )


def _write(index: PieceIndex, path: Path) -> None:
    refusals = {number: [e.source, e.place, e.reason, e.detail] for number, e in index.refusals.items()}
    text = json.dumps({"reasons": list(index.dropped), "refusals": refusals})
    dropped = np.array(list(index.dropped.values()), np.int32).reshape(len(index.dropped), len(index.measures))
    coded = np.frombuffer(text.encode(), np.uint8)
    with replacing(path) as temporary:
        np.savez(temporary, measures=index.measures, pitches=index.pitches, dropped=dropped, text=coded)


def _read(path: Path) -> PieceIndex:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        text = json.loads(arrays["text"].tobytes())
        return PieceIndex(
            arrays["measures"],
            arrays["pitches"],
            dict(zip(text["reasons"], arrays["dropped"], strict=True)),
            {int(number): MusicError(*error) for number, error in text["refusals"].items()},
        )
