"""What a data set stores of a piece, and the way back to a `Score`.

A record keeps the score, not tokens, so that one prepared data set serves every codec.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from musicvae_jax.codec.score import Part, Score

NO_KEY = 99  # stored for Score.fifths = None


def to_record(score: Score, *, id: str, source: str, **labels: Any) -> dict[str, Any]:
    """The features of one piece; `datasets.features` declares them to TFDS.

    Args:
        score: the piece.
        id: unique in the data set, e.g. ``"ryan/0012"``.
        source: the collection, or the path in the folder, that it comes from.
        labels: what a data set stores besides.

    Returns:
        The record: what `to_score` needs, and ``id``, ``source``, ``metre`` (of the first measure, ``"6/8"``) and the
        labels.
    """
    return {
        "id": id,
        "title": score.title,
        "source": source,
        "composer": score.composer,
        "style": score.style,
        "key_fifths": NO_KEY if score.fifths is None else score.fifths,
        "mode": score.mode,
        "metre": str(score.metre(0)),
        "tempo": np.float32(score.tempo),
        "parts": json.dumps(score.parts) if score.parts else "",
        "notes": np.asarray(score.notes, np.int32).reshape(-1, 5),
        "measures": np.asarray(score.measures, np.int32).reshape(-1, 3),
        "chords": np.asarray(score.chords, np.int32).reshape(-1, 4),
        "phrase_ends": np.asarray(score.phrase_ends, np.int32).reshape(-1),
        **labels,
    }


def to_score(record: Mapping[str, Any]) -> Score:
    """The score that a record holds; its ``source`` is the record's id."""
    fifths, parts = int(record["key_fifths"]), _text(record["parts"])
    return Score(
        notes=np.asarray(record["notes"], np.int32),
        measures=np.asarray(record["measures"], np.int32),
        fifths=None if fifths == NO_KEY else fifths,
        mode=_text(record["mode"]),
        tempo=float(record["tempo"]),
        title=_text(record["title"]),
        source=_text(record["id"]),
        composer=_text(record["composer"]),
        style=_text(record["style"]),
        parts=tuple(Part(*part) for part in json.loads(parts)) if parts else (),
        chords=np.asarray(record["chords"], np.int32),
        phrase_ends=np.asarray(record["phrase_ends"], np.int32),
    )


def _text(value: str | bytes) -> str:
    """TFDS reads text back as UTF-8 bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
