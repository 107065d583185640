"""Which aims there are, and which are met."""

import math

import pytest

from musicvae_jax.evaluation.figures import ANOTHER_PIECE
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.figures import Estimate, build, flatten
from tests.evaluation.trees import SPANS, make_evaluation, put

LIKENESSES = [*(f"r2_within_metre.{span}" for span in SPANS.values()), "chroma", "rhythm"]
# Name of a target -> the value at which it is just missed.
OUTSIDE = (
    {"perplexity": 5.0, "onset_perplexity": 5.0}
    | {f"levels.{level}.kl": 0.99 for level in SPANS}
    | {
        f"levels.{level}{place}.active_{rule}": 0.9
        for level in SPANS
        for place in ("", ".groups.pitch")
        for rule in "ab"
    }
    | {
        f"flow.added.{level}.{name}": 0.01
        for level, span in SPANS.items()
        for name in (f"r2_within_metre.{span}", "chroma", "rhythm")
    }
    | {f"flow.decoded.fine.{name}": 0.0599 for name in LIKENESSES}
    | {"flow.swapped.global.local": 1.0, "flow.swapped.local.fine": 1.0}
    | {"flow.decoded.global.r2_within_metre.window": 0.19, "flow.probes.window.global.r2": 0.19}
    | {"flow.decoded.local.r2_within_metre.phrase": 0.49, "flow.probes.phrase.local.r2": 0.49}
    | {f"flow.decoded.{ANOTHER_PIECE}.r2_within_metre.{span}": 0.05 for span in SPANS.values()}
    | {f"flow.probes.{span}.{level}.shuffled": -0.05 for level, span in SPANS.items()}
)


def test_everything_just_inside_is_met():
    targets = check_targets(make_evaluation())
    assert all(target.met for target in targets)
    names = [target.name for target in targets]
    assert set(names) == {*OUTSIDE, "kl_per_phrase"}
    assert len(names) == len(OUTSIDE) + 2  # two bounds of kl_per_phrase


@pytest.mark.parametrize(("name", "value"), [*OUTSIDE.items(), ("kl_per_phrase", 9.99), ("kl_per_phrase", 50.01)])
def test_what_is_just_outside_is_missed_and_nothing_else(name, value):
    evaluation = make_evaluation()
    place = f"{name}.value" if f"{name}.value" in flatten(evaluation) else name
    missed = [target for target in check_targets(put(evaluation, place, value)) if not target.met]
    assert [(target.name, target.value) for target in missed] == [(name, value)]


def test_nothing_is_above_an_unknown_standard_error():
    flat = {name: math.nan if name.endswith(".se") else value for name, value in flatten(make_evaluation()).items()}
    missed = [target for target in check_targets(build(type(make_evaluation()), flat)) if not target.met]
    assert all(target.goal == "> unknown" for target in missed)
    assert {target.name for target in missed} == {
        name for name in OUTSIDE if name.startswith(("flow.added", "flow.decoded.fine", "flow.swapped"))
    }


def test_a_figure_that_is_nan_has_no_aim():
    evaluation = put(make_evaluation(), "levels.global.active_b", math.nan)
    evaluation = put(evaluation, "levels.global.groups.pitch.active_b", math.nan)
    names = {target.name for target in check_targets(evaluation)}
    assert "levels.global.active_b" not in names and {"levels.global.active_a", "levels.local.active_b"} <= names


def without(level: str):
    """The evaluation of a model without this level, whose other figures stay."""
    evaluation = make_evaluation()
    flow = evaluation.flow
    assert flow
    for name in ("own_span", "decoded", "added", "replaced"):
        flow = put(flow, name, {other: value for other, value in getattr(flow, name).items() if other != level})
    levels = {other: figures for other, figures in evaluation.levels.items() if other != level}
    return put(put(evaluation, "levels", levels), "flow", flow)


@pytest.mark.parametrize("level", ["global", "local", "fine"])
def test_levels_that_are_off_have_no_aims(level):
    evaluation = without(level)
    upper, lower = [name for name in SPANS if name != level]
    evaluation = put(evaluation, "flow.swapped", {upper: {lower: Estimate(1.1, 1.0)}})
    probes = {
        span: {name: probe for name, probe in by.items() if name != level}
        for span, by in evaluation.flow.probes.items()
    }
    names = {target.name for target in check_targets(put(evaluation, "flow.probes", probes))}
    assert not [name for name in names if level in name.split(".")]
    assert f"flow.swapped.{upper}.{lower}" in names and f"flow.added.{lower}.chroma" in names
    # The aim of phrases is for two levels, the first of which is global.
    assert ("flow.probes.phrase.local.r2" in names) == (level == "fine")
    assert ("flow.probes.window.global.r2" in names) == (level != "global")


def test_aims_are_of_the_own_span_of_a_level():
    """A local level of two measures."""
    flat = flatten(make_evaluation())
    swapped = {name: name.replace("phrase", "2_measures") if "kl_per" not in name else name for name in flat}
    assert len(set(swapped.values())) == len(flat)
    evaluation = build(type(make_evaluation()), {swapped[name]: value for name, value in flat.items()})
    evaluation = put(evaluation, "flow.own_span", SPANS | {"local": "2_measures"})
    targets = check_targets(evaluation)
    assert all(target.met for target in targets)
    expected = {name if "kl_per" in name else name.replace("phrase", "2_measures") for name in OUTSIDE}
    assert {target.name for target in targets} == expected | {"kl_per_phrase"}
