"""The command line as a user has it: a run from training to listening, and what bad input gets."""

import json
import os
import runpy
import subprocess
import sys
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from matplotlib.image import imread

from musicvae_jax.codec import read_midi, write_abc, write_midi
from musicvae_jax.data.load import load_windows
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config
from tests.codec.music import score_of

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
STEPS = 4
EVALUATION = {
    "split", "num_examples", "step", "perplexity", "onset_perplexity", "perplexity_elbo", "nll", "kl", "kl_per_phrase",
    "kl_per_dim_global", "accuracy_teacher_forced", "accuracy_teacher_forced_onsets", "accuracy_free_running",
    "accuracy_free_running_onsets", "onset_f1", "onset_f1_swapped", "baseline_unigram_perplexity",
    "baseline_markov3_perplexity", "baseline_markov6_perplexity",
    *(
        figure.format(name)
        for name in ("global", "global_rhythm", "global_pitch")
        for figure in (
            "kl_{}", "kl_{}_per_phrase", "kl_{}_per_latent", "active_units_a_{}", "active_units_b_{}",
            "active_units_a_raw_{}", "active_units_b_raw_{}", "mutual_information_{}",
        )
    ),
}  # fmt: skip
CHORDS = score_of([(0, 960, 48, 80, 0), (0, 480, 60, 80, 0), (480, 480, 64, 80, 0), (960, 960, 67, 80, 0)])


class Ended(NamedTuple):
    """How a script ended."""

    status: int
    out: str
    error: str

    @property
    def message(self) -> str:
        """What it said on standard error, without the lines of boxes."""
        return " ".join("".join(" " if c in "│─╭╮╰╯" else c for c in self.error).split())


def spawn(script: str, *args: object) -> Ended:
    """A script in a process of its own."""
    result = subprocess.run(
        [sys.executable, EXPERIMENTS / script, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    return Ended(result.returncode, result.stdout, result.stderr)


@pytest.fixture
def call(monkeypatch, capsys):
    """A script in this process, which has JAX and its compiled functions at hand."""

    def call_(script: str, *args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [script, *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(EXPERIMENTS / script), run_name="__main__")
        out, error = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Ended(stop.value.code, out, error)

    return call_


def train_args(workdir: object, data_dir: str, **fields: object) -> list[str]:
    settings: dict[str, object] = {
        "data.data_dir": data_dir,
        "data.measures": 2,
        "data.hop": 8,
        "model.dim": 16,
        "train.num_steps": STEPS,
        "train.batch_size": 8,
        "train.log_every": 2,
        "train.eval_every": 2,
        "train.eval_examples": 8,
    }
    settings |= {name.replace("__", "."): value for name, value in fields.items()}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["debug", "--workdir", str(workdir), *flags]


@pytest.fixture(scope="module")
def run(folk_data_dir, tmp_path_factory) -> Path:
    """The folder of a run that the script trained."""
    workdir = tmp_path_factory.mktemp("scripts") / "run"
    ended = spawn("train.py", *train_args(workdir, folk_data_dir))
    assert ended.status == 0, ended.error
    assert f"trained for {STEPS} steps" in ended.out
    return workdir


@pytest.fixture(scope="module")
def tune(run):
    return load_windows(read_config(run), "test").score(0)


def assert_pieces(out: Path, stems: list[str]) -> None:
    for stem in stems:
        assert len(read_midi(out / f"{stem}.mid").notes)
        with wave.open(str(out / f"{stem}.wav")) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.abs(sound).max() > 1000


def assert_picture(path: Path) -> None:
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 50 and pixels.std() > 0.01  # something is drawn


def test_training_leaves_a_run(run):
    assert read_config(run).train.num_steps == STEPS
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "latest"}


def test_evaluation_is_one_flat_file(run):
    ended = spawn(
        "evaluate.py", "--workdir", run, "--split", "test", "--num-examples", 16, "--flow-windows", 8, "--iwae-draws", 2
    )
    assert ended.status == 0, ended.error
    result = json.loads((run / "evaluation.json").read_text())
    flow = {name for name in result if name.startswith(("flow", "top", "shuffled", "replace", "probe"))}
    assert set(result) - flow == EVALUATION | {"nll_iwae_2", "perplexity_iwae_2"}
    assert {"top_1_minus_top_0_r2_window_se", "replace_global_noise", "probe_r2_global_window"} <= flow
    assert result["flow_windows"] == 8
    assert result["split"] == "test" and result["num_examples"] == 16
    assert all(np.isfinite(value) for value in result.values() if isinstance(value, int | float))
    assert "16 windows of 'test'" in ended.out and f"{result['perplexity_elbo']:.3f}" in ended.out


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["folk-basik"], ["'folk-basik'", "did you mean folk-basic"]),
        (["debug", "--model.dmi", "32"], ["--model.dmi", "Perhaps you meant: --model.dim INT"]),
        (["debug", "--model.dim", "wide"], ["'wide'", "--model.dim INT"]),
        (["debug", "--model.dim", "33"], ["ModelConfig.dim = 33: allowed is a multiple of 2 x num_heads = 4"]),
        (["debug", "--train.num-steps", "0"], ["TrainConfig.num_steps = 0: allowed is a number above 0"]),
        (["debug", "--train.optimizer", "adamx"], ["'adamx'", "'adamw', 'sgd'"]),
        (["debug", "--train.num-devices", "3"], ["batch_size = 16: allowed is a multiple of 3 devices", "e.g. 15"]),
        (["debug", "--train.clip-norm", "inf"], ["TrainConfig.clip_norm = inf: allowed is a number above 0"]),
        (["debug", "--train.num-devices", "64"], ["num_devices = 64: this process has 4 devices"]),
        (["debug", "--data.dataset", "folk_tune"], ["no data set 'folk_tune': did you mean folk_tunes"]),
        (["debug", "--codec.subdivisions", "0", "1/7"], ["('0', '1/7')", "allowed: whole fractions of 480 ticks"]),
        (["debug", "--codec.slots", "1"], ["no training windows", "metre"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if value[0] in ("debug", "folk-basik") else "",
)
def test_bad_training_input_is_refused_before_there_is_a_folder(arguments, said, folk_data_dir, tmp_path, call):
    ended = call("train.py", *arguments, "--workdir", tmp_path / "run", "--data.data-dir", folk_data_dir)
    assert_refused(ended, said)
    assert not list(tmp_path.iterdir())


def test_a_process_ends_with_the_same_words(tmp_path):
    ended = spawn("train.py", "debug", "--workdir", tmp_path / "run", "--data.dataset", "folk_tune")
    assert_refused(ended, ["no data set 'folk_tune': did you mean folk_tunes"])
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_run_is_left_as_it_is(run, folk_data_dir, tmp_path, call):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ended = call("train.py", *train_args(run, folk_data_dir, model__dim=32))
    assert_refused(ended, ["another config", "model.dim: 16 there, 32 here", "another --workdir"])
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    (tmp_path / "file").write_text("")
    assert_refused(call("train.py", *train_args(tmp_path / "file", folk_data_dir)), ["is a file"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate.py", "--checkpoint", "worst"], ["no checkpoint 'worst': allowed is latest or best"]),
        (["evaluate.py", "--split", "tests"], ["folk_tunes has no split 'tests': did you mean test"]),
        (["evaluate.py", "--num-examples", "0"], ["num_examples = 0: allowed is 1 or more"]),
        (["evaluate.py", "--seed", "-1"], ["seed = -1: allowed is 0 or more"]),
        (["generate.py", "smaple"], ["no command 'smaple': did you mean sample"]),
        (["generate.py", "sample", "--metre", "4-4"], ["'4-4'", "allowed is two numbers such as 4/4 or 6/8"]),
        (["generate.py", "sample", "--metre", "12/8"], ["12/8", "24", "18"]),
        (["generate.py", "sample", "--measures", "3"], ["measures = 3: allowed is 1 to the window's 2"]),
        (["generate.py", "sample", "--num", "0"], ["num = 0: allowed is 1 or more"]),
        (["generate.py", "sample", "--top-p", "2"], ["top_p = 2.0: allowed is 0 < value <= 1"]),
        (["generate.py", "gallery", "--split", "tests"], ["no split 'tests': did you mean test"]),
        (["generate.py", "gallery", "--num", "0"], ["num = 0: allowed is 1 or more"]),
        (["generate.py", "sample", "--temperature", "nan"], ["SamplingConfig.temperature = nan: allowed is 0 or more"]),
        (["generate.py", "interpolate", "a.mid", "gone.mid"], ["gone.mid, file: missing"]),
        (["generate.py", "interpolate", "a.mid", "a.mid", "--steps", "1"], ["steps = 1: allowed is 2 or more"]),
        (
            ["generate.py", "interpolate", "a.mid", "a.mid", "--track", "7"],
            ["7; allowed: auto, skyline, or a track with notes: 0"],
        ),
    ],
    ids=lambda value: " ".join(value[-2:]) if value[0].endswith(".py") else "",
)
def test_bad_input_to_a_trained_model_is_refused(arguments, said, run, tune, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_midi(tune, "a.mid")
    script, *rest = arguments
    ended = call(script, *rest, "--workdir", run, *(["--out", "out"] if script == "generate.py" else []))
    assert_refused(ended, said)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scaling.py", "debug", "--rounds", 0], "Scaling.rounds = 0: allowed is a number above 0"),
        (["scaling.py", "debug", "--measures", 4, 0], "Scaling.measures = (4, 0): allowed is one number above 0"),
        (["benchmark.py", "debug", "--repeats", 0], "Benchmark.repeats = 0: allowed is a number above 0"),
    ],
)
def test_what_cannot_be_timed_is_refused(arguments, said, call):
    assert_refused(call(*arguments), [said])


def test_a_folder_without_a_run_is_refused(tmp_path, call):
    folder = tmp_path / "nothing"
    said = ["nothing holds no run: config.json is missing"]
    assert_refused(call("evaluate.py", "--workdir", folder), said)
    assert_refused(call("generate.py", "sample", "--workdir", folder, "--out", tmp_path / "out"), said)
    assert not list(tmp_path.iterdir())


def test_what_the_system_refuses_is_one_line(run, tmp_path, call):
    (tmp_path / "file").write_text("")
    ended = call(
        "generate.py", "sample", "--workdir", run, "--out", tmp_path / "file" / "out", "--num", 2, "--metre", "6/8"
    )
    assert_refused(ended, ["file/out", "Not a directory"])


def assert_refused(ended: Ended, said: list[str]) -> None:
    assert ended.status == 2
    for part in said:
        assert part in ended.message
    assert "Traceback" not in ended.error
    assert ended.error.count("error: ") == ended.error.startswith("error: ")  # one, or a box of tyro's
