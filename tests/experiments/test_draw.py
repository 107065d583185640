"""The scripts that draw pictures."""

import json
from functools import partial
from unittest.mock import create_autospec

import numpy as np
import pytest
from configs.ablations import ABLATIONS

from musicvae_jax.analysis import curves, groups
from musicvae_jax.evaluation.ablations import make_row, plan
from tests.pictures import assert_picture

CURVES = ["three=three-10 three-40", "one=one-flat-10"]
RATES = {"three-10": 10.0, "three-40": 40.0, "one-flat-10": 9.0}


def rows_of(seed, **more):
    runs = [run for run in plan("levels", ABLATIONS["levels"]) if run.seed == seed and run.variant in RATES]
    results = {run.variant: {"kl_per_phrase": RATES[run.variant] + seed, "onset_f1": 0.1 + seed} for run in runs}
    return [make_row(run, results[run.variant] | more) for run in runs]


def leaks(variant, value, names=("note_density", "mean_pitch")):
    """Rows of a variant, of two seeds whose mean is the value."""
    runs = [run for run in plan("groups", ABLATIONS["groups"]) if run.variant == variant]
    keys = [f"flow.groups.{level}.leakage.{group}.{name}" for level, group in PLACES for name in names]
    return [make_row(run, dict.fromkeys(keys, value + (0.1 if run.seed else -0.1))) for run in runs]


PLACES = [("global", "rhythm"), ("fine", "pitch")]
GROUPS = [*leaks("none", 0.2), *leaks("sign-z-1", 0.6), *leaks("sign-z-5", 0.7, ("contour",))]


@pytest.fixture
def scripts(tmp_path, call):
    """script -> call of it that writes a.png, with a run's metrics and an ablation's results."""
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 5, "kl_global": 3.0, "kl_fine": 0.1}) + "\n")
    # Not counted in the table and not drawn: a row of another recipe, and rows of runs that were measured again.
    other = [row | {"recipe": row["recipe"] | {"train.num_steps": 7}} for row in rows_of(1, onset_f1=0.8)]
    rows = [*rows_of(0, onset_f1=0.9), *other, *rows_of(0), *rows_of(1)]
    (tmp_path / "levels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in GROUPS))
    out = ("--out", tmp_path / "a.png")
    return {
        "schedules": partial(call, "draw_schedules.py", *out),
        "runs": partial(call, "draw_runs.py", *out, "--runs"),
        "rates": partial(call, "draw_rates.py", *out, "--results", tmp_path, "--curves"),
        "groups": partial(call, "draw_groups.py", *out, "--results", tmp_path, "--maps"),
    }


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("schedules", []), ("runs", ["a run={0}", "b={0}"]), ("rates", CURVES), ("groups", ["a=none", "b=sign-z-1"])],
)
def test_a_picture_is_drawn(script, arguments, scripts, tmp_path):
    ended = scripts[script](*(argument.format(tmp_path) for argument in arguments))
    assert ended.status == 0 and ended.out == f"{tmp_path / 'a.png'}\n", ended.error
    assert_picture(tmp_path / "a.png")


def test_rates_are_drawn_from_the_rows_that_the_table_counts(scripts, monkeypatch):
    plot = create_autospec(curves.plot_rate_curve, side_effect=curves.plot_rate_curve)
    monkeypatch.setattr(curves, "plot_rate_curve", plot)
    assert scripts["rates"](*CURVES).status == 0
    points, _ = plot.call_args.args
    for label, variants in (("three", ["three-10", "three-40"]), ("one", ["one-flat-10"])):
        for found, variant in zip(points[label], variants, strict=True):
            np.testing.assert_array_equal(found, [(RATES[variant], 0.1), (RATES[variant] + 1, 1.1)])


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("runs", ["no equals"], "'no equals': allowed is LABEL=WORKDIR"),
        ("runs", ["a=none"], "none/metrics.jsonl"),
        ("runs", ["a={0}", "b={0}", "a={0}"], "runs has 'a' twice"),
        ("runs", ["a={0}", "--smoothing", -1], "smoothing = -1.0: allowed is 0 (none) or more"),
        ("rates", ["three"], "curves has 'three': allowed is 'LABEL=VARIANT VARIANT ...'"),
        ("rates", ["three=three-20"], "no rows to draw of three: allowed are variants with finished runs"),
        ("rates", [CURVES[0], "three=one-flat-10"], "curves has 'three' twice"),
        ("rates", [*CURVES, "--figure", "onsets"], "figure = 'onsets': three-10 has no result of that name"),
        ("rates", [*CURVES, "--ablation", "levles"], "no ablation 'levles': did you mean levels"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(script, arguments, said, scripts, tmp_path):
    status, _, error = scripts[script](*(str(argument).format(tmp_path) for argument in arguments))
    assert status == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_maps_are_means_over_seeds_of_the_same_groups(scripts, monkeypatch):
    plot = create_autospec(groups.plot_leakage, side_effect=groups.plot_leakage)
    monkeypatch.setattr(groups, "plot_leakage", plot)
    assert scripts["groups"]("before=none", "after=sign-z-1").status == 0
    (maps,) = plot.call_args.args
    for title, value in (("before", 0.2), ("after", 0.6)):
        assert list(maps[title]) == ["global/rhythm", "fine/pitch"]
        for read in maps[title].values():
            assert read == pytest.approx({"note_density": value, "mean_pitch": value})
    ended = scripts["groups"]("a=rank-z-1")
    assert ended.status == 2 and "no finished run of 'rank-z-1'" in ended.error
    with pytest.raises(ValueError, match="a, b differ: allowed are the same in all maps"):
        groups.plot_leakage({"a": maps["before"], "b": {"global/rhythm": {"contour": 0.1}}})
    with pytest.raises(ValueError, match="maps is empty"):
        groups.plot_leakage({})
