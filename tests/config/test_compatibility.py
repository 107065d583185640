"""What goes with what: every combination is refused when it is built, with its values, or builds and runs."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from musicvae_jax.config import (
    Config,
    ConfigError,
    LevelObjective,
    ObjectiveConfig,
    TrainConfig,
    from_json,
    to_json,
)
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.types import LEVELS
from tests.models.variants import DEEP, SUBSETS, THREE, off
from tests.tiny import FIELDS, SLOTS, make_batch

STREAMS = ("params", "latent", "dropout", "token_dropout", "level_dropout", "skip")


def runs(config):
    """The shapes of a pass in training and in evaluation."""
    vae = MusicVAE(config, fields=FIELDS, slots=SLOTS)
    batch = make_batch()

    def both(key):
        rngs = dict(zip(STREAMS, jax.random.split(key, len(STREAMS)), strict=True))
        output, variables = vae.init_with_output(rngs, batch)
        return [output, vae.apply(variables, batch, False, rngs=rngs)]

    return jax.eval_shape(both, jax.random.key(0))


def read_table() -> dict[tuple[str, str], str]:
    """What goes with what, as docs/levels.md says it: (row, column) -> cell, but for its reason."""
    text = (Path(__file__).parents[2] / "docs" / "levels.md").read_text()
    section = text.split("## What goes with what")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {(row[0], name): row[n].split(":")[0] for row in rows for n, name in enumerate(header) if n and row[n]}


def refuses(cell: str, one: set[str], other: set[str]) -> bool:
    """Whether a cell refuses two options that are on for these levels."""
    levels = re.findall("`(.*?)`", cell)
    if cell == "no":
        return bool(one and other)
    if cell == "not below the top level":
        levels = ["local", "fine"]
    elif cell == "not on one level":
        levels = list(LEVELS)
    else:
        assert cell == "yes" or levels, f"{cell!r}: nobody knows what this cell of docs/levels.md says"
    return bool(one & other & set(levels))


TABLE = read_table()
COMBINATIONS: list[dict[str, Any]] = [
    dict(zip(("inference", "prior_context", "level_dropout", "delta_levels", "batch_norm_levels"), values, strict=True))
    for values in itertools.product(
        ("bottom_up", "ladder"),
        ("independent", "causal"),
        (0.0, 0.2),
        ((), ("local",), ("local", "fine")),
        ((), ("global",), ("fine",), ("global", "local", "fine")),
    )
]


def is_allowed(options: dict[str, Any]) -> bool:
    on = {
        "ladder": set(LEVELS) if options["inference"] == "ladder" else set(),
        "causal prior": set(LEVELS) if options["prior_context"] == "causal" else set(),
        "level dropout": set(LEVELS) if options["level_dropout"] else set(),
        "delta": set(options["delta_levels"]),
        "batch norm": set(options["batch_norm_levels"]),
    }
    assert {name for pair in TABLE for name in pair} == {*on, "skip, span heads, free bits, schedules"}
    return not any(refuses(cell, on[row], on[column]) for (row, column), cell in TABLE.items() if row in on)


def test_the_table_agrees_with_itself():
    """Where it says something twice, and of what it says to go with everything."""
    for (row, column), cell in TABLE.items():
        assert TABLE.get((column, row), cell) == cell
        assert cell == "yes" or not row.startswith("skip")


def spelled(options):
    return ", ".join(map(str, options.values()))


@pytest.mark.parametrize("options", [one for one in COMBINATIONS if not is_allowed(one)], ids=spelled)
def test_what_breaks_a_guarantee_is_refused_by_its_values(options):
    with pytest.raises(ConfigError, match=r"ModelConfig\.(delta|batch_norm)_levels does not go with") as error:
        dataclasses.replace(THREE, **options)
    for name, value in options.items():
        assert f"{name} = {value!r}" in str(error.value)


@pytest.mark.parametrize("options", [one for one in COMBINATIONS if is_allowed(one)], ids=spelled)
def test_what_keeps_its_guarantees_runs(options):
    config = dataclasses.replace(THREE, **options)
    for output in runs(config):
        assert output.logits[0].shape == (8, 3, SLOTS, 5)
        assert set(output.moments) == set(options["batch_norm_levels"])


CONTEXTS: dict[str, Any] = dict(zip(SUBSETS, itertools.cycle(["none", "previous", "flat"]), strict=False))


@pytest.mark.parametrize("name", SUBSETS)
def test_the_rest_goes_with_everything(name):
    """Skip connection, span heads, level dropout, dropout, remat and bfloat16, on every subset of levels."""
    levels: Any = tuple(SUBSETS[name].widths)
    config = dataclasses.replace(
        SUBSETS[name],
        context=CONTEXTS[name],
        skip=True,
        span_heads=levels,
        level_dropout=0.2 if len(levels) > 1 else 0.0,
        dropout=0.1,
        token_dropout=0.1,
        dtype="bfloat16",
        remat=True,
    )
    for output in runs(config):
        assert set(output.span_nll) == set(output.kl) == set(levels)
        for leaf in jax.tree.leaves((output.kl, output.latents, output.span_nll)):
            assert leaf.dtype == jnp.float32


def everything_on() -> list[Config]:
    """Between them no field of the model and of a level's objective is its default; not all go together."""
    steered = LevelObjective(
        beta=0.5, schedule="linear", schedule_steps=9, free_bits="per_dim", nats=0.25, kl_per_phrase=7.0
    )
    free = LevelObjective(
        beta=2.0, schedule="cyclical_cosine", schedule_steps=99, cycles=3, ramp=0.4, free_bits="total", nats=2.0
    )
    capacity = LevelObjective(free_bits="capacity", nats=20.0, capacity_steps=100)
    model = dataclasses.replace(
        DEEP,
        context="previous",
        fine_span=2,
        global_groups=(2, 1, 1, 1, 1),
        local_groups=(1, 1, 1, 1, 0),
        fine_groups=(1, 1, 1, 0, 0),
        prior_layers=2,
        delta_levels=("local",),
        delta_alpha=0.8,
        batch_norm_levels=("global",),
        batch_norm_gamma=0.7,
        skip=True,
        skip_dropout=0.4,
        level_dropout=0.1,
        span_heads=("global", "local", "fine"),
    )
    rest = dataclasses.replace(
        THREE,
        mlp_ratio=2,
        context="none",
        slotwise=True,
        inference="ladder",
        prior_context="causal",
        dropout=0.1,
        token_dropout=0.2,
        dtype="bfloat16",
        remat=True,
    )
    objective = ObjectiveConfig(
        global_level=steered, local_level=free, fine_level=capacity, kl_balance_steps=50, span_weight=0.1
    )
    train = TrainConfig(on_collapse="stop", collapse_nats=2.0)
    return [Config(model=model, objective=objective, train=train), Config(model=rest)]


def test_json_there_and_back_with_everything_on():
    configs = everything_on()
    for config in configs:
        assert from_json(to_json(config)) == config
        runs(config.model)
    for values in ([config.model for config in configs], [configs[0].objective.level(level) for level in LEVELS]):
        for field in dataclasses.fields(values[0]):
            assert any(getattr(value, field.name) != field.default for value in values), field.name


@pytest.mark.parametrize("level", ["global", "local", "fine"])
def test_widths_spans_and_counts_agree(level):
    """A window's latents of a level are as many as spans begin in it."""
    config = dataclasses.replace(THREE, fine_span=2, local_span=3)
    assert list(config.widths) == ["global", "local", "fine"]
    for measures in range(1, 9):
        span = config.span(level, measures)
        assert config.num_latents(level, measures) == len(range(0, measures, span))
    without = dataclasses.replace(config, **off([level]))
    assert level not in without.widths
    assert without.widths == {name: width for name, width in config.widths.items() if name != level}
