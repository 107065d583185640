"""What a script sets before JAX starts."""

import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from musicvae_jax.training.devices import GPU_FLAGS, cuda_libraries, with_gpu_flags

BOTH = b"\0".join(flag.strip("-").partition("=")[0].encode() for flag in GPU_FLAGS)


def library(folder: Path, content: bytes) -> Path:
    path = folder / f"{len(content)}.so"
    path.write_bytes(b"\x7fELF" + content)
    return path


@pytest.mark.parametrize("flags", ["", "--xla_dump_to=folder"])
def test_a_gpu_gets_both_flags_beside_those_of_the_user(tmp_path, flags):
    chosen = with_gpu_flags(flags, [library(tmp_path, BOTH)])
    assert chosen.split() == [*flags.split(), *GPU_FLAGS]
    assert with_gpu_flags(chosen, [library(tmp_path, BOTH)]) == chosen


@pytest.mark.parametrize("own", GPU_FLAGS)
def test_a_flag_of_the_user_stays_as_it_is(tmp_path, own):
    own = own.replace("false", "true")
    chosen = with_gpu_flags(own, [library(tmp_path, BOTH)]).split()
    assert len(chosen) == len(GPU_FLAGS)
    assert chosen[0] == own


def test_a_flag_that_a_library_does_not_know_is_left_out(tmp_path):
    """XLA would end the process."""
    first, second = BOTH.split(b"\0")
    assert with_gpu_flags("", [library(tmp_path, BOTH), library(tmp_path, first)]) == GPU_FLAGS[0]
    assert with_gpu_flags("", [library(tmp_path, first), library(tmp_path, second + b"1")]) == ""


def test_without_the_plugin_of_a_gpu_nothing_is_set(tmp_path):
    assert with_gpu_flags("--xla_dump_to=folder", []) == "--xla_dump_to=folder"


def test_the_plugin_is_found_where_pip_puts_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = cuda_libraries()  # none on a machine without a GPU
    plugin = tmp_path / "jax_plugins" / "xla_cuda12"
    plugin.mkdir(parents=True)
    (plugin / "xla_cuda_plugin.so").touch()
    found = cuda_libraries()
    jax_common = Path(jaxlib.__file__).parent / "libjax_common.so"
    assert set(found) - set(before) - {jax_common} == {plugin / "xla_cuda_plugin.so"}
    assert found[0] == jax_common and jax_common.is_file()


def test_the_installed_jaxlib_starts_with_the_flags():
    (jax_common,) = Path(jaxlib.__file__).parent.glob("libjax_common.so")
    flags = with_gpu_flags("", [jax_common])
    assert flags.split() == list(GPU_FLAGS)
    code = "import jax; assert jax.jit(lambda x: x + 1)(1) == 2"
    subprocess.run([sys.executable, "-c", code], env={"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}, check=True)
