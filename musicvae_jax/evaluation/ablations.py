"""Ablations: variants of a config, each trained from several seeds, and the rows of finished runs.

A row is a JSON object on a line of a results file. It counts as long as the recipe of its run is the same.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musicvae_jax.config import Config, flat
from musicvae_jax.config.checks import check

# Settings that do not decide the figures: where the data are, which devices, how often a run reports. The seed has a
# field of its own in a row.
_NOT_IN_RECIPE = frozenset({
    "data.data_dir", "data.manual_dir", "data.num_workers", "train.num_devices", "train.parallel",
    "train.seed", "train.log_every", "train.checkpoint_every", "train.eval_every", "train.eval_examples",
})  # fmt: skip
# Increase this when the definition of a figure changes: rows of earlier versions then do not count.
_VERSION = 4

Row = dict[str, Any]  # ablation, variant, seed, recipe, and figures by the names of evaluation.<split>.json


class Column(NamedTuple):
    """A figure in the table."""

    key: str  # its name in evaluation.<split>.json; * stands for all names, the figure is their mean
    heading: str
    format: str = ".3f"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """Variants of a config, each trained from several seeds."""

    text: str
    """The paragraph above the table: what is compared, and what is equal."""
    variants: dict[str, Config]
    seeds: tuple[int, ...] = (0, 1)
    columns: tuple[Column, ...]
    num_examples: int | None = None
    """Validation windows in the evaluation; None: all."""
    flow_windows: int = 128
    """Validation windows in `information_flow`; 0 leaves it out."""
    iwae_draws: int = 0
    """Draws of the importance-weighted bound; 0 leaves it out."""
    samples: int = 0
    """Validation windows that are compared with draws from the prior and with samples; 0 leaves both out."""

    def __post_init__(self) -> None:
        names, seeds, windows = list(self.variants), self.seeds, self.num_examples
        fit = bool(names) and all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in names)
        check(fit, "Ablation.variants", names, "one or more names of letters, digits, '_', '.' and '-'")
        check(0 < len(seeds) == len(set(seeds)), "Ablation.seeds", seeds, "one or more, all different")
        check(windows is None or windows > 0, "Ablation.num_examples", windows, "1 or more, or None for all")
        for name in ("flow_windows", "iwae_draws", "samples"):
            check(getattr(self, name) >= 0, f"Ablation.{name}", getattr(self, name), "0 (off) or more")


class Run(NamedTuple):
    """One variant trained from one seed."""

    ablation: str
    variant: str
    seed: int
    config: Config
    recipe: dict[str, Any]  # all that decides the figures beside the seed: dotted name -> JSON value

    @property
    def name(self) -> str:
        return f"{self.variant}-seed{self.seed}"


def plan(name: str, ablation: Ablation, data_dir: str = "") -> list[Run]:
    """All runs of an ablation: every variant from the first seed, then from the next.

    With data_dir, prepared data sets are read from that folder.
    """
    evaluation = {"num_examples": ablation.num_examples, "flow_windows": ablation.flow_windows, "version": _VERSION}
    # Those that are off are left out: they are newer than some committed rows.
    evaluation |= {name: getattr(ablation, name) for name in ("iwae_draws", "samples") if getattr(ablation, name)}
    measured = {f"evaluation.{name}": value for name, value in evaluation.items()}
    runs = []
    for seed in ablation.seeds:
        for variant, config in ablation.variants.items():
            train = dataclasses.replace(config.train, seed=seed)
            data = dataclasses.replace(config.data, data_dir=data_dir or config.data.data_dir)
            own = dataclasses.replace(config, train=train, data=data)
            runs.append(Run(name, variant, seed, own, recipe_of(own) | measured))
    return runs


def recipe_of(config: Config) -> dict[str, Any]:
    """The settings that decide what is trained: dotted name -> JSON value."""
    settings = {name: value for name, value in flat(config).items() if name not in _NOT_IN_RECIPE}
    return dict(json.loads(json.dumps(settings)))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two recipes differ: name -> (before, now).

    A setting that did not exist before counts as its default, so that a new option leaves old rows valid.
    """
    default = recipe_of(Config())
    pairs = {name: (before.get(name, default.get(name)), now.get(name)) for name in sorted({*before, *now})}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def make_row(run: Run, figures: Mapping[str, Any]) -> Row:
    """The row of a finished run: its figures to six digits, without those of single dims."""
    kept = {name: value for name, value in figures.items() if ".kl_per_dim." not in name}
    kept |= {name: float(f"{value:.6g}") for name, value in kept.items() if isinstance(value, float)}
    return {"ablation": run.ablation, "variant": run.variant, "seed": run.seed, **kept, "recipe": run.recipe}


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file, without half lines of killed processes; none if there is no file."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # not JSON, or not UTF-8
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def find_rows(runs: Sequence[Run], rows: Sequence[Row]) -> dict[str, Row]:
    """The runs that are done: name -> the newest row of the same variant, seed and recipe."""
    done = {}
    for run in runs:
        for row in rows:
            same = (row.get("variant"), row.get("seed")) == (run.variant, run.seed)
            if same and not changes(row.get("recipe", {}), run.recipe):
                done[run.name] = row
    return done
