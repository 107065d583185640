"""The command that prepares data sets."""

import importlib.util
from pathlib import Path

import pytest

from musicvae_jax.codec import write_midi
from tests.data.melodies import random_melody
from tests.scripts import spawn


@pytest.fixture
def prepare(tmp_path):
    """Runs the script."""
    return lambda *args: spawn("prepare.py", *args, cwd=tmp_path)


def test_a_folder_is_prepared_reported_and_refreshed(tmp_path, prepare) -> None:
    music = tmp_path / "My Music"
    music.mkdir()
    for seed in range(9):
        write_midi(random_melody(seed, 17), music / f"{seed}.mid")  # 3 windows of 8 measures each
    (music / "copy.mid").write_bytes((music / "0.mid").read_bytes())
    (music / "no.mid").write_text("no music")
    options = ("midi-folder", "--path", music, "--data-dir", tmp_path / "data", "--num-processes", 1)
    status, out, error = prepare(*options)
    assert status == 0, error
    *_, header, _, row, _, folder = out.splitlines()
    cells = dict(zip(*([cell.strip() for cell in line.strip("|").split("|")] for line in (header, row)), strict=True))
    assert cells["data set"].startswith("midi_folder/my_music-") and cells["pieces"].startswith("9 (")
    assert cells["windows of 8 measures"] == "27" and cells["notes kept (performance)"] == "100.00%"
    assert "1 duplicate" in cells["refused"] and cells["preparation"].endswith(" s")
    assert "the same bytes as 0.mid" in out and "share 4 measures with another split" in out
    assert Path(folder.removeprefix("in "), "refusals.json").is_file()
    write_midi(random_melody(9, 17), music / "9.mid")
    status, again, warning = prepare(*options, "--sample", 4)
    assert status == 0 and "done before" in again and "about 27" in again and "has changed" in warning
    status, anew, _ = prepare(*options, "--refresh")
    assert status == 0 and "| 10 (" in anew


def test_user_errors_are_one_line(tmp_path, prepare) -> None:
    for args, message in (
        (["midi-folder", "--path", tmp_path / "none"], "no such folder"),
        (["midifolder"], "did you mean midi-folder"),
        (["midi-folder", "--path", tmp_path], "no MIDI, ABC or MusicXML"),
    ):
        status, out, error = prepare(*args, *(["--data-dir", tmp_path / "data"] if len(args) > 1 else []))
        assert status == 2 and not out
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Beam is installed")
def test_missing_beam_is_an_error_of_one_line(tmp_path, prepare) -> None:
    write_midi(random_melody(0, 8), tmp_path / "a.mid")
    status, _, error = prepare("midi-folder", "--path", tmp_path, "--data-dir", tmp_path / "data", "--beam")
    assert status == 2 and "Apache Beam is not installed" in error and error.count("\n") == 1
