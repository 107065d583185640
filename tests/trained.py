"""A model trained for a few steps on real tunes, once for all tests that need one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from musicvae_jax.config import Config, DataConfig, LevelConfig, LevelsConfig, TrainConfig
from musicvae_jax.training.loop import train
from tests.tiny import SHALLOW, replace


def small_config(data_dir: str) -> Config:
    """Two measures of a folk tune, a tiny model, forty steps."""
    config = Config(
        data=DataConfig(measures=2, hop=2, data_dir=data_dir),
        model=SHALLOW,
        levels=LevelsConfig(global_=LevelConfig(dim=6)),
        train=TrainConfig(
            num_steps=40,
            batch_size=8,
            learning_rate=3e-3,
            warmup_steps=2,
            log_every=5,
            eval_every=20,
            eval_examples=16,
            checkpoint_every=5,
            ema_decay=0.9,
        ),
    )
    return replace(config, model={"dropout": 0.1})


@contextmanager
def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that the processes of one test session share: the first to come fills it, the others wait for that."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (root / name).mkdir(exist_ok=True)
        yield root / name


@pytest.fixture(scope="session")
def trained_workdir(folk_data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted; the processes of one test session share it, so only read it."""
    with shared_folder(tmp_path_factory, "trained") as folder:
        assert train(small_config(folk_data_dir), folder).finished  # the first process trains, the others find it so
    return folder
