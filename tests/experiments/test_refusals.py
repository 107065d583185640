"""Bad input to a script: exit status 2, one message that says what is allowed, and nothing on the disk."""

from pathlib import Path

import pytest

from musicvae_jax.codec import write_midi
from tests.scripts import Ended, spawn, train_args

NO_SAMPLE = ["--data-dir", "data", "--sample", 0]


def assert_refused(ended: Ended, *said: str) -> None:
    assert ended.status == 2
    for part in said:
        assert part in ended.message
    assert "Traceback" not in ended.error
    assert ended.error.count("error: ") == ended.error.startswith("error: ")  # one line, or one box of tyro


def name_of(value: object) -> str:
    """Test id: the end of the command line."""
    return " ".join(map(str, value[-2:])) if isinstance(value, list) else ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["folk-basik"], ("'folk-basik'", "did you mean folk-basic")),
        (["debug", "--model.dmi", "32"], ("--model.dmi", "Perhaps you meant: --model.dim INT")),
        (["debug", "--levels.fine.dmi", "32"], ("--levels.fine.dmi", "Perhaps you meant: --levels.fine.dim INT")),
        (["debug", "--levels.local.span", "-1"], ("LevelConfig.span = -1: allowed is 0 or more",)),
        (["debug", "--model.dim", "wide"], ("'wide'", "--model.dim INT")),
        (["debug", "--train.optimizer", "adamx"], ("'adamx'", "'adamw', 'sgd'")),
        (["debug", "--train.num-steps", "0"], ("TrainConfig.num_steps = 0: allowed is a number above 0",)),
        (["debug", "--train.num-devices", "64"], ("num_devices = 64: this process has 4 devices",)),
        (["debug", "--data.dataset", "folk_tune"], ("no data set 'folk_tune': did you mean folk_tunes",)),
        (["debug", "--codec.subdivisions", "0", "1/7"], ("('0', '1/7')", "allowed: whole fractions of 480 ticks")),
        (["debug", "--codec.slots", "1"], ("no training windows", "metre")),
    ],
    ids=name_of,
)
def test_training_refuses_bad_input_before_it_creates_a_folder(arguments, said, folk_data_dir, tmp_path, call):
    ended = call("train.py", *arguments, "--workdir", tmp_path / "run", "--data.data-dir", folk_data_dir)
    assert_refused(ended, *said)
    assert not list(tmp_path.iterdir())


def test_a_new_process_refuses_with_the_same_words(tmp_path):
    ended = spawn("train.py", "debug", "--workdir", tmp_path / "run", "--data.dataset", "folk_tune")
    assert_refused(ended, "no data set 'folk_tune': did you mean folk_tunes")
    assert not list(tmp_path.iterdir())


def test_the_folder_of_another_run_does_not_change(run, folk_data_dir, tmp_path, call):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ended = call("train.py", *train_args(run, folk_data_dir, model__dim=32))
    assert_refused(ended, "another config", "model.dim: 16 there, 32 here", "another --workdir")
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    (tmp_path / "file").write_text("")
    assert_refused(call("train.py", *train_args(tmp_path / "file", folk_data_dir)), "is a file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate.py", "--checkpoint", "worst"], "no checkpoint 'worst': allowed is latest or best"),
        (["evaluate.py", "--split", "tests", "--trust-config"], "folk_tunes has no split 'tests': did you mean test"),
        (["generate.py", "smaple"], "no command 'smaple': did you mean sample"),
        (["generate.py", "sample", "--metre", "4-4"], "allowed is two numbers such as 4/4 or 6/8"),
        (["generate.py", "sample", "--measures", "0"], "measures = 0: allowed is 1 to 20000"),
        (["generate.py", "sample", "--num", "0"], "num = 0: allowed is 1 or more"),
        (["generate.py", "sample", "--temperature", "nan"], "SamplingConfig.temperature = nan: allowed is 0 or more"),
        (["generate.py", "gallery", "--split", "tests", "--trust-config"], "no split 'tests': did you mean test"),
        (["evaluate.py"], "has data_dir = '"),
        (["generate.py", "gallery"], "which is read only if you say so: --data-dir DIR, or --trust-config"),
        (
            ["fit_prior.py", "--prior.base", "flow"],
            "which is read only if you say so: --data-dir DIR, or --trust-config",
        ),
        (["edit.py", "a.mid", "--out", "out", "--change", "mean_pitch=1"], "which is read only if you say so"),
        (["embed.py", "--split", "test", "--out", "a.npz"], "which is read only if you say so"),
        (["measure_steering.py"], "which is read only if you say so"),
        (["fit_prior.py", "--prior.base", "flow", "--name", "main"], "name = 'main': allowed is any other"),
        (["evaluate.py", "--trust-config", "--guidance", "2"], "guidance = 2.0: allowed is 1: the model has no cond"),
        (["evaluate.py", "--trust-config", "--guidance", "0.5"], "guidance = 0.5: allowed is 1 or more"),
        (["analyze.py"], "which is read only if you say so"),
        (["compare_priors.py"], "which is read only if you say so"),
        (["generate.py", "gallery", "--num", "0", "--trust-config"], "num = 0: allowed is 1 or more"),
        (["generate.py", "interpolate", "a.mid", "gone.mid"], "gone.mid, file: missing"),
        (["generate.py", "interpolate", "a.mid", "a.mid", "--track", "7"], "allowed: auto, skyline, or a track with"),
    ],
    ids=name_of,
)
def test_commands_on_a_run_refuse_bad_input(arguments, said, run, tune, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_midi(tune, "a.mid")
    script, *rest = arguments
    assert_refused(call(script, *rest, "--workdir", run, *(["--out", "out"] * (script == "generate.py"))), said)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scaling.py", "debug", "--rounds", 0], "Scaling.rounds = 0: allowed is a number above 0"),
        (["scaling.py", "debug", "--measures", 4, 0], "Scaling.measures = (4, 0): allowed is one number above 0"),
        (["benchmark.py", "debug", "--repeats", 0], "Benchmark.repeats = 0: allowed is a number above 0"),
        (["prepare.py", "midi-folder", "--path", "none", *NO_SAMPLE], "sample = 0: allowed is 1 or more"),
        (["prepare.py", "pop909", "--manual-dir", "none", *NO_SAMPLE], "sample = 0: allowed is 1 or more"),
        (["evaluate.py", "--workdir", "nothing"], "nothing holds no run: config.json is missing"),
        (["generate.py", "sample", "--workdir", "nothing", "--out", "out"], "nothing holds no run: config.json is"),
    ],
    ids=name_of,
)
def test_bad_input_is_refused_before_any_work(arguments, said, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(call(*arguments), said)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_file_system_is_one_line(run, tmp_path, call):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    ended = call("generate.py", "sample", "--workdir", run, "--out", out, "--num", 2, "--metre", "6/8")
    assert_refused(ended, "file/out", "Not a directory")
