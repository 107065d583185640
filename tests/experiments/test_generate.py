"""Listening as a user has it: samples, reconstructions, variants and paths, and a gallery of them."""

import wave
from pathlib import Path

import numpy as np

from musicvae_jax.codec import read_midi, write_abc, write_midi
from tests.codec.music import score_of
from tests.data.melodies import random_melody
from tests.pictures import assert_picture
from tests.scripts import spawn
from tests.untrained import write_workdir

CHORDS = score_of([(0, 960, 48, 80, 0), (0, 480, 60, 80, 0), (480, 480, 64, 80, 0), (960, 960, 67, 80, 0)])


def assert_pieces(out: Path, stems: list[str]) -> None:
    for stem in stems:
        assert len(read_midi(out / f"{stem}.mid").notes)
        with wave.open(str(out / f"{stem}.wav")) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.abs(sound).max() > 1000


def test_samples(run, tmp_path, call):
    ended = call("generate.py", "sample", "--workdir", run, "--out", tmp_path, "--num", 2, "--metre", "6/8")
    assert ended.status == 0, ended.error
    assert_pieces(tmp_path, ["sample_0", "sample_1"])
    assert_picture(tmp_path / "sample_1.png")
    assert all(str(read_midi(tmp_path / f"sample_{number}.mid").metre(0)) == "6/8" for number in range(2))


def test_a_batch_of_files_goes_on_and_ends_with_a_table(run, tune, tmp_path, call):
    (tmp_path / "tune.abc").write_text(write_abc(tune))
    write_midi(tune, tmp_path / "tune.mid")
    write_midi(CHORDS, tmp_path / "chords.mid")
    (tmp_path / "corrupt.mid").write_bytes((tmp_path / "tune.mid").read_bytes()[:-20])
    (tmp_path / "empty.abc").write_text("")
    (tmp_path / "text.mid").write_text("These are words.")
    reasons = {"chords.mid": "polyphonic", "corrupt.mid": "corrupt", "empty.abc": "empty", "text.mid": "unreadable"}
    files = [tmp_path / name for name in ["corrupt.mid", "tune.abc", "empty.abc", "text.mid", "chords.mid", "tune.mid"]]
    common = ("reconstruct", "--workdir", run, "--temperature", 1.0, "--out")

    ended = spawn("generate.py", *common, tmp_path / "out", *files)
    assert ended.status == 0, ended.error
    assert "2 of 6 reconstructed" in ended.out
    assert {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir()} == {"tune_abc_X_1", "tune_mid"}
    stems = [stem + part for stem in ("tune_abc_X_1", "tune_mid") for part in ("", ".original")]
    assert_pieces(tmp_path / "out", stems)
    assert_picture(tmp_path / "out" / "tune_mid.png")
    np.testing.assert_array_equal(read_midi(tmp_path / "out" / "tune_mid.original.mid").notes, tune.notes)
    rows = {Path(line.split()[0]).name: line for line in ended.error.splitlines() if line}
    for name, reason in reasons.items():
        assert f"  {reason}  " in rows[name]
    assert "4 refused: 1 corrupt, 1 empty, 1 unreadable, 1 polyphonic" in ended.error
    assert "Traceback" not in ended.error

    ended = call("generate.py", *common, tmp_path / "skyline", "--track", "skyline", tmp_path / "chords.mid")
    assert ended.status == 0 and not ended.error
    assert_pieces(tmp_path / "skyline", ["chords_mid.original"])

    ended = call("generate.py", *common, tmp_path / "none", tmp_path / "empty.abc")
    assert ended.status == 2 and "1 refused: 1 empty" in ended.error
    assert not (tmp_path / "none").exists()


def test_a_piece_is_resampled_from_its_global_code(tmp_path, call) -> None:
    run, out = write_workdir(tmp_path / "run"), tmp_path / "out"
    write_midi(random_melody(1, 6), tmp_path / "tune.mid")
    command = ("generate.py", "resample", tmp_path / "tune.mid", "--workdir", run, "--out", out)
    status, said, error = call(*command, "--keep", "global", "--num", 2, "--level-temperature", "local", 0.5, "fine", 0)
    assert status == 0 and "2 variants" in said, error
    stems = ["tune_mid.original", "tune_mid_0", "tune_mid_1"]
    names = {f"{stem}.{kind}" for stem in stems for kind in ("mid", "wav")} | {"tune_mid.png"}
    assert {path.name for path in out.iterdir()} == names
    assert all(read_midi(out / f"{stem}.mid").num_measures == 4 for stem in stems[:1])
    assert_picture(out / "tune_mid.png")

    for arguments, said_ in (
        (("--keep", "fine"), "error: keep = 'fine': allowed is global or local"),
        (("--level-temperature", "global", 1), "error: temperature of 'global'"),
    ):
        status, _, error = call(*command, *arguments)
        assert status == 2 and said_ in error and error.count("\n") == 1

    sampled = ("generate.py", "sample", "--workdir", run, "--num", 2, "--metre", "3/4", "--temperature", 0)
    cold = ("--level-temperature", "global", 0, "local", 0, "fine", 0)
    assert call(*sampled, "--out", tmp_path / "cold", *cold)[0] == 0
    first, second = (read_midi(tmp_path / "cold" / f"sample_{number}.mid").notes for number in range(2))
    assert first.tolist() == second.tolist()


def test_a_path_between_two_tunes(run, tune, tmp_path, call):
    write_midi(tune, tmp_path / "a.mid")
    (tmp_path / "b.abc").write_text("X:1\nM:3/4\nL:1/4\nK:D\nD F A|d2 A|F A d|D3|]\n")
    out = tmp_path / "out"
    files = (tmp_path / "a.mid", tmp_path / "b.abc")
    ended = call(
        "generate.py", "interpolate", "--workdir", run, "--out", out, "--steps", 3, "--temperature", 1.0, *files
    )
    assert ended.status == 0, ended.error
    assert_pieces(out, ["step_0", "step_1", "step_2"])
    assert_picture(out / "path.png")
    assert str(read_midi(out / "step_2.mid").metre(0)) == "3/4"


def test_gallery(run, tmp_path, call):
    ended = call("generate.py", "gallery", "--workdir", run, "--out", tmp_path, "--num", 2)
    assert ended.status == 0, ended.error
    assert_pieces(tmp_path, ["sample_0", "sample_1", "reconstruction_0.original", "reconstruction_1.original"])
    for name in ("reconstruction_0", "reconstruction_1", "samples", "training"):
        assert_picture(tmp_path / f"{name}.png")
