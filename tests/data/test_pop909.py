"""POP909: the join of its two repositories, by laws on made songs and against the real ones where they are."""

import csv
import functools
import http.server
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec.check import check_score
from musicvae_jax.codec.tracks import find_polyphony, select_track
from musicvae_jax.config import CodecConfig, Config, DataConfig, UserError
from musicvae_jax.data.datasets import load_split, pop909, prepare, to_score
from musicvae_jax.data.datasets.pieces import GRID, Refusal
from musicvae_jax.data.datasets.pop909_chords import chord_rows, find_root
from musicvae_jax.data.datasets.pop909_songs import (
    BIN,
    CORRECTED,
    MIN_MATCH,
    ORIGINAL,
    Song,
    find_shift,
    find_songs,
    join_song,
    read_song,
)
from musicvae_jax.data.datasets.readers import read_parallel
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.splits import window_signatures
from tests.data.pop909_data import FOLDER, needs_pop909

C, D, E, F, G, A, B = 0, 2, 4, 5, 7, 9, 11


def notes_of(rng: np.random.Generator, count: int) -> np.ndarray:
    onsets = np.sort(rng.integers(0, 40_000, count))
    columns = [onsets, onsets * 0 + 200, rng.integers(40, 90, count), onsets * 0 + 80, rng.integers(0, 3, count)]
    return np.stack(columns, axis=1)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(-9_000, 9_000), st.integers(80, 400))
def test_the_shift_is_found_again(seed: int, shift: int, count: int) -> None:
    """Notes moved by any number of ticks and set on the grid, as the corrected files are, a tenth of them lost."""
    rng = np.random.default_rng(seed)
    notes = notes_of(rng, count)
    kept = rng.random(count) < 0.9
    others = notes[kept].copy()
    others[:, 0] = np.rint((others[:, 0] + shift) / BIN) * BIN
    join = find_shift(notes, others)
    assert abs(join.shift - shift) <= BIN / 4  # the median of errors that are uniform over a bin
    assert join.match >= kept.mean()
    moved = notes + np.array([1_000, 0, 0, 0, 0])
    assert find_shift(moved, others).shift == pytest.approx(join.shift - 1_000, abs=BIN / 2)


def test_a_grid_between_the_bins_is_found_exactly() -> None:
    notes = notes_of(np.random.default_rng(0), 100)
    others = notes + np.array([391, 0, 0, 0, 0])  # the bin's middle is 400
    join = find_shift(notes, others)
    assert join == (391, 1.0, 400)


def test_other_music_matches_little() -> None:
    rng = np.random.default_rng(0)
    assert find_shift(notes_of(rng, 300), notes_of(rng, 300)).match < 0.5 < MIN_MATCH
    assert find_shift(notes_of(rng, 300), np.zeros((0, 5), np.int64)).match == 0


@pytest.mark.parametrize(
    ("classes", "bass", "root"),
    [
        ([C, E, G], C, C),
        ([C, E, G], E, C),  # a sixth chord
        ([C, E, G], G, C),
        ([A, C, E, G], A, A),  # a seventh on A ...
        ([A, C, E, G], C, C),  # ... is a sixth on C over C,
        ([A, C, E, G], E, A),  # and over neither bass a seventh
        ([G, B, D, F], F, G),
        ([C, F, G], C, C),  # suspended
        ([C, F, G], F, F),
        ([B, D, F], D, B),
        ([C], C, C),
        ([C, G], C, C),
        ([C, D, E, F], C, -1),
    ],
)
def test_roots_by_hand(classes: list[int], bass: int, root: int) -> None:
    assert find_root(sum(1 << number for number in classes), bass) == root
    for semitones in range(12):  # the law behind the examples
        moved = sum(1 << (number + semitones) % 12 for number in classes)
        expected = (root + semitones) % 12 if root >= 0 else -1
        assert find_root(moved, (bass + semitones) % 12) == expected


def test_chords_are_the_onsets_of_the_track() -> None:
    notes = np.array([[0, 960, 60, 90, 1], [0, 900, 64, 90, 1], [0, 960, 67, 90, 1], [480, 480, 62, 90, 1]])
    assert chord_rows(notes).tolist() == [[0, 480, C, 0b10010001], [480, 480, D, 0b100]]
    assert chord_rows(notes[:0]).shape == (0, 4)


def write_song(folder: Path, number: str, shift: int, seed: int, corrected_name: str = "") -> None:
    """A made song in the layout of the two repositories; the corrected file is `shift` ticks later, on the grid."""
    rng = np.random.default_rng(seed)
    performed, barred = symusic.Score(480), symusic.Score(480)
    performed.tempos.append(symusic.Tempo(0, 72.0))
    performed.time_signatures.append(symusic.TimeSignature(0, 1, 4))
    barred.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    barred.key_signatures.append(symusic.KeySignature(0, 2, 0))
    merged = []
    for name, low in (("MELODY", 70), ("BRIDGE", 60), ("PIANO", 40)):
        track = symusic.Track(name=name)
        for beat in range(48):
            pitch, velocity = int(rng.integers(low, low + 10)), int(rng.integers(40, 120))
            # Melody notes sound into the next beat.
            track.notes.append(symusic.Note(960 + 480 * beat, 500, pitch, velocity))
            merged.append(symusic.Note(960 + 480 * beat + shift, 480, pitch, velocity))
        performed.tracks.append(track)
    chords = symusic.Track(name="chords")
    for measure in range(2, 18):
        chords.notes.extend([symusic.Note(1440 * measure, 1440, pitch, 90) for pitch in (57, 62, 66)])
    score = symusic.Track(name="piano")
    score.notes.extend(merged)
    barred.tracks.extend([score, chords])
    first = folder / ORIGINAL / "POP909" / number / f"{number}.mid"
    (first.parent / "versions").mkdir(parents=True)
    performed.dump_midi(first)
    performed.dump_midi(first.parent / "versions" / f"{number}-v1.mid")
    second = folder / CORRECTED / "POP909_processed" / (corrected_name or f"{number}.mid")
    second.parent.mkdir(parents=True, exist_ok=True)
    barred.dump_midi(second)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten songs, read in this process."""
    for number in range(1, 11):
        name = "003 .mid" if number == 3 else ""
        write_song(tmp_path / "source", f"{number:03d}", 480 * number, seed=number, corrected_name=name)
    monkeypatch.setattr(pop909, "read_parallel", functools.partial(read_parallel, num_processes=1))
    return tmp_path / "source"


def test_a_made_song_by_hand(made: Path) -> None:
    songs = find_songs(made / ORIGINAL, made / CORRECTED)
    assert [song.id for song in songs] == [f"pop909/{number:03d}" for number in range(1, 11)]
    score, join, notes = join_song(songs[2])
    check_score(score)
    assert join == (1440, 1.0, 1440)
    assert notes == {"found": 144, "before_start": 0, "below_melody": 0, "melody_cut": 47}
    assert str(score.metre(0)) == "3/4" and score.fifths == 2 and score.mode == "major" and score.tempo == 72
    assert [part.name for part in score.parts] == ["melody", "bridge", "piano"]
    assert len(np.unique(score.notes[:, 3])) > 20  # velocities as played
    melody = select_track(score, "melody")
    assert melody.notes[:3, :2].tolist() == [[2400, 480], [2880, 480], [3360, 480]]
    assert score.chords[0].tolist() == [2880, 1440, D, 1 << D | 1 << 6 | 1 << A]


def test_songs_that_do_not_fit_are_refused_by_name(made: Path) -> None:
    songs = find_songs(made / ORIGINAL, made / CORRECTED)
    assert read_song(songs[0]._replace(corrected=songs[1].corrected)) == Refusal("pop909/001", "join")
    assert read_song(Song("pop909/001", songs[0].original, "")) == Refusal("pop909/001", "missing")
    midi = symusic.Score.from_file(songs[0].original)
    midi.tracks[1].name = "DRUMS"
    midi.dump_midi(songs[0].original)
    assert read_song(songs[0]) == Refusal("pop909/001", "tracks")


def test_the_data_set_holds_every_song_once(made: Path, tmp_path: Path) -> None:
    (made / CORRECTED / "POP909_processed" / "007.mid").unlink()
    write_song(made, "011", 960, seed=4)  # a copy of song 4, moved
    info = prepare("pop909", str(tmp_path), str(made)).info
    assert info.metadata["refused_ids"] == {"pop909/007": "missing"} and info.metadata["songs_found"] == 11
    split_of = {}
    for split in info.splits:
        for record in load_split("pop909", str(tmp_path), split):
            split_of[record["id"].decode()] = split
            check_score(to_score(record))
            assert record["style"] == b"pop" and record["shift"] % 480 == 0 and record["match"] == 1
    assert len(split_of) == 10
    assert split_of["pop909/004"] == split_of["pop909/011"]  # they share their windows
    data = DataConfig(dataset="pop909", data_dir=str(tmp_path), manual_dir=str(made), track="melody", measures=4, hop=4)
    windows = load_windows(Config(codec=CodecConfig(), data=data), "train")
    assert not windows.refusals and len(windows) and windows.score(0).notes[:, 4].max() == 0


def test_the_repositories_are_downloaded_where_they_are_not_given(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    for name in (ORIGINAL, CORRECTED):
        with zipfile.ZipFile(served / f"{name}.zip", "w") as archive:
            for path in (made / name).rglob("*.mid"):
                archive.write(path, f"{name}-0123abc/{path.relative_to(made / name)}")
            archive.writestr(f"{name}-0123abc/README.md", "not needed")
    handler = functools.partial(_Silent, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(pop909, "URLS", {name: f"{address}/{name}.zip" for name in pop909.URLS})
        try:
            metadata = prepare("pop909", str(tmp_path)).info.metadata
            assert metadata["songs_found"] == 10 and metadata["refused"] == {}
            monkeypatch.setattr(pop909, "URLS", {name: f"{address}/none/{name}.zip" for name in pop909.URLS})
            with pytest.raises(UserError, match=r"cannot be downloaded: .*404.*; allowed is also a manual_dir"):
                prepare("pop909", str(tmp_path / "other"))
        finally:
            server.shutdown()
            thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_half_of_the_repositories_is_refused(made: Path, tmp_path: Path) -> None:
    (made / CORRECTED).rename(made / "elsewhere")
    with pytest.raises(UserError, match=r"source has no folder POP909-CL-Dataset; allowed: POP909-Dataset and"):
        prepare("pop909", str(tmp_path), str(made))
    with pytest.raises(UserError, match=r"manual_dir = .*: no such folder"):
        prepare("pop909", str(tmp_path), str(made / "nowhere"))


# The real songs.


def real_songs(step: int = 1) -> list[Song]:
    songs = find_songs(FOLDER / ORIGINAL, FOLDER / CORRECTED)
    return [song for song in songs if int(song.id[-3:]) % step == 0 or song.id[-3:] in {"043", "553", "658"}]


@functools.cache
def listed() -> dict[str, dict[str, str]]:
    with open(FOLDER / "pop909_join.csv", newline="") as file:
        return {f"pop909/{row['song']}": row for row in csv.DictReader(file)}


def check_join(song: Song) -> None:
    """The same bin as the list has. Its shifts are the middles of bins; ours is refined, by at most half a bin."""
    row = listed()[song.id]
    if float(row["match_fraction"]) < 0.9:
        assert read_song(song) == Refusal(song.id, "join")
        return
    score, join, _ = join_song(song)
    assert join.bin_shift == int(row["shift_ticks_480"])
    assert abs(join.shift - join.bin_shift) <= BIN / 2
    assert join.match == pytest.approx(float(row["match_fraction"]), abs=0.002)
    check_score(score)
    melody = select_track(score, "melody")
    assert find_polyphony(melody.notes) is None
    if score.fifths is not None and len(melody.notes):
        scale = {(7 * (score.fifths + fifth)) % 12 for fifth in range(-1, 6)}
        assert np.isin(melody.notes[:, 2] % 12, list(scale)).mean() > 0.5


@needs_pop909
@pytest.mark.parametrize("song", real_songs(100) if needs_pop909.args[0] is False else [], ids=lambda song: song.id)
def test_some_songs_are_joined_as_listed(song: Song) -> None:
    check_join(song)


@needs_pop909
@pytest.mark.slow
def test_all_songs_are_joined_as_listed() -> None:
    songs = real_songs()
    assert len(songs) == 859
    for song in songs:
        check_join(song)


@needs_pop909
@pytest.mark.slow
def test_all_songs_are_prepared_and_no_held_out_window_is_trained_on(tmp_path: Path) -> None:
    metadata = prepare("pop909", str(tmp_path), str(FOLDER)).info.metadata
    assert metadata["refused_ids"] == {"pop909/553": "join", "pop909/658": "join"}
    kept = metadata["notes"]
    assert kept["before_start"] + kept["below_melody"] < 0.002 * kept["found"]
    windows: dict[str, set[bytes]] = {}
    sizes, on_beat, in_scale, melody_notes = {}, np.zeros(4), 0.0, 0
    for split in ("train", "validation", "test"):
        records = load_split("pop909", str(tmp_path), split)
        sizes[split] = len(records)
        windows[split] = set()
        for score in map(to_score, records):
            melody = select_track(score, "melody")
            windows[split].update(window_signatures(GRID.encode(melody), GRID))
            if score.metre(0) == (4, 4):
                piano = score.notes[score.notes[:, 4] == 2, 0]
                place = piano % 1920
                on_beat += [np.count_nonzero((place - beat + 20) % 1920 < 40) for beat in (0, 480, 960, 1440)]
            if score.fifths is not None:
                scale = [(7 * (score.fifths + fifth)) % 12 for fifth in range(-1, 6)]
                in_scale += float(np.isin(melody.notes[:, 2] % 12, scale).sum())
                melody_notes += len(melody.notes)
    assert not windows["train"] & (windows["validation"] | windows["test"])
    assert not windows["validation"] & windows["test"]
    assert sizes == {"train": 685, "validation": 86, "test": 86}
    # Two checks that know nothing of the join: beat 1 has most onsets, and the melody lies in the key.
    assert on_beat[0] == on_beat.max() and in_scale > 0.95 * melody_notes
    print(on_beat, in_scale / melody_notes)
