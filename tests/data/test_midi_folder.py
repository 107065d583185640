"""A folder of music as a data set: its files, its pieces, its refusals and its splits."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec import read_whole, write_abc, write_midi
from musicvae_jax.config import UserError
from musicvae_jax.data.datasets import folder_pieces
from musicvae_jax.data.datasets.folder_files import FolderItems, Item, scan, walk
from musicvae_jax.data.datasets.folder_pieces import FolderPiece, Outcome, read_item, split_of
from musicvae_jax.data.datasets.folder_report import RefusalWriter, SharedWindows
from musicvae_jax.data.overview import refusal_table
from musicvae_jax.data.prepare import prepare, split_records
from musicvae_jax.data.records import to_score
from musicvae_jax.data.splits import sharing
from tests.data.folder_music import make_many_files, make_music, records_of, refusals_of
from tests.data.melodies import random_melody


def read_all(folder: Path) -> list[Outcome]:
    return [outcome for item in FolderItems(folder) for outcome in read_item(item)]


def test_files_are_in_the_order_of_names_and_links_to_folders_are_not_followed(tmp_path) -> None:
    folder = make_music(tmp_path / "music", number=3)
    (folder / "loop").symlink_to(folder)
    (folder / "outside").symlink_to(tmp_path)
    (folder / "dead.mid").symlink_to(tmp_path / "nothing.mid")
    (folder / "link.mid").symlink_to(folder / "deep/2/piece 002.mid")
    (folder / "UPPER.MID").write_bytes(b"text")
    (folder / "notes.txt").write_text("no music")
    os.mkfifo(folder / "pipe.mid")
    files = ["UPPER.MID", "deep/0/piece 000.musicxml", "deep/1/piece 001.abc", "deep/2/piece 002.mid", "link.mid"]
    entries = list(walk(folder))
    assert [entry.name for entry in entries if not entry.problem] == files
    problems = {"dead.mid": "unreadable", "loop": "link", "outside": "link", "pipe.mid": "no_file"}
    assert {entry.name: entry.problem for entry in entries if entry.problem} == problems
    assert scan(folder) == scan(folder) and scan(folder).files == 5
    outcomes = read_all(folder)
    assert [outcome.order for outcome in outcomes] == [(number, 0) for number in range(9)]
    refused = {outcome.file: outcome.reason for outcome in outcomes if not isinstance(outcome, FolderPiece)}
    assert set(refused) == {"UPPER.MID", *problems}


def test_a_large_book_is_read_in_chunks(tmp_path, monkeypatch) -> None:
    tunes = [write_abc(random_melody(seed, 4)).replace("X:1", f"X:{seed}") for seed in range(11)]
    (tmp_path / "book.abc").write_text("\n\n".join([*tunes[:5], "X:99\nT:no key\n", *tunes[5:]]))
    whole = read_all(tmp_path)
    monkeypatch.setattr("musicvae_jax.data.datasets.folder_files.ABC_CHUNK", 300)
    chunks = read_all(tmp_path)
    assert len(FolderItems(tmp_path)) > 3 and len(whole) == len(chunks) == 12
    assert [getattr(outcome, "id", "refused") for outcome in whole] == [
        "refused" if number == 6 else f"book.abc#{number}" for number in range(1, 13)
    ]
    for one, other in zip(whole, chunks, strict=True):
        assert one[1:3] == other[1:3]
    assert sorted(chunks) == chunks  # one order for all, so copies are always of the same piece


def test_every_piece_is_in_one_split_with_the_notes_of_its_file(tmp_path, ready) -> None:
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


def test_the_split_depends_on_the_music_not_on_the_file(tmp_path) -> None:
    for seed in range(20):
        melody = random_melody(seed, 8)
        write_midi(melody, tmp_path / f"{seed}.mid")
        write_midi(dataclasses.replace(melody, title="Another"), tmp_path / f"{seed + 100}.mid")
    found = {outcome.id: outcome for outcome in read_all(tmp_path) if isinstance(outcome, FolderPiece)}
    for seed in range(20):
        one, other = found[f"{seed}.mid"], found[f"{seed + 100}.mid"]
        assert one.file != other.file and one.music == other.music and one.split == other.split
    assert len({piece.split for piece in found.values()}) == 3


def test_splits_have_their_shares() -> None:
    """80/10/10 within four standard errors."""
    splits = [split_of(np.random.default_rng(seed).bytes(16)) for seed in range(4000)]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(splits.count(split) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_new_files_never_move_others(tmp_path, ready) -> None:
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
    table = refusal_table(Path(builder.data_path), builder.info.metadata, max_rows=2)
    assert "the same notes as book.abc#1" in table and "2 more" in table and table.endswith("3 same_music, 1 duplicate")


def test_windows_shared_between_splits_are_counted() -> None:
    """Compared with sets of signatures."""
    rng = np.random.default_rng(0)
    pieces, sets, counter = [], [], SharedWindows()
    for number in range(60):
        sets.append({rng.integers(0, 300).item().to_bytes(8) for _ in range(rng.integers(0, 6))})
        split = ("train", "train", "validation", "test")[rng.integers(4)]
        pieces.append(FolderPiece((number, 0), str(number), split, {}, b"", b"", b"".join(sorted(sets[-1]))))
        counter.add(pieces[-1])
    for split, count in counter.counts().items():
        mine = [own for own, piece in zip(sets, pieces, strict=True) if piece.split == split]
        others = [own for own, piece in zip(sets, pieces, strict=True) if piece.split != split]
        assert count == sharing(mine, others).sum() > 0


def test_transposed_copies_in_several_splits_are_reported(tmp_path, ready) -> None:
    folder, melody = tmp_path / "music", random_melody(0, 8, low=50, high=60)
    folder.mkdir()
    for semitones in range(12):
        notes = melody.notes + np.array([0, 0, semitones, 0, 0], np.int32)
        write_midi(dataclasses.replace(melody, notes=notes), folder / f"{semitones:02}.mid")
    shared = ready(folder).info.metadata["shared_windows"]
    assert len(shared) > 1 and all(row["share"] == 1 for row in shared.values())


def test_names_that_are_not_utf8(tmp_path, ready) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    write_midi(random_melody(0, 8), folder / os.fsdecode(b"caf\xe9.mid"))
    (folder / os.fsdecode(b"bad\xff.mid")).write_bytes(b"text")
    builder = ready(folder)
    assert set(records_of(builder)) == {"caf\\xe9.mid"} and set(refusals_of(builder)) == {"bad\\xff.mid"}


def test_a_changed_folder_gives_a_warning_and_is_read_again_on_request_only(tmp_path, ready, capsys) -> None:
    folder = make_music(tmp_path / "music", number=5)
    ready(folder)
    capsys.readouterr()
    assert len(records_of(ready(folder))) == 5 and capsys.readouterr().err == ""
    make_music(folder, first=5, number=2)
    assert len(records_of(ready(folder))) == 5
    warning = capsys.readouterr().err
    assert all(words in warning for words in ("has changed", "then 5 files", "now 7 files", "--refresh"))
    assert len(records_of(ready(folder, refresh=True))) == 7
    for path in folder.rglob("piece*"):
        path.unlink()
    with pytest.raises(UserError, match="no MIDI, ABC or MusicXML"):
        ready(folder, refresh=True)
    folder.rename(tmp_path / "gone")
    builder = ready(folder)
    assert len(records_of(builder)) == 7  # what was prepared stays
    target = Path(builder.data_path)
    target.rename(target.parent / f".former_{target.name}")  # as a killed refresh leaves it
    assert len(records_of(ready(folder))) == 7
    assert sorted(path.name for path in target.parent.iterdir()) == [".lock", "1.0.0"]


def test_two_folders_are_two_data_sets(tmp_path, ready) -> None:
    one, other = make_music(tmp_path / "a" / "music", 0, 2), make_music(tmp_path / "b" / "music", 2, 3)
    assert len(records_of(ready(one))) == 2 and len(records_of(ready(other))) == 3
    assert len(records_of(ready(one))) == 2
    assert ready(tmp_path / "b" / ".." / "b" / "music").data_path == ready(other).data_path
    builder = prepare("midi_folder", str(tmp_path / "data"), path=str(other))
    assert len(split_records(builder, next(iter(builder.info.splits)))) > 0


def test_impossible_preparations_are_refused(tmp_path) -> None:
    for options, message in (
        ({"name": "midi_folder"}, "needs the path"),
        ({"name": "midi_folder", "path": str(tmp_path / "none")}, "no such folder"),
        ({"name": "dmelodies", "path": "here"}, "is for midi_folder"),
        ({"name": "dmelodies", "beam": []}, "not prepared with Beam"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(data_dir=str(tmp_path), **options)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "bad.mid").write_bytes(b"text")
    with pytest.raises(UserError, match="no music could be read"):
        prepare("midi_folder", str(tmp_path), path=str(tmp_path / "music"), num_processes=1)
    assert not [path for path in tmp_path.glob("midi_folder/*/*") if path.name != ".lock"]


def test_many_refused_tunes_of_a_file_are_counted_and_not_all_listed(tmp_path, ready, monkeypatch) -> None:
    monkeypatch.setattr(folder_pieces, "MOST_REFUSALS", 3)
    text = "".join(f"X:{number}\n" for number in range(1, 12)) + "X:12\nM:3\n"
    (tmp_path / "book.abc").write_text(text)
    item = Item(0, str(tmp_path), "book.abc")
    outcomes = [outcome for outcome in read_item(item) if not isinstance(outcome, FolderPiece)]
    assert sum(outcome.tunes for outcome in outcomes) == 12
    assert [outcome.tunes for outcome in outcomes[:3]] == [1, 1, 1] and len(outcomes) < 6
    assert outcomes[3].detail.endswith("more of this file") and outcomes[3].place == "tunes"
    writer = RefusalWriter(tmp_path / "refusals.json")
    for outcome in outcomes:
        writer.add(outcome)
    writer.close()
    assert writer.counts.total() == 12 and len(json.loads((tmp_path / "refusals.json").read_text())) == len(outcomes)


def test_names_in_any_encoding_give_different_ids(tmp_path, ready) -> None:
    names = [b"M\xfcller.mid", b"M\\xfcller.mid", "Müller.mid".encode(), b"M\\\\xfcller.mid", b"\xff\n.mid"]
    made = make_many_files(tmp_path / "made", len(names), 16)
    (tmp_path / "music").mkdir()
    for name, path in zip(names, sorted(made.rglob("*.mid")), strict=True):
        path.rename(tmp_path / "music" / os.fsdecode(name))
    builder = ready(tmp_path / "music")
    assert len(records_of(builder)) == len(names) and refusals_of(builder) == {}
