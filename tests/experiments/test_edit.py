"""edit.py and embed.py write what they say, and refuse wrong input before they load a model."""

import numpy as np
import pytest

from musicvae_jax.analysis import analyzer
from musicvae_jax.analysis.directions import Direction
from musicvae_jax.codec import read_midi, write_midi
from tests.data.melodies import random_melody
from tests.untrained import write_workdir

PITCH = Direction("mean_pitch", "fine", "probe", (0.1, 0.0, 0.0), "semitones", 1.0, 1.0, 1.0, 5.0, {"mean_pitch": 1.0})


def test_an_edit_leaves_the_other_measures(tmp_path, call, monkeypatch):
    workdir, out, piece = write_workdir(tmp_path / "run"), tmp_path / "out", random_melody(1, 6)
    write_midi(piece, tmp_path / "tune.mid")
    monkeypatch.setattr(analyzer, "load_directions", lambda *_: [PITCH])
    options = ("--workdir", workdir, "--out", out, "--change", "mean_pitch=+3", "--measures", "5-6")
    ended = call("edit.py", tmp_path / "tune.mid", *options)
    assert ended.status == 0, ended.error
    assert "mean_pitch: +3.00 asked" in ended.out
    stems = ("tune_mid", "tune_mid.original")
    assert {path.name for path in out.iterdir()} == {f"{s}.{kind}" for s in stems for kind in ("mid", "wav")} | {
        "tune_mid.png"
    }
    original, edited = (read_midi(out / f"{stem}.mid").notes for stem in reversed(stems))
    border = piece.measures[4, 0]
    np.testing.assert_array_equal(edited[edited[:, 0] < border], original[original[:, 0] < border])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--change mean_pitch", "change has 'mean_pitch': allowed is ATTRIBUTE=CHANGE"),
        ("--change mean_pitch=high", "change has mean_pitch=high: allowed is ATTRIBUTE=CHANGE"),
        ("--change mean_pitch=1 --measures 8-5", "measures = '8-5': allowed is a number, or two such as 5-8"),
        ("--change mean_pitch=1 --measures 0", "measures = '0'"),
    ],
)
def test_wrong_edits_are_refused_before_a_model_is_loaded(options, said, tmp_path, call):
    ended = call("edit.py", "tune.mid", "--workdir", tmp_path / "none", "--out", tmp_path / "out", *options.split())
    assert ended.status == 2 and said in ended.message and not (tmp_path / "out").exists()


def test_a_table_is_written(tmp_path, call):
    workdir = write_workdir(tmp_path / "run")
    (tmp_path / "music").mkdir()
    write_midi(random_melody(1, 6), tmp_path / "music" / "tune.mid")
    ended = call("embed.py", "--workdir", workdir, "--folder", tmp_path / "music", "--out", tmp_path / "table.npz")
    assert ended.status == 0 and "2 windows of 1 pieces" in ended.out, ended.error
    with np.load(tmp_path / "table.npz") as table:
        assert len(table["latents"]) == 2 and "fine/rhythm[0]@3" in table["columns"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--out a.npz", "folder = '' and split = '': allowed is one of them"),
        ("--out a.csv --split test", "out = 'a.csv': allowed is a name that ends in .npz"),
        ("--out a.npz --folder none", "folder = 'none': no such folder"),
    ],
)
def test_wrong_tables_are_refused(options, said, tmp_path, call):
    ended = call("embed.py", "--workdir", tmp_path, *options.split())
    assert ended.status == 2 and said in ended.message
