"""From a config to windows of a split, and to batches of them."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config
from musicvae_jax.data.datasets import list_styles, prepare, split_records
from musicvae_jax.data.piece_index import load_index
from musicvae_jax.data.pipeline import TrainIterator, make_train_iterator
from musicvae_jax.data.windows import WindowSource

TRAIN = "train"


def load_windows(config: Config, split: str, **changes: Any) -> WindowSource:
    """The windows of a split; prepares the data set first where that has not been done.

    Training windows overlap (``hop``) and have ``min_measures`` real measures; those of other splits cover every
    measure exactly once, pieces of any length included.

    Args:
        config: the experiment.
        split: e.g. ``"test"``.
        changes: fields of the config's data that the reader wants otherwise, such as ``attributes=False``.
    """
    data, codec = dataclasses.replace(config.data, **changes), make_codec(config.codec)
    place = (data.dataset, data.data_dir, data.manual_dir, data.path)
    builder = prepare(*place)
    records = split_records(builder, split)
    hop, min_measures = (data.hop, data.min_measures) if split == TRAIN else (data.measures, 1)
    return WindowSource(
        records,
        codec,
        data.measures,
        hop,
        min_measures,
        track=data.track,
        index=load_index(records, codec, data.track, Path(builder.data_path), split),
        attributes=data.attributes,
        styles=list_styles(*place) if data.attributes else (),
    )


def load_batches(
    config: Config, source: WindowSource, *, process_index: int = 0, process_count: int = 1
) -> TrainIterator:
    """The endless training batches of a config: this process's rows, augmented; see `make_train_iterator`."""
    data = config.data
    return make_train_iterator(
        source,
        config.train.batch_size,
        seed=config.train.seed,
        transpose=data.transpose,
        velocity_scale=data.velocity_scale,
        voice_dropout=data.voice_dropout,
        timing_jitter=data.timing_jitter,
        num_workers=data.num_workers,
        process_index=process_index,
        process_count=process_count,
    )


def count_metres(source: WindowSource) -> dict[str, int]:
    """How many measures of each metre the windows hold, e.g. ``{"4/4": 51204}``."""
    counts: Counter[str] = Counter()
    for start in range(0, len(source), 256):
        batch = source.cut(np.arange(start, min(start + 256, len(source))))  # attributes would cost, and say nothing
        rows, numbers = np.unique(batch.metre.reshape(-1, 2), axis=0, return_counts=True)
        counts.update({f"{top}/{bottom}": int(n) for (top, bottom), n in zip(rows, numbers, strict=True) if top})
    return dict(counts)
