"""The features that every data set of this package stores, as TFDS wants them declared."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds


def score_features(**labels: Any) -> tfds.features.FeaturesDict:
    """The features of `records.to_record`.

    Args:
        labels: what a data set stores besides, name -> TFDS feature.
    """
    text, integer = tfds.features.Text, tfds.features.Scalar(np.int32)
    return tfds.features.FeaturesDict(
        {
            "id": text(doc="unique, e.g. oneill/0732"),
            "title": text(),
            "source": text(doc="the collection, or the path in the folder, that it comes from"),
            "composer": text(),
            "style": text(doc="the source's own label of its kind, e.g. reel; empty if unknown"),
            "key_fifths": integer,  # -7 (flats) to 7 (sharps), records.NO_KEY if unknown
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
