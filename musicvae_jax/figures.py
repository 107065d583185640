"""Figures as a small typed tree: dataclasses, dicts by name, and numbers, with standard errors where there are any.

`flatten` is the one place where the tree becomes dotted names, such as ``levels.fine.kl``: those of
evaluation.<split>.json, of metrics.jsonl and of the columns of ablations. `build` is its inverse.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its standard error."""

    value: float
    se: float  # NaN where the music gives none


def flatten(tree: Any) -> dict[str, Any]:
    """A tree of figures by dotted names; what is None is left out.

    Example:
        >>> flatten({"kl": 3.0, "r2": {"phrase": Estimate(0.5, 0.1)}})
        {'kl': 3.0, 'r2.phrase.value': 0.5, 'r2.phrase.se': 0.1}
    """
    return dict(_pairs(tree, ""))


def build(kind: type[T], flat: Mapping[str, Any]) -> T:
    """The tree of a type whose dotted names and numbers are given; names that the type does not know are left out.

    None stands for a number that is not finite, as in a file. A field without a name in ``flat`` takes its default, or
    None or {} where its type allows that.
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        here = tree
        for part in path:
            here = here.setdefault(part, {})
        here[last] = value
    return typing.cast(T, _build(kind, tree))


def without_nan(flat: Mapping[str, Any]) -> dict[str, Any]:
    """None in place of numbers that are not finite, for JSON."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in flat.items()
    }


def _pairs(tree: Any, prefix: str) -> typing.Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(tree):
        tree = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    if not isinstance(tree, Mapping):
        yield prefix, tree
        return
    for name, value in tree.items():
        if value is not None:
            yield from _pairs(value, f"{prefix}.{name}" if prefix else name)


def _build(hint: Any, tree: Any) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if tree is None else _build(next(option for option in options if option is not type(None)), tree)
    if origin is dict:
        return {name: _build(options[1], value) for name, value in (tree or {}).items()}
    if dataclasses.is_dataclass(hint):
        hints, there = typing.get_type_hints(hint), {}
        for field in dataclasses.fields(hint):
            kind, required = hints[field.name], field.default is field.default_factory  # both are MISSING
            if field.name in tree:
                there[field.name] = _build(kind, tree[field.name])
            elif required and (typing.get_origin(kind) is dict or type(None) in typing.get_args(kind)):
                there[field.name] = _build(kind, None)
        return typing.cast(type, hint)(**there)
    return math.nan if tree is None and hint is float else tree
