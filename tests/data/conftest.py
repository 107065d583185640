"""Data sets made for one test."""

import functools
from pathlib import Path

import pytest

from musicvae_jax.data.datasets import corpus
from musicvae_jax.data.prepare import prepare
from musicvae_jax.data.readers import read_parallel
from tests.data.pop909_data import write_song


@pytest.fixture
def ready(tmp_path):
    """Prepares a folder with one reader."""

    def ready_(folder: Path, **options):
        return prepare("midi_folder", str(tmp_path / "data"), path=str(folder), num_processes=1, **options)

    return ready_


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora are read in this process, where tests can change what is read."""
    monkeypatch.setattr(corpus, "read_parallel", functools.partial(read_parallel, num_processes=1))


@pytest.fixture
def made(tmp_path: Path, one_process: None) -> Path:
    """A folder with ten songs in the layout of POP909's repositories."""
    for number in range(1, 11):
        name = "003 .mid" if number == 3 else ""
        write_song(tmp_path / "source", f"{number:03d}", 480 * number, seed=number, corrected_name=name)
    return tmp_path / "source"
