"""Files appear complete or not at all."""

import os
from pathlib import Path

import pytest

from musicvae_jax.files import disk_refusal, replacing


def test_content_is_written_to_disk_before_the_file_gets_its_name(tmp_path, monkeypatch):
    """Otherwise a crash of the machine may leave an empty file."""
    happened, fsync, replace = [], os.fsync, Path.replace
    path = tmp_path / "new" / "text"

    def synced(handle: int) -> None:
        happened.append(("synced", str(Path(f"/proc/self/fd/{handle}").readlink()), os.fstat(handle).st_size))
        fsync(handle)

    def renamed(temporary: Path, target: Path) -> Path:
        happened.append(("renamed", str(temporary), temporary.stat().st_size))
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert happened == [("synced", str(temporary), 5), ("renamed", str(temporary), 5)]
    assert path.read_text() == "whole"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ha")
            raise OSError("half")

    with pytest.raises(OSError, match="half"):
        fail()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_of_writing_names_the_file(tmp_path):
    def fill() -> None:
        with replacing(tmp_path / "text"), open("/dev/full", "w") as file:
            file.write("ha")

    with pytest.raises(OSError, match=r"No space left on device: '.*/text'$"):
        fill()
    assert not list(tmp_path.iterdir())


def test_what_a_disk_refuses_is_found_in_the_errors_of_all_libraries():
    full = os.strerror(28)
    assert disk_refusal(OSError(28, full, "name")) == disk_refusal(RuntimeError(f"RESOURCE: {full} [28]")) == full
    assert not disk_refusal(ValueError("space")) and not disk_refusal(FileNotFoundError(2, os.strerror(2)))
