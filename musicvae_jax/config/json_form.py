"""Configs as JSON, and how two of them differ."""

import dataclasses
import json
import typing
from typing import Any, TypeVar

from musicvae_jax.config.checks import ConfigError, nearest
from musicvae_jax.config.experiment import Config

T = TypeVar("T")


def to_json(config: Config) -> str:
    """The config as indented JSON that `from_json` reads back to an equal value."""
    return json.dumps(as_dict(config), indent=2) + "\n"


def as_dict(config: Any) -> dict[str, Any]:
    """A config as nested dicts by the names that JSON and the command line use: ``levels.global``."""
    return dataclasses.asdict(config, dict_factory=lambda pairs: {name.rstrip("_"): value for name, value in pairs})


def flat(config: Config) -> dict[str, Any]:
    """All fields by their dotted names, such as ``"levels.global.dim"``."""
    return dict(_flat(as_dict(config), ""))


def _flat(tree: dict[str, Any], prefix: str) -> typing.Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def from_json(text: str) -> Config:
    """The config that `to_json` wrote.

    Raises:
        ConfigError: for text that is not JSON, an unknown field (with the nearest names) or a value of another type.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError
        raise ConfigError(f"the config is not JSON: {error}") from error
    return _build(Config, tree, "config")


def differences(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs differ: dotted name -> (first, second)."""
    one, other = flat(first), flat(second)
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def _build(kind: type[T], tree: Any, place: str) -> T:
    if not isinstance(tree, dict):
        raise ConfigError(f"{place} = {tree!r}: allowed is an object with the fields of {kind.__name__}")
    fields = {name.rstrip("_"): (name, hint) for name, hint in typing.get_type_hints(kind).items()}
    for name in tree:
        if name not in fields:
            raise ConfigError(f"{place} has no field {name!r}: {nearest(name, fields)}")
    values = {}
    for name, value in tree.items():
        field, hint = fields[name]
        values[field] = _value(hint, value, f"{place}.{name}")
    return kind(**values)


def _value(hint: Any, value: Any, place: str) -> Any:
    """A value of JSON as its field takes it; the config checks its type."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, place)
    return tuple(value) if isinstance(value, list) else value
