"""MidiFolder: what a folder becomes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec import read_whole, write_abc, write_midi
from musicvae_jax.config import Config, UserError, from_json
from musicvae_jax.data.datasets import load_split, prepare, to_score
from musicvae_jax.data.datasets.folder_files import walk
from musicvae_jax.data.datasets.folder_report import refusal_table
from tests.data.folder_music import make_music, records_of, refusals_of
from tests.data.melodies import random_melody


def test_every_piece_is_in_one_split_as_its_file_has_it(tmp_path, ready) -> None:
    folder = make_music(tmp_path / "music")
    builder = ready(folder)
    records = records_of(builder)
    assert set(records) == {entry.name for entry in walk(folder)} and len(records) == 20
    assert refusals_of(builder) == {} and builder.info.metadata["files"] == 20
    for name, record in records.items():
        (score,) = read_whole(folder / name)
        np.testing.assert_array_equal(record["notes"], score.notes)
        np.testing.assert_array_equal(record["measures"], score.measures)
        assert to_score(record).source == name == record["source"].decode()
    assert {record["split"] for record in records.values()} == set(builder.info.splits)


def test_files_that_are_added_never_move_others(tmp_path, ready) -> None:
    folder = make_music(tmp_path / "music")
    before = records_of(ready(folder))
    make_music(folder, first=100, number=8)
    write_midi(random_melody(2, 8), folder / "a copy that comes first.mid")  # of piece 002
    after = records_of(ready(folder, refresh=True))
    assert len(after) == len(before) + 8
    moved = after.pop("a copy that comes first.mid")
    assert "deep/2/piece 002.mid" not in after
    after["deep/2/piece 002.mid"] = moved
    assert {id: after[id]["split"] for id in before} == {id: record["split"] for id, record in before.items()}


def test_copies_are_refused_by_bytes_and_by_music(tmp_path, ready) -> None:
    folder = make_music(tmp_path / "music", number=3)  # 0 MusicXML, 1 ABC, 2 MIDI
    data = (folder / "deep/2/piece 002.mid").read_bytes()
    (folder / "zz.mid").write_bytes(data)
    (folder / "zzz.mid").write_bytes(data.replace(b"Melody 2", b"Another!"))
    tune = write_abc(random_melody(7, 6))
    (folder / "book.abc").write_text("".join(tune.replace("X:1", f"X:{number}") + "\n" for number in range(1, 4)))
    builder = ready(folder)
    reasons = {"zz.mid": "duplicate", "zzz.mid": "same_music", "book.abc#2": "same_music", "book.abc#3": "same_music"}
    assert refusals_of(builder) == reasons
    assert set(records_of(builder)) == {"book.abc#1", *(f"deep/{entry.name}" for entry in walk(folder / "deep"))}
    assert builder.info.metadata["refused"] == {"duplicate": 1, "same_music": 3}
    table = refusal_table(Path(builder.data_path), builder.info.metadata, rows=2)
    assert "the same notes as book.abc#1" in table and "2 more" in table and table.endswith("3 same_music, 1 duplicate")


def test_names_that_are_no_text(tmp_path, ready) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.mid")
    write_midi(random_melody(0, 8), folder / name)
    (folder / os.fsdecode(b"bad\xff.mid")).write_bytes(b"text")
    builder = ready(folder)
    assert set(records_of(builder)) == {"caf\\xe9.mid"} and set(refusals_of(builder)) == {"bad\\xff.mid"}


def test_a_folder_that_changed_is_said_to_have_and_read_anew_on_request(tmp_path, ready, capsys) -> None:
    folder = make_music(tmp_path / "music", number=5)
    ready(folder)
    capsys.readouterr()
    assert len(records_of(ready(folder))) == 5 and capsys.readouterr().err == ""
    make_music(folder, first=5, number=2)
    assert len(records_of(ready(folder))) == 5
    warning = capsys.readouterr().err
    assert (
        "has changed" in warning and "then 5 files" in warning and "now 7 files" in warning and "--refresh" in warning
    )
    assert len(records_of(ready(folder, refresh=True))) == 7
    for path in folder.rglob("piece*"):
        path.unlink()
    with pytest.raises(UserError, match="no MIDI, ABC or MusicXML"):
        ready(folder, refresh=True)
    folder.rename(tmp_path / "gone")
    builder = ready(folder)
    assert len(records_of(builder)) == 7  # what was prepared stays
    place = Path(builder.data_path)
    place.rename(place.parent / f".former_{place.name}")  # as a refresh leaves it that is killed
    assert len(records_of(ready(folder))) == 7 and sorted(path.name for path in place.parent.iterdir()) == [
        ".lock",
        "1.0.0",
    ]


def test_two_folders_are_two_data_sets(tmp_path, ready) -> None:
    one, other = make_music(tmp_path / "a" / "music", 0, 2), make_music(tmp_path / "b" / "music", 2, 3)
    assert len(records_of(ready(one))) == 2 and len(records_of(ready(other))) == 3
    assert len(records_of(ready(one))) == 2
    data = str(tmp_path / "data")
    name = next(iter(ready(other).info.splits))
    assert len(load_split("midi_folder", data, name, path=str(other))) > 0
    assert ready(tmp_path / "b" / ".." / "b" / "music").data_path == ready(other).data_path


def test_what_is_refused(tmp_path) -> None:
    data = str(tmp_path)
    for options, message in (
        ({"name": "midi_folder"}, "needs the path"),
        ({"name": "midi_folder", "path": str(tmp_path / "none")}, "no such folder"),
        ({"name": "dmelodies", "path": "here"}, "is for midi_folder"),
        ({"name": "dmelodies", "beam": []}, "not prepared with Beam"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(data_dir=data, **options)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "bad.mid").write_bytes(b"text")
    with pytest.raises(UserError, match="no music could be read"):
        prepare("midi_folder", data, path=str(tmp_path / "music"), num_processes=1)
    assert not [path for path in tmp_path.glob("midi_folder/*/*") if path.name != ".lock"]
    old = json.loads(json.dumps({"data": {"dataset": "folk_tunes"}}))
    assert from_json(json.dumps(old)) == Config()
