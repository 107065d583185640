"""A place for one file, and music21's corpus."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("xml") / "piece.musicxml"


@pytest.fixture(scope="module")
def corpus():
    spec = importlib.util.find_spec("music21")
    assert spec and spec.origin
    return Path(spec.origin).parent / "corpus"
