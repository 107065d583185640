"""Dims by name: ``"fine/rhythm[3]"`` is a dim, ``"fine/rhythm"`` a group of dims, ``"fine"`` all dims of a level."""

from typing import NamedTuple

from musicvae_jax.config.checks import check
from musicvae_jax.config.levels import LevelsConfig


class Dims(NamedTuple):
    """Neighbouring dims of a level."""

    level: str
    dims: slice
    names: tuple[str, ...]  # one a dim, such as "fine/rhythm[3]"


def dim_name(levels: LevelsConfig, level: str, dim: int) -> str:
    """The name of a dim of a level, such as ``"fine/rhythm[3]"``.

    Raises:
        ConfigError: the level is off, or has fewer dims.

    Example:
        >>> dim_name(LevelsConfig(), "global", 9)
        'global/pitch[1]'
    """
    check(level in levels.on, "level", level, f"one of {', '.join(levels.on) or 'none: all are off'}")
    width = levels[level].dim
    check(0 <= dim < width, f"dim of {level}", dim, f"0 to {width - 1}")
    return levels[level].dim_names(level)[dim]


def group_of(dim: str) -> str:
    """The group of a dim by its name: ``"rhythm"`` of ``"fine/rhythm[3]"``."""
    return dim.partition("/")[2].partition("[")[0]


def find_dims(levels: LevelsConfig, name: str, what: str = "dim") -> Dims:
    """The dims that a name stands for: a dim, a group or a level.

    Args:
        levels: of the model.
        name: such as ``"fine/rhythm[3]"``, ``"fine/rhythm"`` or ``"fine"``.
        what: is asked for, in the message of the error.

    Raises:
        ConfigError: nothing has the name.
    """
    found: dict[str, Dims] = {}
    for level, own in levels.on.items():
        names = tuple(own.dim_names(level))
        found[level] = Dims(level, slice(0, own.dim), names)
        for group, dims in own.layout.items():
            found[f"{level}/{group}"] = Dims(level, dims, names[dims])
        found |= {one: Dims(level, slice(dim, dim + 1), (one,)) for dim, one in enumerate(names)}
    some = ", ".join(f"{level}/{group}[0]" for level, own in levels.on.items() for group in own.layout)
    check(name in found, what, name, f"such as {some or 'nothing: all levels are off'}")
    return found[name]
