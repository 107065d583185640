"""What a configuration refuses, and how it says so."""

import difflib
import math
import typing
from typing import Any


class UserError(ValueError):
    """What a user can mend: the message says what is wrong and what is allowed. Scripts print it as one line."""


class ConfigError(UserError):
    """A configuration that cannot work; the message quotes the value and what is allowed."""


def check(holds: bool, name: str, value: Any, allowed: str) -> None:
    """Raises `ConfigError` unless it holds."""
    if not holds:
        raise ConfigError(f"{name} = {value!r}: allowed is {allowed}")


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
    """A sentence with the known names nearest to an unknown one, for error messages."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def check_seed(seed: int) -> None:
    """Refuses a negative seed."""
    check(seed >= 0, "seed", seed, "0 or more")
