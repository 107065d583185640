"""MidiFolder: what a folder becomes, and what it survives."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core import example_serializer, writer

from musicvae_jax.codec import read_whole, write_abc, write_midi, write_musicxml
from musicvae_jax.config import Config, UserError, from_json
from musicvae_jax.data.datasets import load_split, midi_folder, prepare, to_score
from musicvae_jax.data.datasets.features import score_features
from musicvae_jax.data.datasets.folder_files import FolderItems, Item, scan, walk
from musicvae_jax.data.datasets.folder_pieces import FolderPiece, Outcome, read_item, split_of
from musicvae_jax.data.datasets.folder_report import SharedWindows, refusal_table
from musicvae_jax.data.datasets.spool import Spool
from musicvae_jax.data.splits import sharing
from tests.data.melodies import random_melody
from tests.data.midi_bytes import make_folder

ROOT = Path(__file__).parents[2]
PREPARE = (
    "import sys; from musicvae_jax.data.datasets import prepare as p; p('midi_folder', sys.argv[1], path=sys.argv[2])"
)


def make_music(folder: Path, first: int = 0, number: int = 20) -> Path:
    """So many files: MIDI in a folder in a folder, some MusicXML and ABC, all different."""
    for seed in range(first, first + number):
        melody = random_melody(seed, 6 + seed % 5)
        kind = {0: "musicxml", 1: "abc"}.get(seed % 5, "mid")
        path = folder / "deep" / f"{seed % 3}" / f"piece {seed:03}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "mid":
            write_midi(melody, path)
        elif kind == "abc":
            path.write_text(write_abc(melody))
        else:
            write_musicxml(melody, path)
    return folder


def records_of(builder) -> dict[str, dict]:
    """id -> (split and record) of everything prepared."""
    found = {}
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            found[record["id"].decode()] = {"split": split, **record}
    return found


def refusals_of(builder) -> dict[str, str]:
    entries = json.loads(Path(builder.data_path, "refusals.json").read_text("utf-8"))
    assert sum(builder.info.metadata["refused"].values()) == len(entries)
    return {entry["file"]: entry["reason"] for entry in entries}


@pytest.fixture
def ready(tmp_path):
    """Prepares a folder with one reader."""

    def ready_(folder: Path, **options):
        return prepare("midi_folder", str(tmp_path / "data"), path=str(folder), num_processes=1, **options)

    return ready_


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


def test_the_split_goes_with_the_music_not_with_the_file(tmp_path) -> None:
    for seed in range(20):
        melody = random_melody(seed, 8)
        write_midi(melody, tmp_path / f"{seed}.mid")
        write_midi(dataclasses.replace(melody, title="Another"), tmp_path / f"{seed + 100}.mid")
    outcomes = [outcome for item in FolderItems(tmp_path) for outcome in read_item(item)]
    found = {outcome.id: outcome for outcome in outcomes if isinstance(outcome, FolderPiece)}
    for seed in range(20):
        one, other = found[f"{seed}.mid"], found[f"{seed + 100}.mid"]
        assert one.file != other.file and one.music == other.music and one.split == other.split
    assert len({piece.split for piece in found.values()}) == 3


def test_shares_of_the_splits() -> None:
    """About 80/10/10 by a hash: within four standard errors."""
    splits = [split_of(np.random.default_rng(seed).bytes(16)) for seed in range(4000)]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(splits.count(split) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5


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


def test_the_order_is_that_of_the_names_and_links_lead_nowhere(tmp_path) -> None:
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
    outcomes = [outcome for item in FolderItems(folder) for outcome in read_item(item)]
    assert [outcome.order for outcome in outcomes] == [(number, 0) for number in range(9)]
    refused = {outcome.file: outcome.reason for outcome in outcomes if not isinstance(outcome, FolderPiece)}
    assert set(refused) == {"UPPER.MID", *problems}


def test_names_that_are_no_text(tmp_path, ready) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9.mid")
    write_midi(random_melody(0, 8), folder / name)
    (folder / os.fsdecode(b"bad\xff.mid")).write_bytes(b"text")
    builder = ready(folder)
    assert set(records_of(builder)) == {"caf\\xe9.mid"} and set(refusals_of(builder)) == {"bad\\xff.mid"}


def test_a_large_book_is_read_in_shares(tmp_path, monkeypatch) -> None:
    tunes = [write_abc(random_melody(seed, 4)).replace("X:1", f"X:{seed}") for seed in range(11)]
    (tmp_path / "book.abc").write_text("\n\n".join([*tunes[:5], "X:99\nT:no key\n", *tunes[5:]]))
    whole = [outcome for item in FolderItems(tmp_path) for outcome in read_item(item)]
    monkeypatch.setattr("musicvae_jax.data.datasets.folder_files.ABC_SHARE", 300)
    items = list(FolderItems(tmp_path))
    parts = [outcome for item in items for outcome in read_item(item)]
    assert len(items) > 3 and len(whole) == len(parts) == 12
    assert [getattr(outcome, "id", "refused") for outcome in whole] == [
        "refused" if number == 6 else f"book.abc#{number}" for number in range(1, 13)
    ]
    for one, other in zip(whole, parts, strict=True):
        assert one[1:3] == other[1:3]
    assert sorted(parts) == parts  # one order of all: copies are always those of the same piece


def misfortune(item: Item) -> list[Outcome]:
    """Reads an item, but for two."""
    if "002" in item.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "003" in item.name:
        time.sleep(60)
    return read_item(item)


def test_a_file_that_kills_or_stops_its_reader_costs_itself(tmp_path, ready, monkeypatch) -> None:
    folder = make_music(tmp_path / "music", number=8)
    monkeypatch.setattr(midi_folder, "read_item", misfortune)
    monkeypatch.setattr(midi_folder, "TIMEOUT", 1.0)
    builder = ready(folder)
    assert refusals_of(builder) == {"deep/2/piece 002.mid": "crashed", "deep/0/piece 003.mid": "timeout"}
    assert len(records_of(builder)) == 6


def test_a_killed_preparation_starts_again(tmp_path, ready) -> None:
    folder = make_folder(tmp_path / "music", 400, 64)
    command = [sys.executable, "-c", PREPARE, tmp_path / "data", folder]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("data/**/*.spool")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    (place,) = (tmp_path / "data" / "midi_folder").iterdir()
    assert [path.name.startswith("incomplete") for path in place.iterdir() if path.is_dir()] == [True]
    builder = ready(folder)
    assert [path.name for path in place.iterdir() if path.is_dir()] == ["1.0.0"]
    assert not list(place.glob("**/*.spool")) and len(records_of(builder)) == 400


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


def test_pieces_that_share_windows_across_splits_are_counted() -> None:
    """Against sets of signatures, piece by piece."""
    rng = np.random.default_rng(0)
    pieces = []
    for number in range(60):
        signatures = {rng.integers(0, 300).item().to_bytes(8) for _ in range(rng.integers(0, 6))}
        split = ("train", "train", "validation", "test")[rng.integers(4)]
        pieces.append(FolderPiece((number, 0), str(number), split, {}, b"", b"", b"".join(sorted(signatures))))
    counter = SharedWindows()
    for piece in pieces:
        counter.add(piece)
    sets = [{piece.signatures[start : start + 8] for start in range(0, len(piece.signatures), 8)} for piece in pieces]
    for split, count in counter.counts().items():
        mine = [own for own, piece in zip(sets, pieces, strict=True) if piece.split == split]
        others = [own for own, piece in zip(sets, pieces, strict=True) if piece.split != split]
        assert count == sharing(mine, others).sum() > 0


def test_a_transposed_copy_in_another_split_is_seen(tmp_path, ready) -> None:
    folder, melody = tmp_path / "music", random_melody(0, 8, low=50, high=60)
    folder.mkdir()
    for semitones in range(12):
        notes = melody.notes + np.array([0, 0, semitones, 0, 0], np.int32)
        write_midi(type(melody)(notes, melody.measures), folder / f"{semitones:02}.mid")
    metadata = ready(folder).info.metadata
    assert len(metadata["shared_windows"]) > 1  # the copies fell into several splits
    assert all(row["share"] == 1 for row in metadata["shared_windows"].values())


def test_a_spool_writes_what_the_writer_of_tfds_writes(tmp_path, ready) -> None:
    builder = ready(make_music(tmp_path / "music"))
    features = score_features()
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    records = list(builder.as_data_source("train"))
    written = []
    for name in ("spool", "tfds"):
        target = tmp_path / name
        target.mkdir()
        template = builder._get_filename_template("train").replace(data_dir=target)
        if name == "spool":
            spool = Spool(target / "train.spool", "train", features)
            for record in records:
                spool.add(record["id"].decode(), record)
            info = spool.write(template, builder.info.file_format)
            lengths, size = info.shard_lengths, info.num_bytes
        else:
            own = writer.Writer(serializer, template, "train", False, writer.ExampleWriter(builder.info.file_format))
            for record in reversed(records):
                own.write(record["id"].decode(), features.encode_example(record))
            lengths, size = own.finalize()
        written.append((list(lengths), size, {path.name: path.read_bytes() for path in target.iterdir()}))
    assert written[0] == written[1] and sum(written[0][0]) == len(records) > 10


def test_beam_writes_the_same(tmp_path, ready) -> None:
    pytest.importorskip("apache_beam")
    folder = make_music(tmp_path / "music")
    (folder / "bad.mid").write_bytes(b"text")
    (folder / "zz.mid").write_bytes((folder / "deep/2/piece 002.mid").read_bytes())
    local = ready(folder)
    beam = prepare("midi_folder", str(tmp_path / "beam"), path=str(folder), beam=["--runner=DirectRunner"])
    assert local.data_path != beam.data_path and dict(local.info.metadata) == dict(beam.info.metadata)
    texts = [Path(builder.data_path, "refusals.json").read_text() for builder in (local, beam)]
    assert texts[0] == texts[1] and "duplicate" in texts[0]
    for split in local.info.splits:
        mine, theirs = local.as_data_source(split), beam.as_data_source(split)
        assert len(mine) == len(theirs) > 0
        for one, other in zip(mine, theirs, strict=True):  # in the same order, too
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
