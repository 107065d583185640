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
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config that `to_json` wrote.

    Raises:
        ConfigError: for text that is not JSON, an unknown field (with the nearest names) or a value of another type.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the config is not JSON: {error}") from error
    return _build(Config, tree, "config")


def differences(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs differ: dotted name -> (first, second)."""
    return dict(_differences(dataclasses.asdict(first), dataclasses.asdict(second), ""))


def _differences(first: dict, second: dict, prefix: str) -> typing.Iterator[tuple[str, tuple[Any, Any]]]:
    for name, value in first.items():
        if isinstance(value, dict):
            yield from _differences(value, second[name], f"{prefix}{name}.")
        elif value != second[name]:
            yield prefix + name, (value, second[name])


def _build(kind: type[T], tree: Any, place: str) -> T:
    if not isinstance(tree, dict):
        raise ConfigError(f"{place} = {tree!r}: allowed is an object with the fields of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    for name in tree:
        if name not in hints:
            raise ConfigError(f"{place} has no field {name!r}: {nearest(name, hints)}")
    return kind(**{name: _value(hints[name], value, f"{place}.{name}") for name, value in tree.items()})


def _value(hint: Any, value: Any, place: str) -> Any:
    """A value of JSON as its field takes it; what type it has is checked where the config is built."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, place)
    return tuple(value) if isinstance(value, list) else value
