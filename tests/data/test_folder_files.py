"""The files of a folder: their order, their shares, their splits."""

import dataclasses
import os

import numpy as np

from musicvae_jax.codec import write_abc, write_midi
from musicvae_jax.data.datasets.folder_files import FolderItems, scan, walk
from musicvae_jax.data.datasets.folder_pieces import FolderPiece, read_item, split_of
from tests.data.folder_music import make_music
from tests.data.melodies import random_melody


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
