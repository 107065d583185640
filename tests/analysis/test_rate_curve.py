"""The curve of a figure over its rate, by the script."""

import json
from functools import partial

import pytest

from tests.pictures import assert_picture

CURVES = ["three=three-10 three-40", "flat=flat-10"]


@pytest.fixture
def draw(tmp_path, call):
    """The script on three variants, two seeds each."""
    rows = [
        {"variant": variant, "seed": seed, "kl_per_phrase": kl + seed, "onset_f1": kl / 100}
        for variant, kl in (("three-10", 10.0), ("three-40", 40.0), ("flat-10", 9.0))
        for seed in (0, 1)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return partial(call, "draw_rates.py", "--rows", tmp_path / "rows.jsonl", "--out", tmp_path / "a.png")


def test_the_curves_are_drawn(draw, tmp_path):
    assert draw("--curves", *CURVES).status == 0
    one = assert_picture(tmp_path / "a.png")
    assert draw("--curves", CURVES[0]).status == 0
    assert (one != assert_picture(tmp_path / "a.png")).any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--curves", "three"], "curves has 'three': allowed is 'LABEL=VARIANT VARIANT ...'"),
        (["--curves", "three=three-20"], "no rows to draw of three: allowed are variants with finished runs"),
        (["--curves", *CURVES, "--figure", "onsets"], "figure = 'onsets': three-10 has none of that name"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, said, draw, tmp_path):
    status, _, error = draw(*arguments)
    assert status == 2 and said in error and not (tmp_path / "a.png").exists()
