"""What a config refuses field by field, built in Python or read from JSON."""

import dataclasses
import json
import math
import typing
from typing import Any, Literal

import numpy as np
import pytest

from musicvae_jax.config import (
    CodecConfig,
    Config,
    ConfigError,
    DataConfig,
    LevelObjective,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    from_json,
    to_json,
)
from musicvae_jax.data.augment import Augmentation

KINDS: list[Any] = [CodecConfig, DataConfig, ModelConfig, LevelObjective, ObjectiveConfig, TrainConfig, Config]
HINTS = [(kind, name, hint) for kind in KINDS for name, hint in typing.get_type_hints(kind).items()]


def item(hint: Any) -> Any:
    """The hint of a tuple's items, or the hint itself."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def of(hint: Any, value: Any) -> Any:
    """A value as a field takes it: alone, or in a tuple."""
    return value if item(hint) is hint else (value,)


def fields(*wanted: Any) -> list[tuple[Any, str, Any]]:
    return [(kind, name, hint) for kind, name, hint in HINTS if item(hint) in wanted]


def test_every_config_class_is_here():
    found = {hint for _, _, hint in HINTS if dataclasses.is_dataclass(hint)}
    assert found | {Config} == set(KINDS)


@pytest.mark.parametrize(("kind", "name", "hint"), fields(int, float))
def test_numbers_out_of_range_are_refused_by_name(kind, name, hint):
    wrong = (-1,) if item(hint) is int else (-1.0, math.nan, math.inf, -math.inf)
    for value in wrong:
        with pytest.raises(ConfigError, match=rf"^{kind.__name__}\.{name} = .*: allowed is "):
            kind(**{name: of(hint, value)})


@pytest.mark.parametrize(("kind", "name", "hint"), fields(int, float, bool, str))
def test_values_of_another_type_are_refused_by_name(kind, name, hint):
    wrong: dict[Any, tuple] = {
        int: (True, 8.0, np.int64(8), "8", None),
        float: (True, "0.5", None, np.float32(0.5)),
        bool: (1, "True", None),
        str: (1, None, b"a"),
    }
    for value in wrong[item(hint)]:
        with pytest.raises(ConfigError, match=rf"^{kind.__name__}\.{name} = .*: allowed is a value of type "):
            kind(**{name: of(hint, value)})


@pytest.mark.parametrize(("kind", "name", "hint"), [row for row in HINTS if typing.get_origin(item(row[2])) is Literal])
def test_misspelled_names_are_refused_with_the_nearest(kind, name, hint):
    allowed = typing.get_args(item(hint))
    listed = " or ".join(map(repr, allowed))
    for option in allowed:
        with pytest.raises(ConfigError, match=rf"^{kind.__name__}\.{name} = '{option}e': allowed is {listed}; did"):
            kind(**{name: of(hint, f"{option}e")})
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name} = 8: allowed is {listed}$"):
        kind(**{name: of(hint, 8)})


@pytest.mark.parametrize(("kind", "name", "hint"), [row for row in HINTS if typing.get_origin(row[2]) is tuple])
def test_lists_are_no_tuples(kind, name, hint):
    """A list would come back from JSON as a tuple: the run could not be continued."""
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name} = \[\]: allowed is a tuple"):
        kind(**{name: []})


@pytest.mark.parametrize(("kind", "name", "hint"), [row for row in HINTS if dataclasses.is_dataclass(row[2])])
def test_parts_are_of_their_class(kind, name, hint):
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name} = \{{\}}: .* of type {hint.__name__}"):
        kind(**{name: {}})


def test_a_whole_number_is_a_float_from_the_start():
    """So that the config is the same, digit by digit, when it comes back from its JSON."""
    config = Config(train=TrainConfig(weight_decay=0, clip_norm=np.float64(2.0)))
    assert type(config.train.weight_decay) is type(config.train.clip_norm) is float
    assert to_json(from_json(to_json(config))) == to_json(config)


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("model", {"span_heads": "global"}, r"ModelConfig\.span_heads = 'global': allowed is a tuple"),
        ("model", {"dim": 12.5}, r"ModelConfig\.dim = 12\.5: allowed is a value of type int"),
        ("train", {"optimizer": "adam"}, r"TrainConfig\.optimizer = 'adam': .*did you mean 'adamw'\?"),
        ("train", 3, r"config\.train = 3: allowed is an object with the fields of TrainConfig"),
        ("train", {"steps": 3}, r"config\.train has no field 'steps': did you mean .*num_steps"),
    ],
)
def test_json_is_refused_in_the_same_words(part, fields, message):
    with pytest.raises(ConfigError, match=message):
        from_json(json.dumps({part: fields}))


def test_what_data_may_be_changed_by_is_what_augmentation_takes():
    for name, most in (("transpose", 127), ("velocity_scale", 10.0)):
        limits: dict[str, Any] = {name: most}
        assert getattr(DataConfig(**limits), name) == getattr(Augmentation(**limits), name)
        over: dict[str, Any] = {name: most + 1}
        with pytest.raises(ConfigError, match=rf"DataConfig\.{name} = {most + 1}: allowed is 0 to "):
            DataConfig(**over)
        with pytest.raises(ValueError, match=f"{name} = {most + 1}"):
            Augmentation(**over)


def test_seeds_are_those_of_which_each_has_a_key_of_its_own():
    assert TrainConfig(seed=2**32 - 1).seed == 2**32 - 1
    for seed in (-1, 2**32, 2**63):
        with pytest.raises(ConfigError, match=rf"TrainConfig\.seed = {seed}: allowed is 0 or more, below 2\*\*32"):
            TrainConfig(seed=seed)
