"""The curve of a figure over its rate, by the script."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

SCRIPT = Path(__file__).parents[2] / "experiments" / "draw_rates.py"
CURVES = ["three=three-10 three-40", "flat=flat-10"]


@pytest.fixture
def draw(tmp_path, monkeypatch, capsys):
    """The script on three variants, two seeds each: its status, and what it said."""
    rows = [
        {"variant": variant, "seed": seed, "kl_per_phrase": kl + seed, "onset_f1": kl / 100}
        for variant, kl in (("three-10", 10.0), ("three-40", 40.0), ("flat-10", 9.0))
        for seed in (0, 1)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def draw_(*args):
        arguments = ["draw_rates.py", "--rows", tmp_path / "rows.jsonl", "--out", tmp_path / "a.png", *args]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return stop.value.code, capsys.readouterr().err

    return draw_


def test_the_curves_are_drawn(draw, tmp_path):
    assert draw("--curves", *CURVES)[0] == 0
    one = imread(tmp_path / "a.png")
    assert draw("--curves", CURVES[0])[0] == 0
    assert (one != imread(tmp_path / "a.png")).any() and one.std() > 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--curves", "three"], "curves has 'three': allowed is 'LABEL=VARIANT VARIANT ...'"),
        (["--curves", "three=three-20"], "no rows to draw of three: allowed are variants with finished runs"),
        (["--curves", *CURVES, "--figure", "onsets"], "figure = 'onsets': three-10 has none of that name"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, said, draw, tmp_path):
    status, error = draw(*arguments)
    assert status == 2 and said in error and not (tmp_path / "a.png").exists()
