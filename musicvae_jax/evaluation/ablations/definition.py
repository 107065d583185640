"""What an ablation is: variants of a config, seeds, and the figures that its table shows."""

import dataclasses
import json
import re
from typing import Any, NamedTuple

from musicvae_jax.config import Config, ConfigError, to_json
from musicvae_jax.config.checks import check

# Where a run finds its data and how often it reports: not what comes out.
_SURROUNDINGS = frozenset({
    "data.data_dir", "data.manual_dir", "data.num_workers", "train.num_devices", "train.parallel",
    "train.seed", "train.log_every", "train.checkpoint_every", "train.eval_every", "train.eval_examples",
})  # fmt: skip

# Raise it when a figure comes to mean something else: rows that were measured before then no longer count.
_MEASUREMENT = 3
_OFF = {"evaluation.num_examples": None, "evaluation.flow_windows": 0, "evaluation.version": 1}


class Column(NamedTuple):
    """A figure of the table."""

    key: str  # its name in evaluation.json
    heading: str
    format: str = ".3f"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """Variants of a config, each trained from several seeds.

    Raises:
        ConfigError: without variants or seeds, with a seed named twice, a variant's name that is no file name, or
            windows that cannot be counted.
    """

    text: str
    """What is compared, and what is held equal: the paragraph above the table."""
    variants: dict[str, Config]
    seeds: tuple[int, ...] = (0, 1)
    columns: tuple[Column, ...]
    num_examples: int | None = None
    """Test windows that figures are measured on, spread over the split; all if not given."""
    flow_windows: int = 128
    """Test windows that it is measured on what each level says, see `information_flow`; 0 leaves that out."""

    def __post_init__(self) -> None:
        if not self.variants:
            raise ConfigError("Ablation.variants = {}: allowed is one or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"Ablation.seeds = {self.seeds}: allowed is one or more, all different")
        for name in self.variants:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ConfigError(f"variant {name!r}: allowed are letters, digits, '_', '.' and '-'")
        windows = self.num_examples
        check(windows is None or windows > 0, "Ablation.num_examples", windows, "1 or more, or None for all")
        check(self.flow_windows >= 0, "Ablation.flow_windows", self.flow_windows, "0 (off) or more")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of an ablation."""

    ablation: str
    variant: str
    seed: int
    config: Config
    num_examples: int | None
    flow_windows: int

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides its figures beside the seed, dotted name -> JSON value."""
        evaluation = {"num_examples": self.num_examples, "flow_windows": self.flow_windows, "version": _MEASUREMENT}
        return what_matters(self.config) | {f"evaluation.{name}": value for name, value in evaluation.items()}


def plan(name: str, ablation: Ablation, data_dir: str = "") -> list[Run]:
    """All runs, in the order in which they are made and counted: every variant of the first seed, then the next seed.

    Args:
        name: of the ablation.
        ablation: what to run.
        data_dir: where prepared data sets live; the variants' own choice if empty.
    """
    runs = []
    for seed in ablation.seeds:
        for variant, config in ablation.variants.items():
            train = dataclasses.replace(config.train, seed=seed)
            data = dataclasses.replace(config.data, data_dir=data_dir or config.data.data_dir)
            own = dataclasses.replace(config, train=train, data=data)
            runs.append(Run(name, variant, seed, own, ablation.num_examples, ablation.flow_windows))
    return runs


def what_matters(config: Config) -> dict[str, Any]:
    """The fields that decide what a run gives, dotted name -> JSON value; the seed is kept apart."""
    return {name: value for name, value in _flatten(json.loads(to_json(config)), "") if name not in _SURROUNDINGS}


def changes(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs between two recipes: dotted name -> (then, now).

    A field that did not exist then counts as unchanged at its default: new options come switched off.
    """
    default = what_matters(Config()) | _OFF
    names = sorted(then | now)
    pairs = {name: (then.get(name, default.get(name)), now.get(name)) for name in names}
    return {name: (before, after) for name, (before, after) in pairs.items() if before != after}


def _flatten(tree: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in tree.items():
        pairs += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return pairs
