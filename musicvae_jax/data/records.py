"""A record: what a data set stores of one piece. It holds the score, not tokens, and so serves every codec."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from musicvae_jax.codec.score import Part, Score

NO_KEY = 99  # stored for Score.fifths = None


def to_record(score: Score, *, id: str, source: str, **labels: Any) -> dict[str, Any]:
    """The record of a score, with the features that `score_features` declares.

    Args:
        score: the piece.
        id: unique in the data set, e.g. ``"ryan/0012"``.
        source: the collection of the piece, or its path in the folder.
        labels: further features of this data set.
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
    """The score of a record. The score's ``source`` is the record's id."""
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


def score_features(**labels: Any) -> Any:
    """TFDS's FeaturesDict of `to_record`; labels are further features of a data set, name -> TFDS feature."""
    import tensorflow_datasets as tfds  # not at the top: worker processes make records and do not need it

    text, integer = tfds.features.Text, tfds.features.Scalar(np.int32)
    return tfds.features.FeaturesDict(
        {
            "id": text(doc="unique, e.g. oneill/0732"),
            "title": text(),
            "source": text(doc="the collection, or the path in the folder, that it comes from"),
            "composer": text(),
            "style": text(doc="the source's own label of its kind, e.g. reel; empty if unknown"),
            "key_fifths": integer,  # -7 (flats) to 7 (sharps), or NO_KEY
            "mode": text(),
            "metre": text(doc="of the first measure, e.g. 6/8"),
            "tempo": tfds.features.Scalar(np.float32, doc="quarters per minute"),
            "parts": text(doc="JSON of Score.parts, or empty"),
            "notes": tfds.features.Tensor(shape=(None, 5), dtype=np.int32, doc="Score.notes"),
            "measures": tfds.features.Tensor(shape=(None, 3), dtype=np.int32, doc="Score.measures"),
            "chords": tfds.features.Tensor(shape=(None, 4), dtype=np.int32, doc="Score.chords"),
            "phrase_ends": tfds.features.Tensor(shape=(None,), dtype=np.int32, doc="Score.phrase_ends"),
            **labels,
        }
    )


def _text(value: str | bytes) -> str:
    """TFDS returns text as UTF-8 bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
