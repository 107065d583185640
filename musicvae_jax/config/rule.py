"""What a rule is: two settings that do not go together, and where a config breaks it; `config.rules` lists them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from musicvae_jax.config.data import CodecConfig, DataConfig
from musicvae_jax.config.levels import LevelConfig, LevelsConfig
from musicvae_jax.config.model import ModelConfig
from musicvae_jax.config.objective import ObjectiveConfig
from musicvae_jax.config.train import TrainConfig
from musicvae_jax.types import LEVELS


class Parts(Protocol):
    """What rules read of a `Config`."""

    @property
    def codec(self) -> CodecConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def model(self) -> ModelConfig: ...
    @property
    def levels(self) -> LevelsConfig: ...
    @property
    def objective(self) -> ObjectiveConfig: ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def settled_validations(self) -> int: ...


Places = tuple[str, ...]  # dotted names of fields


class Rule(NamedTuple):
    """Two settings that do not go together."""

    setting: str
    excluded: str
    reason: str
    broken: Callable[[Parts], Iterator[Places]]  # for each violation in a config, the fields that cause it


def once(holds: Callable[[Parts], Any], *places: str) -> Callable[[Parts], Iterator[Places]]:
    """A rule about the config as a whole: broken where ``holds(config)`` is true."""

    def broken(config: Parts) -> Iterator[Places]:
        if holds(config):
            yield places

    return broken


def of_level(
    holds: Callable[[Parts, LevelConfig], Any], *places: str, below_top: bool = False
) -> Callable[[Parts], Iterator[Places]]:
    """A rule about a level that is on: broken where ``holds(config, level)`` is true; ``*`` stands for its name."""

    def broken(config: Parts) -> Iterator[Places]:
        for number, (name, level) in enumerate(config.levels.on.items()):
            if holds(config, level) and (number or not below_top):
                yield tuple(place.replace("*", name) for place in places)

    return broken


def weighed(setting: str, weight: str) -> tuple[Rule, Rule]:
    """A setting of a level with a loss, and the weight of that loss: neither goes without the other."""
    return (
        Rule(
            setting, f"{weight} = 0", "the loss would weigh nothing",
            of_level(lambda c, level: getattr(level, setting) and not getattr(c.objective, weight),
                   f"levels.*.{setting}", f"objective.{weight}"),
        ),
        Rule(
            weight, f"no {setting}", "there is no loss to weigh",
            once(lambda c: getattr(c.objective, weight)
                  and not any(getattr(level, setting) for level in c.levels.on.values()), f"objective.{weight}"),
        ),
    )  # fmt: skip


def value_at(config: Parts, place: str) -> Any:
    """The value of a field by its dotted name, such as ``"levels.global.dim"``."""
    value: Any = config
    for part in place.split("."):
        value = value[part] if part in LEVELS else getattr(value, part)
    return value
