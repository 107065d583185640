"""Files of all kinds by their suffix, batches with bad files, and the choice of a melody."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from hypothesis import given

from musicvae_jax.codec import (
    MusicError,
    Part,
    check_score,
    files,
    format_refusals,
    read_score,
    read_scores,
    read_whole,
    select_track,
    write_abc,
    write_midi,
    write_score,
)
from musicvae_jax.codec import midi as codec_midi
from musicvae_jax.codec.errors import readable
from tests.codec.music import notes_of, score_of, scores

MELODY = score_of([(0, 480, 60, 80, 0), (480, 480, 64, 80, 0)])
DUET = score_of([(0, 480, 48, 80, 1), (0, 480, 60, 80, 0), (480, 480, 64, 80, 0)])
CHORDS = score_of([(0, 960, 48, 80, 0), (0, 480, 60, 80, 0), (480, 480, 55, 80, 0)])


def test_files_are_read_by_their_suffix(tmp_path):
    (tmp_path / "c.abc").write_text(write_abc(MELODY) + "\n" + write_abc(MELODY))
    assert [notes_of(score) for score in read_score(tmp_path / "c.abc")] == [notes_of(MELODY)] * 2
    with pytest.raises(MusicError, match=r"'\.txt'; allowed: \.mid, \.midi, \.abc, \.musicxml, \.xml, \.mxl"):
        read_score(tmp_path / "d.txt")


@pytest.mark.parametrize("name", ["a.mid", "a.MIDI", "a.abc", "a.musicxml", "a.mxl"])
def test_a_score_is_written_by_its_suffix(tmp_path, name):
    write_score(MELODY, tmp_path / name)
    assert [notes_of(score) for score in read_score(tmp_path / name)] == [notes_of(MELODY)]
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("name", ["a.xml", "a.txt", "a"])
def test_an_unknown_suffix_is_not_written(tmp_path, name):
    with pytest.raises(MusicError, match=r"unknown_format: suffix '.*'; allowed: \.mid, .*\.mxl"):
        write_score(MELODY, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_refused_score_leaves_no_file(tmp_path):
    with pytest.raises(MusicError, match="polyphonic"):
        write_score(CHORDS, tmp_path / "a.abc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mid", ".musicxml", ".mxl"])
def test_all_tracks_of_a_file_are_read(tmp_path, suffix):
    score = dataclasses.replace(DUET, parts=(Part("Flute", 73), Part("Kit", 0, is_drum=True)))
    write_score(score, tmp_path / f"a{suffix}")
    (pitched,) = read_whole(tmp_path / f"a{suffix}")
    (whole,) = read_whole(tmp_path / f"a{suffix}", drums=True)
    assert (len(pitched.notes), pitched.parts) == (2, score.parts[:1])
    assert whole.parts == score.parts
    np.testing.assert_array_equal(whole.notes, score.notes)


@pytest.mark.parametrize("name", ["a.mid", "a.abc", "a.mxl"])
def test_pipes_and_folders_are_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)  # reading it would never end
    with pytest.raises(MusicError, match="unreadable: a pipe or a device; allowed: a file"):
        read_whole(tmp_path / name)
    (tmp_path / "folder.mid").mkdir()
    with pytest.raises(MusicError, match="unreadable: a folder"):
        read_whole(tmp_path / "folder.mid")


def test_one_of_several_tracks_must_be_chosen(tmp_path):
    path = tmp_path / "duet.mid"
    write_midi(dataclasses.replace(DUET, parts=(Part("Flute", 73), Part("Cello", 42))), path)
    with pytest.raises(MusicError) as caught:
        read_score(path)
    assert caught.value.reason == "polyphonic"
    assert caught.value.detail == (
        "2 tracks have notes: 0 Flute (2 notes), 1 Cello (1 notes); allowed: one of them (--track N), "
        "or the highest notes (--track skyline)"
    )
    assert notes_of(read_score(path, 0)[0]) == [(0, 1, 60), (1, 1, 64)]
    assert notes_of(read_score(path, "1")[0]) == [(0, 1, 48)]
    assert read_score(path, "1")[0].parts == (Part("Cello", 42),)
    assert notes_of(read_score(path, "skyline")[0]) == [(0, 1, 60), (1, 1, 64)]
    for wrong in (2, "melody", -1):
        with pytest.raises(MusicError, match="allowed: auto, skyline, or a track with notes: 0 Flute"):
            read_score(path, wrong)


def test_chords_in_a_track_are_refused_and_have_a_skyline():
    with pytest.raises(MusicError, match=r"measure 1: polyphonic.*--track skyline"):
        select_track(CHORDS)
    with pytest.raises(MusicError, match=r"another number, or skyline \(--track skyline\)"):
        select_track(CHORDS, 0)
    assert notes_of(select_track(CHORDS, "skyline")) == [(0, 1, 60), (1, 1, 55)]


@given(scores(), scores())
def test_a_skyline_is_the_melody_of_the_highest_notes(one, other):
    later = other.notes[other.notes[:, :2].sum(1) <= one.end]
    notes = np.concatenate([one.notes, later + np.array([0, 0, 0, 0, 1], np.int32)])
    notes = notes[np.lexsort(notes[:, [4, 2, 0]].T)]
    both = dataclasses.replace(one, notes=notes)
    top = select_track(both, "skyline")
    check_score(top)
    assert select_track(top) is top
    assert set(top.notes[:, 0].tolist()) == set(notes[:, 0].tolist())
    for onset, pitch in top.notes[:, [0, 2]].tolist():
        assert pitch == notes[notes[:, 0] == onset, 2].max()


def test_a_batch_continues_after_bad_files_and_ends_with_a_table(tmp_path):
    write_midi(MELODY, tmp_path / "good.mid")
    write_midi(DUET, tmp_path / "duet.mid")
    (tmp_path / "text.mid").write_text("not MIDI")
    (tmp_path / "empty.abc").write_text("")
    (tmp_path / "book.abc").write_text("X:1\nK:C\nC|\n\n" + write_abc(MELODY).replace("X:1", "X:2"))
    names = ["text.mid", "good.mid", "gone.mid", "empty.abc", "duet.mid", "book.abc"]
    found, refusals = read_scores([tmp_path / name for name in names])
    assert [notes_of(score) for score in found] == [notes_of(MELODY)] * 2
    assert [error.reason for error in refusals] == ["unreadable", "missing", "empty", "polyphonic", "metre"]
    lines = format_refusals(refusals).splitlines()
    assert lines[0].split() == ["file", "place", "reason", "detail"]
    assert lines[-1] == "5 refused: 1 unreadable, 1 missing, 1 empty, 1 polyphonic, 1 metre"
    for error, line in zip(refusals, lines[1:-1], strict=True):
        assert line.startswith(error.source)
        assert line.endswith(error.detail)
    assert format_refusals([]) == ""


@pytest.mark.parametrize("name", [b"M\xfcller.mid", b"\xff\xfe.mid", b"x" * 251 + b".mid", "日本.mid".encode()])
def test_files_of_any_name_are_read_and_refused_in_words(tmp_path, name):
    """Old archives have names in other encodings, which Python holds as surrogates."""
    path = tmp_path / os.fsdecode(name)
    write_midi(dataclasses.replace(MELODY, title=""), tmp_path / "tune.mid")
    shutil.copyfile(tmp_path / "tune.mid", path)
    (score,), refusals = read_scores([path])
    assert not refusals
    score.title.encode() and score.source.encode()
    assert score.title == readable(path.stem, 200)
    path.write_bytes(b"MThd")
    scores, (error,) = read_scores([path])
    assert not scores
    format_refusals([error]).encode()


@pytest.mark.parametrize("wrong", [ValueError("4,300 digits"), RecursionError("deep"), MemoryError(), KeyError("x")])
def test_an_unforeseen_error_costs_its_own_file_only(tmp_path, monkeypatch, wrong):
    for name in ("a.mid", "b.mid", "c.abc"):
        write_score(MELODY, tmp_path / name)
    read_midi = codec_midi.read_midi

    def read(path, **options):
        if path.name == "a.mid":
            raise wrong
        return read_midi(path, **options)

    monkeypatch.setattr(files, "read_midi", read)
    found, (error,) = read_scores([tmp_path / name for name in ("a.mid", "b.mid", "c.abc")])
    assert len(found) == 2 and error.reason == "unreadable" and type(wrong).__name__ in error.detail
    assert error.__cause__ is wrong
