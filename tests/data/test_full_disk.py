"""A disk without space: one line that names the folder, nothing half-written, and the next try succeeds."""

from pathlib import Path

import pytest

from musicvae_jax.config import UserError
from musicvae_jax.data.prepare import prepare
from tests.data.folder_music import make_many_files
from tests.disk import largest_file


@pytest.mark.parametrize("size", [0, 100, 1_000, 10_000])
@pytest.mark.parametrize("name", ["midi_folder", "pop909"])
def test_a_full_disk_is_one_error_and_leaves_nothing(name, size, made: Path, tmp_path: Path) -> None:
    data, music = tmp_path / "data", make_many_files(tmp_path / "music", 64, 200)
    options = {"path": str(music), "num_processes": 1} if name == "midi_folder" else {"manual_dir": str(made)}
    with largest_file(size), pytest.raises(UserError, match=rf"^cannot write {data}/{name}/.*: File too large; "):
        prepare(name, str(data), **options)  # type: ignore[arg-type]
    assert [path.name for path in data.rglob("*") if path.is_file()] == [".lock"]
    assert not list(data.rglob("incomplete*"))
    builder = prepare(name, str(data), **options)  # type: ignore[arg-type]
    assert sum(split.num_examples for split in builder.info.splits.values()) == {"midi_folder": 64, "pop909": 10}[name]


def test_a_refresh_that_fails_for_want_of_space_keeps_the_earlier_data_set(tmp_path: Path) -> None:
    music, data = make_many_files(tmp_path / "music", 8, 200), str(tmp_path / "data")
    before = prepare("midi_folder", data, path=str(music))
    with largest_file(100), pytest.raises(UserError, match="File too large"):
        prepare("midi_folder", data, path=str(music), refresh=True)
    assert len(list(before.as_data_source("train"))) == before.info.splits["train"].num_examples
