"""The songs of POP909: how the two files of a song are joined, and chords."""

from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec.score import check_score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.corpus import Refusal
from musicvae_jax.data.datasets.pop909_songs import (
    BIN,
    CORRECTED,
    MIN_MATCH,
    ORIGINAL,
    Song,
    chord_rows,
    find_root,
    find_shift,
    find_songs,
    join_song,
    read_song,
)

C, D, E, F, G, A, B = 0, 2, 4, 5, 7, 9, 11


def random_notes(rng: np.random.Generator, count: int) -> np.ndarray:
    onsets = np.sort(rng.integers(0, 40_000, count))
    columns = [onsets, onsets * 0 + 200, rng.integers(40, 90, count), onsets * 0 + 80, rng.integers(0, 3, count)]
    return np.stack(columns, axis=1)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(-9_000, 9_000), st.integers(80, 400))
def test_the_shift_of_notes_is_found(seed: int, shift: int, count: int) -> None:
    """The other notes are shifted and set on the grid, and a tenth is missing."""
    rng = np.random.default_rng(seed)
    notes = random_notes(rng, count)
    kept = rng.random(count) < 0.9
    others = notes[kept].copy()
    others[:, 0] = np.rint((others[:, 0] + shift) / BIN) * BIN
    join = find_shift(notes, others)
    assert abs(join.shift - shift) <= BIN / 4  # the median of errors that are uniform over a bin
    assert join.match >= kept.mean()
    moved = notes + np.array([1_000, 0, 0, 0, 0])
    assert find_shift(moved, others).shift == pytest.approx(join.shift - 1_000, abs=BIN / 2)


def test_a_shift_between_the_middles_of_bins_is_found_exactly() -> None:
    notes = random_notes(np.random.default_rng(0), 100)
    assert find_shift(notes, notes + np.array([391, 0, 0, 0, 0])) == (391, 1.0, 400)


def test_other_music_matches_little() -> None:
    rng = np.random.default_rng(0)
    assert find_shift(random_notes(rng, 300), random_notes(rng, 300)).match < 0.5 < MIN_MATCH
    assert find_shift(random_notes(rng, 300), np.zeros((0, 5), np.int64)).match == 0


def test_a_made_song_by_hand(made: Path) -> None:
    songs = find_songs(made / ORIGINAL, made / CORRECTED)
    assert [song.id for song in songs] == [f"pop909/{number:03d}" for number in range(1, 11)]
    score, join, note_counts = join_song(songs[2])
    check_score(score)
    assert join == (1440, 1.0, 1440)
    assert note_counts == {"found": 144, "before_start": 0, "below_melody": 0, "melody_cut": 47}
    assert str(score.metre(0)) == "3/4" and score.fifths == 2 and score.mode == "major" and score.tempo == 72
    assert [part.name for part in score.parts] == ["melody", "bridge", "piano"]
    assert len(np.unique(score.notes[:, 3])) > 20  # velocities as played
    melody = select_track(score, "melody")
    assert melody.notes[:3, :2].tolist() == [[2400, 480], [2880, 480], [3360, 480]]
    assert score.chords[0].tolist() == [2880, 1440, D, 1 << D | 1 << 6 | 1 << A]


def test_songs_that_do_not_fit_are_refused_by_reason(made: Path) -> None:
    songs = find_songs(made / ORIGINAL, made / CORRECTED)
    assert read_song(songs[0]._replace(corrected=songs[1].corrected)) == Refusal("pop909/001", "join")
    assert read_song(Song("pop909/001", songs[0].original, "")) == Refusal("pop909/001", "missing")
    midi = symusic.Score.from_file(songs[0].original)
    midi.tracks[1].name = "DRUMS"
    midi.dump_midi(songs[0].original)
    assert read_song(songs[0]) == Refusal("pop909/001", "tracks")


@pytest.mark.parametrize(
    ("classes", "bass", "root"),
    [
        ([C, E, G], C, C),
        ([C, E, G], E, C),
        ([C, E, G], G, C),
        ([A, C, E, G], A, A),
        ([A, C, E, G], C, C),  # a sixth chord on C
        ([A, C, E, G], E, A),
        ([G, B, D, F], F, G),
        ([C, F, G], C, C),
        ([C, F, G], F, F),
        ([B, D, F], D, B),
        ([C], C, C),
        ([C, G], C, C),
        ([C, D, E, F], C, -1),
    ],
)
def test_roots_of_chords_in_all_keys(classes: list[int], bass: int, root: int) -> None:
    for semitones in range(12):
        moved = sum(1 << (number + semitones) % 12 for number in classes)
        expected = (root + semitones) % 12 if root >= 0 else -1
        assert find_root(moved, (bass + semitones) % 12) == expected


def test_every_onset_of_the_chord_track_is_a_chord() -> None:
    notes = np.array([[0, 960, 60, 90, 1], [0, 900, 64, 90, 1], [0, 960, 67, 90, 1], [480, 480, 62, 90, 1]])
    assert chord_rows(notes).tolist() == [[0, 480, C, 0b10010001], [480, 480, D, 0b100]]
    assert chord_rows(notes[:0]).shape == (0, 4)
