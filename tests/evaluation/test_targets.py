"""Which aims there are, and which are met."""

import math

import pytest

from musicvae_jax.evaluation.figures import ANOTHER_PIECE, Evaluation
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.figures import build, flatten
from tests.evaluation.trees import LIKENESSES, SPANS, make_evaluation, put, without

WITHIN = [name for name in LIKENESSES if not name.startswith("r2.")]
# Name of a target -> a value that misses it by little.
OUTSIDE = {"perplexity": 5.0, "onset_perplexity": 5.0, "flow.swapped.global.local": 1.0, "flow.swapped.local.fine": 1.0}
OUTSIDE |= {"flow.decoded.global.r2_within_metre.window": 0.19, "flow.probes.window.global.within_metre": 0.19}
OUTSIDE |= {"flow.decoded.local.r2_within_metre.phrase": 0.49, "flow.probes.phrase.local.within_metre": 0.49}
OUTSIDE |= {f"flow.decoded.fine.{name}": 0.0599 for name in WITHIN}
for _level, _span in SPANS.items():
    OUTSIDE[f"levels.{_level}.kl"] = 0.99
    OUTSIDE |= {f"levels.{_level}{place}.active_{rule}": 0.9 for place in ("", ".groups.pitch") for rule in "ab"}
    OUTSIDE |= {f"flow.added.{_level}.{name}": 0.01 for name in (f"r2_within_metre.{_span}", "chroma", "rhythm")}
    OUTSIDE[f"flow.decoded.{ANOTHER_PIECE}.r2_within_metre.{_span}"] = 0.05
    OUTSIDE[f"flow.probes.{_span}.{_level}.shuffled"] = -0.05


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
    missed = [target for target in check_targets(put(evaluation, {place: value})) if not target.met]
    assert [(target.name, target.value) for target in missed] == [(name, value)]


def test_nothing_is_above_an_unknown_standard_error():
    flat = {name: math.nan if name.endswith(".se") else value for name, value in flatten(make_evaluation()).items()}
    missed = [target for target in check_targets(build(Evaluation, flat)) if not target.met]
    assert all(target.goal == "> unknown" for target in missed)
    assert {target.name for target in missed} == {
        name for name in OUTSIDE if name.startswith(("flow.added", "flow.decoded.fine", "flow.swapped"))
    }


def test_a_figure_that_is_nan_has_no_aim():
    nan = dict.fromkeys(("levels.global.active_b", "levels.global.groups.pitch.active_b"), math.nan)
    names = {target.name for target in check_targets(put(make_evaluation(), nan))}
    assert "levels.global.active_b" not in names and {"levels.global.active_a", "levels.local.active_b"} <= names


@pytest.mark.parametrize("level", ["global", "local", "fine"])
def test_levels_that_are_off_have_no_aims(level):
    upper, lower = [name for name in SPANS if name != level]
    flat = flatten(make_evaluation())
    off = build(Evaluation, {name: value for name, value in flat.items() if level not in name.split(".")})
    growth = {f"flow.swapped.{upper}.{lower}.{leaf}": 1.0 for leaf in ("value", "se")}
    names = {target.name for target in check_targets(put(off, growth))}
    assert not [name for name in names if level in name.split(".")]
    assert f"flow.swapped.{upper}.{lower}" in names and f"flow.added.{lower}.chroma" in names
    # R2 of windows is an aim of a global level, R2 of phrases one of a local level below a global one.
    assert ("flow.probes.window.global.within_metre" in names) == (level != "global")
    assert ("flow.probes.phrase.local.within_metre" in names) == (level == "fine")


def test_without_information_flow_there_are_aims_of_usage_alone():
    names = {target.name for target in check_targets(without(make_evaluation(), "flow"))}
    assert names == {"kl_per_phrase", *(name for name in OUTSIDE if not name.startswith("flow"))}


def test_aims_are_those_of_the_own_span_of_a_level():
    def renamed(name: str) -> str:
        """The name with a local level of two measures."""
        return ".".join("2_measures" if part == "phrase" else part for part in name.split("."))

    flat = {renamed(name): value for name, value in flatten(make_evaluation()).items()}
    targets = check_targets(build(Evaluation, flat | {"flow.own_span.local": "2_measures"}))
    assert all(target.met for target in targets)
    assert {target.name for target in targets} == {"kl_per_phrase", *map(renamed, OUTSIDE)}
