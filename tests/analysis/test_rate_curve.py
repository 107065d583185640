"""The curve of a figure over its rate, by the script."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from configs.ablations import ABLATIONS

from musicvae_jax.analysis import rate_curve
from musicvae_jax.evaluation.ablations import make_row, plan
from tests.pictures import assert_picture

CURVES = ["three=three-10 three-40", "flat=flat-10"]
RATES = {"three-10": 10.0, "three-40": 40.0, "flat-10": 9.0}


def rows_of(seed: int, **more: float) -> list[dict]:
    runs = [run for run in plan("levels", ABLATIONS["levels"]) if run.seed == seed and run.variant in RATES]
    figures = {run.variant: {"kl_per_phrase": RATES[run.variant] + seed, "onset_f1": 0.1 + seed} for run in runs}
    return [make_row(run, figures[run.variant] | more) for run in runs]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def draw(tmp_path, call):
    """The script on three variants, two seeds each."""
    write_rows(tmp_path / "levels.jsonl", [*rows_of(0), *rows_of(1)])
    return partial(call, "draw_rates.py", "--results", tmp_path, "--out", tmp_path / "a.png")


def test_the_curves_are_drawn(draw, tmp_path):
    assert draw("--curves", *CURVES).status == 0
    one = assert_picture(tmp_path / "a.png")
    assert draw("--curves", CURVES[0]).status == 0
    assert (one != assert_picture(tmp_path / "a.png")).any()


def test_rows_that_the_table_does_not_count_are_not_drawn(draw, tmp_path, monkeypatch):
    """Of another recipe, or of a run that was measured again."""
    drawn = []
    monkeypatch.setattr(rate_curve, "plot_rate_curve", lambda points, *_: drawn.append(points))
    older = [row | {"onset_f1": 0.9} for row in rows_of(0)]
    other = [row | {"recipe": row["recipe"] | {"train.num_steps": 7}} for row in rows_of(1, onset_f1=0.8)]
    write_rows(tmp_path / "levels.jsonl", [*older, *other, *rows_of(0), *rows_of(1)])
    assert draw("--curves", *CURVES).status == 0
    (points,) = drawn
    for label, variants in (("three", ["three-10", "three-40"]), ("flat", ["flat-10"])):
        for found, variant in zip(points[label], variants, strict=True):
            np.testing.assert_array_equal(found, [(RATES[variant], 0.1), (RATES[variant] + 1, 1.1)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--curves", "three"], "curves has 'three': allowed is 'LABEL=VARIANT VARIANT ...'"),
        (["--curves", "three=three-20"], "no rows to draw of three: allowed are variants with finished runs"),
        (["--curves", CURVES[0], "three=flat-10"], "curves has 'three' twice: allowed is a label of its own"),
        (["--curves", *CURVES, "--figure", "onsets"], "figure = 'onsets': three-10 has none of that name"),
        (["--curves", *CURVES, "--ablation", "levles"], "no ablation 'levles': did you mean levels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, said, draw, tmp_path):
    status, _, error = draw(*arguments)
    assert status == 2 and said in error and not (tmp_path / "a.png").exists()
