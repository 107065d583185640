"""The names that notebooks import."""

import subprocess
import sys
from pathlib import Path

import pytest

import musicvae_jax

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", musicvae_jax.__all__)
def test_a_name_resolves(name):
    value = getattr(musicvae_jax, name)
    if hasattr(value, "__name__"):
        assert value.__name__ == name  # a function or class, not a module that hides it
        assert value.__doc__


def test_names_are_listed_once_and_no_others_exist():
    assert len(set(musicvae_jax.__all__)) == len(musicvae_jax.__all__)
    assert dir(musicvae_jax) == sorted(musicvae_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'scroe'"):
        _ = musicvae_jax.scroe


@pytest.mark.parametrize(
    ("statement", "shown", "expected"),
    [  # reading music needs no JAX
        (f"{statement}, sys", "sorted({'jax', 'flax', 'tensorflow_datasets'} & set(sys.modules))", [])
        for statement in (
            "import musicvae_jax",
            "from musicvae_jax import Config, Score, read_score; import json",
            "import musicvae_jax.codec",
        )
    ]
    # `evaluation.evaluate` is a module and a function: to import the one must not hide the other.
    + [
        (
            "import musicvae_jax as m, musicvae_jax.evaluation.evaluate",
            "[callable(m.evaluate), callable(m.train)]",
            [True, True],
        )
    ],
)
def test_imports_in_a_process_of_its_own(statement, shown, expected):
    code = f"{statement}; print({shown})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(expected)
