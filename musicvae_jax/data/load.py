"""From a config to the windows of a split and to training batches."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config
from musicvae_jax.config.checks import check
from musicvae_jax.data.augment import Augmentation
from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.piece_index import load_index
from musicvae_jax.data.pipeline import TrainIterator, make_train_iterator
from musicvae_jax.data.prepare import list_styles, prepare, split_records
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import ATTRIBUTES, span_name

TRAIN = "train"
_MEASURED = 1024  # training windows whose attributes give the unit of conditions


def load_windows(config: Config, split: str, **changes: Any) -> WindowSource:
    """The windows of a split; prepares the data set if that has not been done.

    Training windows overlap (``hop``) and have at least ``min_measures`` real measures. The windows of other splits
    cover every measure of every piece exactly once. Conditions are unknown; see `load_training`.

    Args:
        config: the experiment.
        split: e.g. ``"test"``.
        changes: fields of ``config.data`` to be replaced, such as ``attributes=False``.

    Raises:
        ConfigError: the data set has more styles than ``style_classes`` of a level.
    """
    data, codec = dataclasses.replace(config.data, **changes), make_codec(config.codec)
    sources = (data.dataset, data.data_dir, data.manual_dir, data.path)
    builder = prepare(*sources)
    records = split_records(builder, split)
    styles = list_styles(*sources) if data.attributes else ()
    for name, level in config.levels.on.items():
        fits = not level.style_classes or not data.attributes or level.style_classes >= len(styles)
        allowed = f"{len(styles)} or more, as {data.dataset} has {', '.join(styles)}"
        check(fits, f"levels.{name}.style_classes", level.style_classes, allowed)
    if config.objective.mode_weight:
        top = config.levels.top
        allowed = f"{len(styles)} or more with mode_weight, as {data.dataset} has {', '.join(styles)}"
        check(config.levels[top].modes >= len(styles), f"levels.{top}.modes", config.levels[top].modes, allowed)
    hop, min_measures = (data.hop, data.min_measures) if split == TRAIN else (data.measures, 1)
    return WindowSource(
        records,
        codec,
        data.measures,
        hop,
        min_measures,
        track=data.track,
        attributes=data.attributes,
        spans=config.spans,
        styles=styles,
        index=load_index(records, codec, data.track, Path(builder.data_path), split),
    )


def load_training(config: Config) -> WindowSource:
    """The windows of a training, which know the conditions of the model, in the units of 1,024 of them.

    Args:
        config: the experiment; with attributes if some are conditions.
    """
    source, names, data = load_windows(config, TRAIN), config.model.conditions, config.data
    if not names:
        return source
    styles = list_styles(data.dataset, data.data_dir, data.manual_dir, data.path) if "style" in names else ()
    batch = source.gather(np.unique(np.linspace(0, len(source) - 1, min(len(source), _MEASURED)).astype(np.int64)))
    columns = {attribute.name: column for column, attribute in enumerate(ATTRIBUTES)}
    conditions = Conditions(names, styles)
    values = {name: batch.attributes[span_name(0)][:, 0, columns[name]] for name in conditions.measured}
    source.tell(conditions.fitted(source.scores(), values))
    return source


def load_batches(
    config: Config, source: WindowSource, *, process_index: int = 0, process_count: int = 1
) -> TrainIterator:
    """The training batches of a config: the rows of this process, augmented; see `make_train_iterator`."""
    return make_train_iterator(
        source,
        config.train.batch_size,
        seed=config.train.seed,
        num_workers=config.data.num_workers,
        process_index=process_index,
        process_count=process_count,
        **{field.name: getattr(config.data, field.name) for field in dataclasses.fields(Augmentation)},
    )


def count_metres(source: WindowSource) -> dict[str, int]:
    """Metre -> number of measures of all windows, e.g. ``{"4/4": 51204}``."""
    counts: Counter[str] = Counter()
    for start in range(0, len(source), 256):
        batch = source.cut(np.arange(start, min(start + 256, len(source))))
        metres, numbers = np.unique(batch.metre.reshape(-1, 2), axis=0, return_counts=True)
        counts.update({f"{top}/{bottom}": int(n) for (top, bottom), n in zip(metres, numbers, strict=True) if top})
    return dict(counts)
