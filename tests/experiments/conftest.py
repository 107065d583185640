"""A run that the training script left, made once for all tests of scripts that need one."""

from pathlib import Path

import pytest

from musicvae_jax.data.load import load_windows
from musicvae_jax.training.workdir import read_config
from tests.scripts import STEPS, spawn, train_args
from tests.trained import shared_folder


@pytest.fixture(scope="session")
def run(folk_data_dir, tmp_path_factory) -> Path:
    """The folder of a run that the script trained; the processes of one test session share it, so only read it."""
    with shared_folder(tmp_path_factory, "scripts") as folder:
        workdir, said = folder / "run", folder / "said.txt"
        if not said.exists():
            ended = spawn("train.py", *train_args(workdir, folk_data_dir))
            assert ended.status == 0, ended.error
            assert f"trained for {STEPS} steps" in ended.out
            said.write_text(ended.out)
    return workdir


@pytest.fixture(scope="session")
def tune(run):
    return load_windows(read_config(run), "test").score(0)
