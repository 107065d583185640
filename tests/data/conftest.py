"""Data sets made for one test."""

from pathlib import Path

import pytest

from musicvae_jax.data.datasets import prepare


@pytest.fixture
def ready(tmp_path):
    """Prepares a folder with one reader."""

    def ready_(folder: Path, **options):
        return prepare("midi_folder", str(tmp_path / "data"), path=str(folder), num_processes=1, **options)

    return ready_
