"""The real songs of POP909, against the list of their joins: skipped where they are not."""

import csv
import functools
from pathlib import Path

import numpy as np
import pytest
from musicvae_jax.data.datasets.pieces import GRID, Refusal

from musicvae_jax.codec.score import check_score
from musicvae_jax.codec.tracks import find_polyphony, select_track
from musicvae_jax.data.datasets import load_split, prepare, to_score
from musicvae_jax.data.datasets.pop909_songs import BIN, CORRECTED, ORIGINAL, Song, find_songs, join_song, read_song
from musicvae_jax.data.splits import window_signatures
from tests.data.pop909_data import FOLDER, needs_pop909


def real_songs(step: int = 1) -> list[Song]:
    songs = find_songs(FOLDER / ORIGINAL, FOLDER / CORRECTED)
    return [song for song in songs if int(song.id[-3:]) % step == 0 or song.id[-3:] in {"043", "553", "658"}]


@functools.cache
def listed() -> dict[str, dict[str, str]]:
    with open(FOLDER / "pop909_join.csv", newline="") as file:
        return {f"pop909/{row['song']}": row for row in csv.DictReader(file)}


def check_join(song: Song) -> None:
    """The shift of the list, whose shifts are the middles of bins: ours is refined, by half a bin and a tick at most.

    A true shift between two bins (two songs have one) may be found from either.
    """
    row = listed()[song.id]
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
