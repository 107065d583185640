"""Data sets made for one test."""

import functools
from pathlib import Path

import pytest
from musicvae_jax.data.datasets.readers import read_parallel

from musicvae_jax.data.datasets import pop909, prepare
from tests.data.pop909_data import write_song


@pytest.fixture
def ready(tmp_path):
    """Prepares a folder with one reader."""

    def ready_(folder: Path, **options):
        return prepare("midi_folder", str(tmp_path / "data"), path=str(folder), num_processes=1, **options)

    return ready_


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten songs, read in this process."""
    for number in range(1, 11):
        name = "003 .mid" if number == 3 else ""
        write_song(tmp_path / "source", f"{number:03d}", 480 * number, seed=number, corrected_name=name)
    monkeypatch.setattr(pop909, "read_parallel", functools.partial(read_parallel, num_processes=1))
    return tmp_path / "source"
