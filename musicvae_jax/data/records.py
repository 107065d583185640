"""What a data set stores of a piece, and the way back to a `Score`.

A record keeps the score, not tokens, so that one prepared data set serves every codec.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from musicvae_jax.codec.score import Score

NO_KEY = 99  # stored for Score.fifths = None


def to_record(score: Score, *, id: str, book: str, type: str = "") -> dict[str, Any]:
    """The features of one piece.

    Args:
        score: the piece.
        id: unique in the data set, e.g. ``"ryan/0012"``.
        book: the collection it comes from.
        type: the kind of tune, e.g. ``"reel"``; ``""`` if unknown.

    Returns:
        The record: what `to_score` needs, and ``id``, ``book``, ``type``, ``metre`` (of the first measure, ``"6/8"``).
    """
    return {
        "id": id,
        "title": score.title,
        "book": book,
        "key_fifths": NO_KEY if score.fifths is None else score.fifths,
        "mode": score.mode,
        "metre": str(score.metre(0)),
        "type": type,
        "tempo": np.float32(score.tempo),
        "notes": np.asarray(score.notes, np.int32).reshape(-1, 5),
        "measures": np.asarray(score.measures, np.int32).reshape(-1, 3),
    }


def to_score(record: Mapping[str, Any]) -> Score:
    """The score that a record holds; its ``source`` is the record's id."""
    fifths = int(record["key_fifths"])
    return Score(
        notes=np.asarray(record["notes"], np.int32),
        measures=np.asarray(record["measures"], np.int32),
        fifths=None if fifths == NO_KEY else fifths,
        mode=_text(record["mode"]),
        tempo=float(record["tempo"]),
        title=_text(record["title"]),
        source=_text(record["id"]),
    )


def _text(value: str | bytes) -> str:
    """TFDS reads text back as UTF-8 bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
