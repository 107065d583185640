"""Arguments that a script need not work for to see that they are wrong."""

import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runs", "a={0}", "--smoothing", -1], "error: smoothing = -1.0: allowed is 0 (none) or more"),
        (["--runs", "a={0}", "--smoothing", "inf"], "error: smoothing = inf: allowed is 0 (none) or more"),
        (["--runs", "a={0}", "b={0}", "a={0}"], "error: runs has 'a' twice: allowed is a label of its own for each"),
    ],
)
def test_runs_that_cannot_be_drawn_are_refused(arguments, said, tmp_path, call) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 5, "kl_global": 3.0}) + "\n")
    arguments = [str(argument).format(tmp_path) for argument in arguments]
    status, _, error = call("draw_runs.py", "--out", tmp_path / "a.png", *arguments)
    assert status == 2 and error == f"{said}\n" and not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("data_set", [["midi-folder", "--path", "none"], ["pop909", "--manual-dir", "none"]])
def test_a_sample_of_nothing_is_refused_before_anything_is_prepared(data_set, tmp_path, call) -> None:
    status, _, error = call("prepare.py", *data_set, "--data-dir", tmp_path / "data", "--sample", 0)
    assert status == 2 and error == "error: sample = 0: allowed is 1 or more\n"
    assert not (tmp_path / "data").exists()
