"""Laws of the tree of figures and its dotted names."""

import json
import math
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import LevelConfig
from musicvae_jax.figures import Estimate, build, flatten, without_nan
from musicvae_jax.objectives.usage import GroupFigures, LevelFigures
from musicvae_jax.training.validation import ValidationFigures

NUMBERS = st.floats(allow_nan=False)  # infinite ones, too: of a perplexity that overflows
WIDTHS = {"global": 10, "fine": 3}


def figures_of(kind: Any, **more: st.SearchStrategy) -> st.SearchStrategy:
    """Random figures of a class; numbers that may be None are None at times."""
    numbers = {field.name: NUMBERS | st.none() if "None" in str(field.type) else NUMBERS for field in fields(kind)}
    return st.builds(kind, **numbers | more)


def level_figures(name: str) -> st.SearchStrategy[LevelFigures]:
    config = LevelConfig(dim=WIDTHS[name])
    groups = st.fixed_dictionaries(dict.fromkeys(config.layout, figures_of(GroupFigures)))
    per_dim: st.SearchStrategy = st.just({}) | st.fixed_dictionaries(dict.fromkeys(config.dim_names(name), NUMBERS))
    return figures_of(LevelFigures, groups=groups, kl_per_dim=per_dim)


VALIDATIONS = figures_of(
    ValidationFigures, levels=st.fixed_dictionaries({name: level_figures(name) for name in WIDTHS})
)


@given(VALIDATIONS)
def test_build_is_the_inverse_of_flatten(figures):
    flat = flatten(figures)
    assert build(ValidationFigures, flat) == figures
    assert build(ValidationFigures, flat | {"unknown": 1.0, "levels.fine.unknown.kl": 2.0}) == figures
    for name, level in figures.levels.items():
        assert flat.get(f"levels.{name}.kl") == level.kl  # None has no entry
        assert flat.get(f"levels.{name}.groups.rhythm.kl") == level.groups["rhythm"].kl
        assert build(LevelFigures, flatten(level)) == level
    assert None not in flat.values()
    assert {"levels.fine.active_a", "levels.global.groups.pitch.active_b_raw", "nll"} <= flat.keys()


def test_numbers_that_are_not_finite_pass_through_a_file_as_null():
    @dataclass(frozen=True)
    class Figures:
        nll: float
        r2: dict[str, Estimate]
        kl: float | None = None
        step: int = 0

    figures = Figures(math.inf, {"phrase": Estimate(0.5, math.nan)})
    flat = json.loads(json.dumps(without_nan(flatten(figures)), allow_nan=False))
    assert flat == {"nll": None, "r2.phrase.value": 0.5, "r2.phrase.se": None, "step": 0}
    read = build(Figures, flat)
    assert math.isnan(read.nll) and math.isnan(read.r2["phrase"].se)
    assert (read.r2["phrase"].value, read.kl, read.step) == (0.5, None, 0)
    assert build(Figures, {"nll": 1.0, "r2.phrase.value": 0.5, "r2.phrase.se": 0.1}).r2 == {
        "phrase": Estimate(0.5, 0.1)
    }
    assert build(Figures, {"nll": 1.0}).r2 == {}
    with pytest.raises(TypeError, match="nll"):
        build(Figures, {"step": 1})
