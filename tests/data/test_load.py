"""From a config to windows and batches: every field of it counts, and where it must not, it does not."""

from typing import Any

import numpy as np

from musicvae_jax.codec import PerformanceCodec
from musicvae_jax.config import Config, DataConfig, TrainConfig
from musicvae_jax.data.load import load_batches, load_windows
from musicvae_jax.data.windows import WindowSource
from tests.data.melodies import random_melody

CODEC = PerformanceCodec(slots=12, tracks=2)


def test_batches_are_those_of_the_config():
    source = WindowSource([random_melody(seed, 6) for seed in range(3)], CODEC, 2, 1)
    augmentation: dict[str, Any] = {"transpose": 3, "velocity_scale": 0.2, "voice_dropout": 0.3, "timing_jitter": 0.4}
    config = Config(data=DataConfig(**augmentation), train=TrainConfig(seed=5, batch_size=6))
    whole, *parts = (
        load_batches(config, source, process_index=index, process_count=count)
        for index, count in ((0, 1), (0, 2), (1, 2))
    )
    identity = {"num_windows": len(source), "batch_size": 6, "seed": 5, **augmentation}
    assert whole.get_state() == {"next_batch": 0, **identity}
    shares = [next(part) for part in parts]
    for leaf, *share in zip(next(whole)[:4], *(part[:4] for part in shares), strict=True):
        np.testing.assert_array_equal(np.concatenate(share), leaf)
    for iterator in (whole, *parts):
        iterator.close()


def test_only_training_windows_overlap_or_are_left_out(folk_data_dir):
    """A split that evaluates covers every measure once, whatever training does."""

    def num_windows(split, **changes):
        return len(load_windows(Config(data=DataConfig(data_dir=folk_data_dir, measures=4, **changes)), split))

    usual, overlapping, long = {"hop": 4}, {"hop": 1}, {"hop": 4, "min_measures": 4}
    assert num_windows("test", **usual) == num_windows("test", **overlapping) == num_windows("test", **long)
    assert num_windows("train", **long) < num_windows("train", **usual) < num_windows("train", **overlapping)
