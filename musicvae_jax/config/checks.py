"""Checks of values, and the errors that they raise."""

import dataclasses
import difflib
import math
import typing
from typing import Any, Literal


class UserError(ValueError):
    """An error that users can mend: it says what is wrong and what is allowed. Scripts print it in one line."""


class ConfigError(UserError):
    """A configuration that cannot work; the message quotes the value and what is allowed."""


def check(holds: bool, name: str, value: Any, allowed: str) -> None:
    """Raises `ConfigError` unless it holds."""
    if not holds:
        raise ConfigError(f"{name} = {value!r}: allowed is {allowed}")


def check_types(config: Any) -> None:
    """Raises `ConfigError` unless every field has the type of its hint; an int in a float field becomes a float.

    Types are those that JSON can give back: no bool as a number, no NumPy integer, no list as a tuple.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        value = _conform(hint, getattr(config, name), f"{type(config).__name__}.{name}")
        object.__setattr__(config, name, value)  # the dataclass is frozen


def check_positive(config: Any, *names: str) -> None:
    """Raises `ConfigError` unless the named fields are above 0, and finite."""
    for name in names:
        value = getattr(config, name)
        check(0 < value < math.inf, f"{type(config).__name__}.{name}", value, "a number above 0")


def check_not_negative(config: Any, *names: str) -> None:
    """Raises `ConfigError` unless the named fields are 0 or more, and finite."""
    for name in names:
        value = getattr(config, name)
        check(0 <= value < math.inf, f"{type(config).__name__}.{name}", value, "0 or more")


def check_probability(config: Any, *names: str) -> None:
    """Raises `ConfigError` unless the named fields are at least 0 and below 1."""
    for name in names:
        value = getattr(config, name)
        check(0 <= value < 1, f"{type(config).__name__}.{name}", value, "0 <= value < 1")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """The known names nearest to an unknown one, as part of an error message."""
    known = sorted(known)
    close = _close(name, known)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def check_seed(seed: int, name: str = "seed") -> None:
    """Raises `ConfigError` unless the seed fits in 32 bits, as keys of JAX do."""
    check(0 <= seed < 2**32, name, seed, "0 or more, below 2**32")


def _conform(hint: Any, value: Any, place: str) -> Any:
    """The value with the type of its hint; raises `ConfigError` for another type."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        close = _close(str(value), options)
        meant = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        check(value in options, place, value, " or ".join(map(repr, options)) + meant)
        return value
    if origin is tuple:
        check(isinstance(value, tuple), place, value, "a tuple")
        return tuple(_conform(options[0], item, place) for item in value)
    if hint is float and isinstance(value, float | int) and not isinstance(value, bool):
        return float(value)
    known = isinstance(value, typing.cast(type, hint)) if dataclasses.is_dataclass(hint) else type(value) is hint
    check(known, place, value, f"a value of type {hint.__name__}")
    return value


def _close(name: str, known: typing.Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=3, cutoff=0.4)
