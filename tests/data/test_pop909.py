"""POP909 as a data set, from made songs, and from the real ones if they are there."""

import csv
import functools
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.codec.score import check_score
from musicvae_jax.codec.tracks import find_polyphony, select_track
from musicvae_jax.config import Config, DataConfig, UserError
from musicvae_jax.data.datasets import pop909
from musicvae_jax.data.datasets.corpus import Refusal
from musicvae_jax.data.datasets.pop909 import digest_of
from musicvae_jax.data.datasets.pop909_songs import BIN, CORRECTED, ORIGINAL, Song, find_songs, join_song, read_song
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.prepare import prepare, split_records
from musicvae_jax.data.records import to_score
from musicvae_jax.data.splits import melody_signatures
from tests.data.pop909_data import FOLDER, needs_pop909, write_song
from tests.data.test_folk_tunes import assert_disjoint


def test_the_data_set_holds_every_song_once(made: Path, tmp_path: Path) -> None:
    (made / CORRECTED / "POP909_processed" / "007.mid").unlink()
    write_song(made, "011", 960, seed=4)  # the notes of song 4 at another time
    builder = prepare("pop909", str(tmp_path), str(made))
    metadata = builder.info.metadata
    assert metadata["refused_ids"] == {"pop909/007": "missing"} and metadata["songs_found"] == 11
    split_of = {}
    for split in builder.info.splits:
        for record in split_records(builder, split):
            split_of[record["id"].decode()] = split
            check_score(to_score(record))
            assert record["style"] == b"pop" and record["shift"] % 480 == 0 and record["match"] == 1
    assert len(split_of) == 10
    assert split_of["pop909/004"] == split_of["pop909/011"]  # they share their windows
    data = DataConfig(dataset="pop909", data_dir=str(tmp_path), manual_dir=str(made), track="melody", measures=4, hop=4)
    windows = load_windows(Config(data=data), "train")
    assert not windows.refusals and len(windows) and windows.score(0).notes[:, 4].max() == 0


@pytest.fixture
def served(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose archives are downloaded in place of the repositories; it has those of the made songs."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in (ORIGINAL, CORRECTED):
        files = {path.relative_to(made / name): path.read_bytes() for path in (made / name).rglob("*.mid")}
        write_archive(folder / f"{name}.zip", {f"{name}-0123abc/{path}": data for path, data in files.items()})
        monkeypatch.setitem(pop909.DIGESTS, name, digest_of(made / name))
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(pop909, "URLS", {name: f"{address}/{name}.zip" for name in pop909.URLS})
        yield folder
        server.shutdown()
        thread.join()


def write_archive(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{next(iter(files)).partition('/')[0]}/README.md", "not needed")


def test_the_repositories_are_downloaded_if_they_are_not_given(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = prepare("pop909", str(tmp_path)).info.metadata
    assert metadata["songs_found"] == 10 and metadata["refused"] == {}
    gone = {name: url.replace(name, f"none/{name}") for name, url in pop909.URLS.items()}
    monkeypatch.setattr(pop909, "URLS", gone)
    with pytest.raises(UserError, match=r"cannot be downloaded: .*404.* manual_dir"):
        prepare("pop909", str(tmp_path / "other"))


BOMB = {f"r/POP909/{number:03d}/{number:03d}.mid": b"\0" * 2**24 for number in range(17)}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: write_archive(path, {"r/POP909/001/001.mid": b"MThd"}), r"SHA-256 \w+; allowed is \w+$"),
        (lambda path: write_archive(path, BOMB), "17 MIDI files of 285,212,672 bytes; allowed are up to"),
        (lambda path: write_archive(path, {f"r/{n}.mid": b"" for n in range(10_001)}), "10,001 MIDI files of 0 bytes"),
        (lambda path: write_archive(path, {"r/a.mid": b"MThd"}, zipfile.ZIP_BZIP2), "another compression"),
        (lambda path: path.write_text("404"), "not a zip file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-999]), "not a zip file"),
        (lambda path: write_archive(path, {"r/a.mid": b"", "other/b.mid": b""}), "too many values"),
        (lambda path: write_archive(path, {f"r/{'x' * 300}.mid": b""}), "File name too long"),
        (lambda path: write_archive(path, {"r/a.txt": b""}), "No such file"),
    ],
    ids=["other songs", "bomb", "many files", "bzip2", "a page", "truncated", "two folders", "a long name", "no music"],
)
def test_an_archive_that_is_not_what_it_was_is_refused_and_downloaded_again(damage, said, served, tmp_path) -> None:
    good = (served / f"{ORIGINAL}.zip").read_bytes()
    damage(served / f"{ORIGINAL}.zip")
    with pytest.raises(UserError, match=f"{ORIGINAL}.zip is not what it was: .*{said}"):
        prepare("pop909", str(tmp_path))
    assert not [path for path in tmp_path.rglob("*.mid") if "downloads" in path.parts and ORIGINAL in str(path)]
    (served / f"{ORIGINAL}.zip").write_bytes(good)
    assert prepare("pop909", str(tmp_path)).info.metadata["songs_found"] == 10


@needs_pop909
def test_the_real_songs_have_the_listed_digests() -> None:
    assert {name: digest_of(FOLDER / name) for name in (ORIGINAL, CORRECTED)} == pop909.DIGESTS


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_one_repository_or_none_in_the_given_folder_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manual_dir = .*: no such folder"):
        prepare("pop909", str(tmp_path), str(made / "nowhere"))
    (made / CORRECTED).rename(made / "elsewhere")
    with pytest.raises(UserError, match="no folder POP909-CL-Dataset"):
        prepare("pop909", str(tmp_path), str(made))
    (made / ORIGINAL / "POP909").rename(made / "gone")
    (made / CORRECTED).mkdir()
    with pytest.raises(UserError, match="no song in"):
        prepare("pop909", str(tmp_path), str(made))


def real_songs(step: int = 1) -> list[Song]:
    songs = find_songs(FOLDER / ORIGINAL, FOLDER / CORRECTED)
    return [song for song in songs if int(song.id[-3:]) % step == 0 or song.id[-3:] in {"043", "553", "658"}]


@functools.cache
def listed_joins() -> dict[str, dict[str, str]]:
    with open(FOLDER / "pop909_join.csv", newline="") as file:
        return {f"pop909/{row['song']}": row for row in csv.DictReader(file)}


def check_join(song: Song) -> None:
    """The listed shifts are middles of bins; ours are refined, by at most half a bin and a tick.

    The true shifts of songs 49 and 56 lie between two bins and may be found from either.
    """
    row = listed_joins()[song.id]
    if float(row["match_fraction"]) < 0.9:
        assert read_song(song) == Refusal(song.id, "join")
        return
    score, join, _ = join_song(song)
    assert abs(join.shift - int(row["shift_ticks_480"])) <= BIN / 2 + 1
    assert join.bin_shift == int(row["shift_ticks_480"]) or song.id in {"pop909/049", "pop909/056"}
    assert join.match == pytest.approx(float(row["match_fraction"]), abs=0.002)
    check_score(score)
    assert find_polyphony(select_track(score, "melody").notes) is None


@needs_pop909
@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow, id="all songs"), pytest.param(100, id="some songs")]
)
def test_real_songs_are_joined_as_listed(step: int) -> None:
    songs = real_songs(step)
    assert len(songs) == {1: 859, 100: 11}[step]
    for song in songs:
        check_join(song)


@needs_pop909
@pytest.mark.slow
def test_no_two_splits_of_real_songs_share_a_window_of_melody(tmp_path: Path) -> None:
    builder = prepare("pop909", str(tmp_path), str(FOLDER))
    assert builder.info.metadata["refused_ids"] == {"pop909/553": "join", "pop909/658": "join"}
    counts = builder.info.metadata["notes"]
    assert counts["before_start"] + counts["below_melody"] < 0.002 * counts["found"]
    windows: dict[str, set[bytes]] = {"train": set(), "validation": set(), "test": set()}
    on_beat, in_scale, melody_notes = np.zeros(4), 0.0, 0
    for split, found in windows.items():
        for score in map(to_score, split_records(builder, split)):
            melody = select_track(score, "melody")
            found.update(melody_signatures(melody))
            if score.metre(0) == (4, 4):
                onsets = score.notes[score.notes[:, 4] == 2, 0] % 1920
                on_beat += [np.count_nonzero((onsets - beat + 20) % 1920 < 40) for beat in (0, 480, 960, 1440)]
            if score.fifths is not None:
                scale = [(7 * (score.fifths + fifth)) % 12 for fifth in range(-1, 6)]
                in_scale += float(np.isin(melody.notes[:, 2] % 12, scale).sum())
                melody_notes += len(melody.notes)
    assert_disjoint(windows, 200)
    assert [builder.info.splits[split].num_examples for split in windows] == [685, 86, 86]
    # Two checks that are independent of the join: beat 1 has most onsets, and the melody is in the key.
    assert on_beat[0] == on_beat.max() and in_scale > 0.95 * melody_notes
