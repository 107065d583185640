"""The commands of generate.py write playable music and pictures."""

import wave
from pathlib import Path

import numpy as np

from musicvae_jax.codec import read_midi, write_abc, write_midi
from tests.codec.music import score_of
from tests.data.melodies import random_melody
from tests.pictures import assert_picture
from tests.untrained import write_workdir

CHORDS = score_of([(0, 960, 48, 80, 0), (0, 480, 60, 80, 0), (480, 480, 64, 80, 0), (960, 960, 67, 80, 0)])
WALTZ = "X:1\nM:3/4\nL:1/4\nK:D\nD F A|d2 A|F A d|D3|]\n"


def assert_written(out: Path, stems: list[str], pictures: list[str]) -> None:
    """OUT holds sound and notes of the stems, and the pictures, and nothing else."""
    names = {f"{stem}.{kind}" for stem in stems for kind in ("mid", "wav")} | {f"{name}.png" for name in pictures}
    assert {path.name for path in out.iterdir()} == names
    for stem in stems:
        assert len(read_midi(out / f"{stem}.mid").notes)
        with wave.open(str(out / f"{stem}.wav")) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.abs(sound).max() > 1000
    for name in pictures:
        assert_picture(out / f"{name}.png")


def test_samples_have_the_given_metre(run, tmp_path, call):
    ended = call("generate.py", "sample", "--workdir", run, "--out", tmp_path, "--num", 2, "--metre", "6/8")
    assert ended.status == 0, ended.error
    stems = ["sample_0", "sample_1"]
    assert_written(tmp_path, stems, stems)
    assert all(str(read_midi(tmp_path / f"{stem}.mid").metre(0)) == "6/8" for stem in stems)


def test_one_bad_file_does_not_stop_the_reconstruction_of_others(run, tune, tmp_path, call):
    (tmp_path / "tune.abc").write_text(write_abc(tune))
    write_midi(tune, tmp_path / "tune.mid")
    write_midi(CHORDS, tmp_path / "chords.mid")
    (tmp_path / "corrupt.mid").write_bytes((tmp_path / "tune.mid").read_bytes()[:-20])
    (tmp_path / "empty.abc").write_text("")
    (tmp_path / "text.mid").write_text("These are words.")
    (tmp_path / "slide.abc").write_text("X:1\nM:12/8\nL:1/8\nK:D\nD3 F3 A3 d3|]\n")  # more slots than the model has
    reasons = {"chords.mid": "polyphonic", "corrupt.mid": "corrupt", "empty.abc": "empty", "text.mid": "unreadable"}
    reasons["slide.abc"] = "metre"
    names = ["corrupt.mid", "tune.abc", "empty.abc", "text.mid", "slide.abc", "chords.mid", "tune.mid"]
    common = ("reconstruct", "--workdir", run, "--temperature", 1.0, "--out")

    ended = call("generate.py", *common, tmp_path / "out", *(tmp_path / name for name in names))
    assert ended.status == 2  # so that a script sees that something was refused
    assert "2 of 7 reconstructed" in ended.out
    stems = ["tune_abc_X_1", "tune_mid"]
    assert_written(tmp_path / "out", [*stems, *(f"{stem}.original" for stem in stems)], stems)
    np.testing.assert_array_equal(read_midi(tmp_path / "out" / "tune_mid.original.mid").notes, tune.notes)
    for name, reason in reasons.items():
        assert any(name in line and f"  {reason}  " in line for line in ended.error.splitlines())
    assert "5 refused: " in ended.error and "Traceback" not in ended.error

    ended = call("generate.py", *common, tmp_path / "skyline", "--track", "skyline", tmp_path / "chords.mid")
    assert ended.status == 0 and not ended.error
    assert len(read_midi(tmp_path / "skyline" / "chords_mid.original.mid").notes)

    ended = call("generate.py", *common, tmp_path / "none", tmp_path / "empty.abc")
    assert ended.status == 2 and "1 refused: 1 empty" in ended.error
    assert not (tmp_path / "none").exists()


def test_resampling_writes_the_first_window_and_its_variants(tmp_path, call):
    workdir, out = write_workdir(tmp_path / "run"), tmp_path / "out"
    write_midi(random_melody(1, 6), tmp_path / "tune.mid")
    ended = call("generate.py", "resample", tmp_path / "tune.mid", "--workdir", workdir, "--out", out, "--num", 2)
    assert ended.status == 0 and "2 variants" in ended.out, ended.error
    assert_written(out, ["tune_mid.original", "tune_mid_0", "tune_mid_1"], ["tune_mid"])
    assert read_midi(out / "tune_mid.original.mid").num_measures == 4


def test_an_interpolation_ends_in_the_metre_of_the_second_tune(run, tune, tmp_path, call):
    write_midi(tune, tmp_path / "a.mid")
    (tmp_path / "b.abc").write_text(WALTZ)
    options = ("--workdir", run, "--out", tmp_path / "out", "--steps", 3, "--temperature", 1.0)
    ended = call("generate.py", "interpolate", *options, tmp_path / "a.mid", tmp_path / "b.abc")
    assert ended.status == 0, ended.error
    stems = ["step_0", "step_1", "step_2"]
    assert_written(tmp_path / "out", stems, [*stems, "path"])
    assert str(read_midi(tmp_path / "out" / "step_2.mid").metre(0)) == "3/4"


def test_a_gallery_holds_samples_reconstructions_and_curves(run, tmp_path, call):
    ended = call("generate.py", "gallery", "--trust-config", "--workdir", run, "--out", tmp_path, "--num", 2)
    assert ended.status == 0, ended.error
    stems = [f"{name}_{number}" for name in ("sample", "reconstruction") for number in range(2)]
    originals = [f"reconstruction_{number}.original" for number in range(2)]
    assert_written(tmp_path, [*stems, *originals], [*stems, "samples", "training"])
