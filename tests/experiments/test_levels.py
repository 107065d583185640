"""The commands about latent levels: variants of a piece, temperatures, pictures."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from musicvae_jax.codec import read_midi, write_midi
from tests.data.melodies import random_melody
from tests.untrained import write_workdir

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def call(monkeypatch, capsys):
    """A script in this process: its status, and what it said."""

    def call_(script: str, *args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(EXPERIMENTS / script), run_name="__main__")
        out, error = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, error

    return call_


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
    assert imread(out / "tune_mid.png").std() > 0.01

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


def test_pictures_are_drawn_by_commands(tmp_path, call) -> None:
    assert call("draw_schedules.py", "--out", tmp_path / "schedules.png")[0] == 0
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 5, "kl_global": 3.0, "kl_fine": 0.1}) + "\n")
    status, *_ = call("draw_runs.py", "--out", tmp_path / "runs.png", "--runs", f"a run={tmp_path}", f"b={tmp_path}")
    assert status == 0
    for name in ("schedules", "runs"):
        assert imread(tmp_path / f"{name}.png").std() > 0.01
    for run, said in (("no equals", "'no equals': allowed is LABEL=WORKDIR"), ("a=/none", "is missing")):
        status, _, error = call("draw_runs.py", "--out", tmp_path / "no.png", "--runs", run)
        assert status == 2 and said in error and error.count("\n") == 1
