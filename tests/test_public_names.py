"""The names that notebooks import."""

import subprocess
import sys
from pathlib import Path

import pytest

import musicvae_jax

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", musicvae_jax.__all__)
def test_name_resolves(name):
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
    "statement",
    ["import musicvae_jax", "from musicvae_jax import Config, Score, read_score", "import musicvae_jax.codec"],
)
def test_music_needs_no_jax(statement):
    # In a process of its own, because the tests around have imported JAX.
    code = f"{statement}; import sys; print(*sorted({{'jax', 'flax', 'tensorflow_datasets'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_a_name_is_not_the_module_that_defines_it():
    # `evaluation.evaluate` is a module and a function: importing the one must not hide the other.
    code = "import musicvae_jax.evaluation.evaluate, musicvae_jax as m; print(callable(m.evaluate), callable(m.train))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True"]
