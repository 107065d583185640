"""Fields of a config one by one: types, ranges and spelling in Python, in JSON and on the command line."""

from commandline import choose

import contextlib
import dataclasses
import itertools
import json
import math
import sys
import typing
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import (
    CodecConfig,
    Config,
    ConfigError,
    DataConfig,
    LevelConfig,
    LevelsConfig,
    ModelConfig,
    ObjectiveConfig,
    PriorConfig,
    TrainConfig,
    differences,
    flat,
    from_json,
    to_json,
)
from musicvae_jax.data.augment import Augmentation
from musicvae_jax.types import GROUPS, LEVELS
from tests.models.variants import THREE
from tests.tiny import replace

KINDS: list[Any] = [
    CodecConfig, DataConfig, ModelConfig, LevelConfig, LevelsConfig, ObjectiveConfig, TrainConfig, PriorConfig, Config,
]  # fmt: skip
HINTS: list[tuple[Any, str, Any]] = [
    (kind, name, hint) for kind in KINDS for name, hint in typing.get_type_hints(kind).items()
]
WRONG_TYPES: dict[Any, tuple] = {
    int: (True, 8.0, np.int64(8), "8", None),
    float: (True, "0.5", None, np.float32(0.5)),
    bool: (1, "True", None),
    str: (1, None, b"a"),
}
OUT_OF_RANGE: dict[Any, tuple] = {int: (-1,), float: (-1.0, math.nan, math.inf, -math.inf)}


def refused(kind: Any, name: str, value: Any, allowed: str = "") -> None:
    """The field by its name, the value, and what is allowed."""
    with pytest.raises(ConfigError) as error:
        kind(**{name: value})
    assert str(error.value).startswith(f"{kind.__name__}.{name} = {value!r}: allowed is {allowed}")


def test_all_config_classes_are_tested():
    assert {hint for _, _, hint in HINTS if dataclasses.is_dataclass(hint)} | {Config} == set(KINDS)


@pytest.mark.parametrize(("kind", "name", "hint"), HINTS)
def test_wrong_types_and_numbers_out_of_range_are_refused_by_name(kind, name, hint):
    if typing.get_origin(hint) is Literal:
        options = typing.get_args(hint)
        listed = " or ".join(map(repr, options))
        for option in options:
            refused(kind, name, f"{option}e", f"{listed}; did you mean ")
        refused(kind, name, 8, listed)
    elif hint in KINDS:
        refused(kind, name, {}, f"a value of type {hint.__name__}")
    elif typing.get_origin(hint) is tuple:
        refused(kind, name, [], "a tuple")  # a list would come back from JSON as a tuple
        (item, _) = typing.get_args(hint)
        for value in WRONG_TYPES[item]:
            with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name} = .*: allowed is a value of type "):
                kind(**{name: (value,)})
        for value in OUT_OF_RANGE.get(item, ()):
            refused(kind, name, (value,))
    else:
        for value in WRONG_TYPES[hint]:
            refused(kind, name, value, f"a value of type {hint.__name__}")
        for value in OUT_OF_RANGE.get(hint, ()):
            refused(kind, name, value)


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        (ModelConfig, {"dim": 16, "num_heads": 3}, "dim"),
        (ModelConfig, {"level_dropout": 1.0}, "level_dropout"),
        (LevelConfig, {"alpha": 1.0}, "alpha"),
        (LevelConfig, {"alpha": 0.0}, "alpha"),
        (LevelConfig, {"dim": 6, "groups": (2, 2, 2)}, "groups"),
        (LevelConfig, {"dim": 6, "groups": (2, 2, 2, 2, -2)}, "groups"),
        (LevelConfig, {"dim": 6, "groups": (1, 1, 1, 1, 1)}, "groups"),
        (LevelConfig, {"groups": (1, 1, 1, 0, 0)}, "groups"),
        (LevelConfig, {"dim": 8, "attributes": ("note_densitee",)}, "attributes"),
        (LevelConfig, {"dim": 8, "attributes": ("note_density", "note_density")}, "attributes"),
        (LevelConfig, {"dim": 8, "attributes": ("mean_pitch",)}, "attributes"),
        (LevelConfig, {"dim": 9, "attributes": ("mean_pitch", "contour")}, "attributes"),
        (LevelConfig, {"dim": 8, "span": 4, "attributes": ("arvae_note_density",)}, "attributes"),
        (LevelConfig, {"ramp": 0.0}, "ramp"),
        (LevelConfig, {"ramp": 1.1}, "ramp"),
        (LevelConfig, {"schedule_steps": 9}, "schedule_steps"),
        (LevelConfig, {"schedule": "linear"}, "schedule_steps"),
        (LevelConfig, {"schedule": "cyclical_linear", "schedule_steps": 3}, "cycles"),
        (LevelConfig, {"capacity_steps": 9}, "capacity_steps"),
        (LevelConfig, {"nats": 1.0}, "nats"),
        (ObjectiveConfig, {"controller_min_beta": 2.0, "controller_max_beta": 1.0}, "controller_min_beta"),
        (DataConfig, {"measures": 4, "min_measures": 5}, "min_measures"),
        (CodecConfig, {"velocities": 65}, "velocities"),
        (CodecConfig, {"name": "performance", "slots": 1}, "slots"),
        (TrainConfig, {"seed": 2**32}, "seed"),
    ],
)
def test_values_that_fit_no_other_field_are_refused(kind, fields, name):
    with pytest.raises(ConfigError) as error:
        kind(**fields)
    assert str(error.value).startswith(f"{kind.__name__}.{name} = {fields.get(name, kind().__dict__[name])!r}: allowed")


def test_the_span_of_global_is_the_window():
    with pytest.raises(ConfigError, match=r"levels\.global\.span = 2: allowed is 0"):
        LevelsConfig(global_=LevelConfig(dim=6, span=2))
    with pytest.raises(KeyError, match="no level 'gloabl': allowed is global, local, fine"):
        _ = LevelsConfig()["gloabl"]


@pytest.mark.parametrize(("name", "most"), [("transpose", 127), ("velocity_scale", 10.0)])
def test_data_and_augmentation_have_the_same_limits(name, most):
    assert getattr(DataConfig(**{name: most}), name) == getattr(Augmentation(**{name: most}), name)
    refused(DataConfig, name, most + 1)
    with pytest.raises(ValueError, match=f"{name} = {most + 1}"):
        Augmentation(**{name: most + 1})


# Here, or in THREE, every field can be changed by itself, those of a level on one level or another.
START = replace(
    THREE,
    train={"eval_every": 2},
    data={"attributes": True},
    model={"conditions": ("key",)},
    objective={"span_weight": 0.1, "attribute_weight": 0.1, "group_head_weight": 0.1},
    **{"global": {"span_head": True, "free_bits": "capacity", "attributes": ("note_density",), "group_heads": True}},
    local={"schedule": "cyclical_linear", "schedule_steps": 10, "free_bits": "total", "span_head": True},
    fine={"groups": (2, 0, 0, 0, 1), "group_heads": True, "base": "flow", "kl_estimate": "draw"},
)

# A mixture at the top level goes with no rule of free bits there.
MIXTURE = replace(THREE, data={"attributes": True}, **{"global": {"base": "mixture", "kl_estimate": "draw"}})


def other_values(kind: Any, name: str, value: Any) -> list[Any]:
    hint = typing.get_type_hints(kind)[name]
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    by_type: dict[Any, list] = {
        bool: [not value],
        str: ["other"],
        tuple: [(1, 1, 1, 0, 0), ("0", "1/3"), ("syncopation",)],
        float: [0.123],
    }
    return by_type.get(type(value)) or [value + 1, value * 2, 1]


def changed_configs(start: Config) -> Iterator[tuple[Any, str, Config]]:
    """(class, field, config) for every config that differs from the start in this field alone."""
    for place, value in flat(start).items():
        part, name = place.split(".")[-2:]
        kind = LevelConfig if part in LEVELS else type(getattr(start, part))
        for other in other_values(kind, name, value):
            with contextlib.suppress(ConfigError):
                if (config := replace(start, **{part: {name: other}})) != start:
                    yield kind, name, config


def test_json_both_ways_with_every_field_changed():
    configs = [*changed_configs(START), *changed_configs(THREE), *changed_configs(MIXTURE)]
    assert all(from_json(to_json(config)) == config for *_, config in configs)
    expected = {(kind, name) for kind, name, _ in HINTS if kind not in (Config, LevelsConfig)}
    assert {(kind, name) for kind, name, _ in configs} == expected


def test_fields_that_json_lacks_have_their_defaults_and_numbers_their_types():
    assert from_json('{"levels": {"global": {"dim": 20}}}') == Config(levels=LevelsConfig(global_=LevelConfig(dim=20)))
    assert differences(from_json('{"train": {"weight_decay": 0}}'), Config()) == {"train.weight_decay": (0.0, 0.01)}
    config = Config(train=TrainConfig(weight_decay=0, clip_norm=np.float64(2.0)))
    assert type(config.train.weight_decay) is type(config.train.clip_norm) is float
    assert to_json(from_json(to_json(config))) == to_json(config)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"model": {"dim": 12.5}}, r"ModelConfig\.dim = 12\.5: allowed is a value of type int"),
        ({"train": {"optimizer": "adam"}}, r"TrainConfig\.optimizer = 'adam': .*did you mean 'adamw'\?"),
        ({"train": 3}, r"config\.train = 3: allowed is an object with the fields of TrainConfig"),
        ({"train": {"steps": 3}}, r"config\.train has no field 'steps': did you mean .*num_steps"),
        ({"levels": {"gloabl": {}}}, r"config\.levels has no field 'gloabl': did you mean global"),
        ({"levels": {"fine": {"dims": 3}}}, r"config\.levels\.fine has no field 'dims': did you mean .*dim"),
        ({"train": {"learning_rate": math.nan}}, r"TrainConfig\.learning_rate = nan: allowed is a number above 0"),
        ({"train": {"seed": True}}, r"TrainConfig\.seed = True: allowed is a value of type int"),
    ],
)
def test_json_is_refused_with_the_place_and_the_value(tree, message):
    with pytest.raises(ConfigError, match=message):
        from_json(json.dumps(tree))
    with pytest.raises(ConfigError, match="not JSON"):
        from_json(json.dumps(tree)[:-1])


def test_levels_on_the_command_line(monkeypatch):
    words = "--levels.global.dim 20 --levels.local.dim 8 --levels.fine.free-bits per_dim --levels.fine.dim 4"
    monkeypatch.setattr(sys, "argv", ["train.py", "default", *words.split(), "--levels.local.groups", *"44000"])
    local, fine = {"dim": 8, "groups": (4, 4, 0, 0, 0)}, {"dim": 4, "free_bits": "per_dim"}
    assert choose({"default": ("", Config())}) == replace(Config(), local=local, fine=fine, **{"global": {"dim": 20}})
    monkeypatch.setattr(sys, "argv", ["train.py", "default", "--levels.global.span", "2"])
    with pytest.raises(ConfigError, match=r"levels\.global\.span = 2"):
        choose({"default": ("", Config())})


@given(st.integers(1, 60), st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any) | st.none())
def test_groups_are_a_partition_of_the_dims_in_order(dim, sizes):
    level = LevelConfig(dim=sum(sizes), groups=tuple(sizes)) if sizes else LevelConfig(dim=dim)
    layout = level.layout
    assert [number for part in layout.values() for number in range(level.dim)[part]] == list(range(level.dim))
    found = [part.stop - part.start for part in layout.values()]
    assert list(layout) == [group for group in GROUPS if group in layout] and all(found)
    usual = [*(min(8, max(dim - 8 * number, 0)) for number in range(4)), max(dim - 32, 0)]
    assert found == [size for size in sizes or usual if size]
    names = level.dim_names("fine")
    assert len(set(names)) == level.dim
    for group, part in layout.items():
        assert names[part] == [f"fine/{group}[{place}]" for place in range(part.stop - part.start)]


@pytest.mark.parametrize(("local", "fine"), [(0, 0), (2, 2), (3, 2), (8, 8), (99, 1)])
def test_a_window_has_as_many_latents_as_spans_begin_in_it(local, fine):
    levels = replace(THREE, local={"span": local}, fine={"span": fine}).levels
    assert [levels[name].span for name in LEVELS] == [0, local or 4, fine or 1]
    for (name, level), measures in itertools.product(levels.on.items(), range(1, 9)):
        span = level.span_in(measures)
        assert span == (measures if name == "global" else level.span)
        assert level.num_latents(measures) == len(range(0, measures, span))


def test_levels_that_are_off_are_not_among_those_that_are_on():
    assert list(THREE.levels.on) == list(LEVELS) and THREE.levels.top == "global"
    for name in LEVELS:
        on = replace(THREE, **{name: {"dim": 0}}).levels.on
        assert on == {other: level for other, level in THREE.levels.on.items() if other != name}
