"""The commands that draw pictures."""

import json

from tests.pictures import assert_picture


def test_pictures_are_drawn_by_commands(tmp_path, call) -> None:
    assert call("draw_schedules.py", "--out", tmp_path / "schedules.png")[0] == 0
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 5, "kl_global": 3.0, "kl_fine": 0.1}) + "\n")
    status, *_ = call("draw_runs.py", "--out", tmp_path / "runs.png", "--runs", f"a run={tmp_path}", f"b={tmp_path}")
    assert status == 0
    for name in ("schedules", "runs"):
        assert_picture(tmp_path / f"{name}.png")
    for run, said in (("no equals", "'no equals': allowed is LABEL=WORKDIR"), ("a=/none", "is missing")):
        status, _, error = call("draw_runs.py", "--out", tmp_path / "no.png", "--runs", run)
        assert status == 2 and said in error and error.count("\n") == 1
