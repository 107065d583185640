"""Classifiers that hear key, mode, metre and style in notes, fitted on held-out music.

They see notes alone: neither the key signature nor the bar lines, which a decoder is given.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from musicvae_jax.codec.base import Codec, WindowNotes
from musicvae_jax.codec.score import TICKS_PER_QUARTER
from musicvae_jax.types import Array, Batch

_STEP = TICKS_PER_QUARTER // 4  # of rhythms: a sixteenth
_LAGS = np.arange(1, 33)  # sixteenths after which rhythms may repeat: up to two measures of 4/4
_DURATIONS = np.array([1, 2, 3, 4, 6, 8, 12, 16])  # sixteenths, the least of each class
HEARD = ("key", "mode", "metre", "style")  # conditions that can be heard in notes


@dataclasses.dataclass(frozen=True)
class Detector:
    """A classifier of one condition, by logistic regression on features of the notes."""

    condition: str  # one of `HEARD`
    classifier: Pipeline

    def __call__(self, batch: Batch, codec: Codec) -> np.ndarray:
        """The class that is heard in each window, float[batch], numbered as in `data.conditions`."""
        found: np.ndarray = self.classifier.predict(note_features(batch, codec)[self.condition])
        return found


def fit_detector(condition: str, batch: Batch, codec: Codec, labels: Array) -> Detector | None:
    """A detector of a condition; None if the music has fewer than two classes of it.

    Args:
        condition: one of `HEARD`.
        batch: windows of music.
        codec: of their tokens.
        labels: float[batch], the class of each window, NaN where unknown.
    """
    known = np.isfinite(labels)
    if len(np.unique(labels[known])) < 2:
        return None
    features = note_features(batch, codec)[condition]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return Detector(condition, classifier.fit(features[known], labels[known]))


def note_features(batch: Batch, codec: Codec) -> Mapping[str, np.ndarray]:
    """What each detector sees: condition -> float64[batch, feature].

    key: the duration and the number of notes of each pitch class, and the class of the last note. mode: the same
    relative to the last note, and to the pitch class that sounds longest. metre: autocorrelation of onsets, of
    lengths and of repeated pitches at lags of 1 to 32 sixteenths, and durations. style: all of metre's and mode's.
    """
    notes = codec.notes(np.asarray(batch.tokens), np.asarray(batch.mask), np.asarray(batch.metre))
    rows = len(batch.metre)
    tick = notes.onset + _starts(batch.metre)[notes.row, notes.measure]
    length = notes.duration / TICKS_PER_QUARTER
    profile = _profile(notes, rows, length)
    last = _last_class(notes, rows, tick)
    key = np.concatenate([profile, _profile(notes, rows, np.ones(len(length))), np.eye(12)[last]], -1)
    longest = profile.argmax(-1)
    mode = np.concatenate(
        [_from_class(profile, last), _from_class(profile, longest), np.eye(12)[(last - longest) % 12]], -1
    )
    metre = np.concatenate([_repeats(notes, rows, tick, length), _durations(notes, rows)], -1)
    return {"key": key, "mode": mode, "metre": metre, "style": np.concatenate([metre, mode], -1)}


def _starts(metre: Array) -> np.ndarray:
    """The tick at which each measure of a window starts: int64[batch, measure]."""
    metre = np.asarray(metre, np.int64)
    ticks = metre[..., 0] * 4 * TICKS_PER_QUARTER // np.maximum(metre[..., 1], 1)
    return np.cumsum(ticks, -1) - ticks


def _profile(notes: WindowNotes, rows: int, weight: np.ndarray) -> np.ndarray:
    """The share of each pitch class in the weight of all notes: float64[row, 12]."""
    total = np.bincount(notes.row * 12 + notes.pitch % 12, weight, rows * 12).reshape(rows, 12)
    return total / np.maximum(total.sum(-1, keepdims=True), 1e-9)


def _last_class(notes: WindowNotes, rows: int, tick: np.ndarray) -> np.ndarray:
    """The pitch class of the last note, the lowest of several: int64[row], 0 without notes."""
    found = np.zeros(rows, np.int64)
    order = np.lexsort((-notes.pitch, tick))
    found[notes.row[order]] = notes.pitch[order] % 12
    return found


def _from_class(profile: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Profiles that begin with a pitch class int[row]: float64[row, 12]."""
    return np.take_along_axis(profile, (first[:, None] + np.arange(12)) % 12, -1)


def _repeats(notes: WindowNotes, rows: int, tick: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Autocorrelation of three series of sixteenths, at `_LAGS`: float64[row, 3 * lag]."""
    place = tick // _STEP
    size = int(place.max(initial=0)) + 1
    at = notes.row * size + place
    onset = (np.bincount(at, minlength=rows * size) > 0).astype(np.float64)
    long = np.bincount(at, length, rows * size)
    high = np.zeros(rows * size)
    np.maximum.at(high, at, notes.pitch.astype(np.float64))
    series = np.stack([onset, long, high]).reshape(3, rows, size)
    padded = np.pad(series, [(0, 0), (0, 0), (0, int(_LAGS[-1]))])
    found = []
    for lag in _LAGS:
        later = padded[..., lag : lag + size]
        both = (series[0] > 0) & (padded[0, :, lag : lag + size] > 0)
        same = (series[2] == later[2]) & both
        found += [(series[0] * later[0]).sum(-1), (series[1] * later[1]).sum(-1), same.sum(-1)]
    number = np.maximum(series[0].sum(-1), 1)
    return np.stack(found, -1) / number[:, None]


def _durations(notes: WindowNotes, rows: int) -> np.ndarray:
    """The share of notes of each class of durations: float64[row, class]."""
    kind = np.searchsorted(_DURATIONS * _STEP, notes.duration, side="right")
    counts = np.bincount(notes.row * (len(_DURATIONS) + 1) + kind, minlength=rows * (len(_DURATIONS) + 1))
    of_row = counts.reshape(rows, -1).astype(np.float64)
    return of_row / np.maximum(of_row.sum(-1, keepdims=True), 1)
