"""Runs, recipes, rows and the table of an ablation."""

import dataclasses
import json
import math

import numpy as np
import pytest

from musicvae_jax.config import ConfigError, differences
from musicvae_jax.evaluation.ablation_table import make_table, mean_and_error
from musicvae_jax.evaluation.ablations import Ablation, Column, changes, find_rows, make_row, plan, read_rows, recipe_of
from musicvae_jax.training.metrics import train_seconds
from tests.tiny import CONFIG, replace

ABLATION = Ablation(
    text="Which is better?",
    variants={"plain": CONFIG, "wide": replace(CONFIG, model={"dim": 32}, train={"num_steps": 30})},
    seeds=(0, 3),
    columns=(Column("kl", "KL", ".2f"), Column("levels.fine.kl", "fine", ".1f")),
)
FIGURES = {"split": "test", "num_examples": 446, "parameters": 1500000, "devices": "2 cpu devices"}


def rows_of(kl, flow=(), **fields):
    """The rows of runs by name -> KL; those in ``flow`` were decoded."""
    rows = []
    for run in plan("size", dataclasses.replace(ABLATION, **fields)):
        if run.name in kl:
            decoded = {"flow.windows": 128, "flow.draws": 8} if run.name in flow else {}
            rows.append(make_row(run, FIGURES | decoded | {"kl": kl[run.name], "train_seconds": 60.0 + run.seed}))
    return rows


@pytest.mark.parametrize(
    "fields",
    [
        {"variants": {}},
        {"variants": {"a/b": CONFIG}},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"num_examples": 0},
        {"flow_windows": -1},
    ],
)
def test_a_wrong_definition_is_refused(fields) -> None:
    ((name, _),) = fields.items()
    with pytest.raises(ConfigError, match=rf"Ablation.{name} = .*: allowed"):
        dataclasses.replace(ABLATION, **fields)


def test_the_plan_has_every_variant_from_every_seed_and_nothing_else_differs() -> None:
    runs = plan("size", ABLATION, "/data")
    assert [run.name for run in runs] == ["plain-seed0", "wide-seed0", "plain-seed3", "wide-seed3"]
    for run in runs:
        changed = differences(replace(ABLATION.variants[run.variant], train={"seed": 99}), run.config)
        assert {name: now for name, (_, now) in changed.items()} == {"train.seed": run.seed, "data.data_dir": "/data"}


def test_a_recipe_has_the_settings_that_decide_the_figures() -> None:
    """Compared with `differences`, which sees every field."""
    other = replace(
        CONFIG,
        model={"dim": 32},
        local={"dim": 4, "base": "ar1", "span": 1},
        data={"data_dir": "there", "manual_dir": "here", "num_workers": 2},
        train={"seed": 4, "num_devices": 3, "parallel": "pmap", "learning_rate": 1.0, "log_every": 3}
        | {"eval_every": 7, "checkpoint_every": 9, "eval_examples": 11},
    )
    seen = {"model.dim", "levels.local.dim", "levels.local.base", "levels.local.span", "train.learning_rate"}
    assert set(changes(recipe_of(CONFIG), recipe_of(other))) == seen < set(differences(CONFIG, other))
    assert not changes(json.loads(json.dumps(recipe_of(other))), recipe_of(other))


def test_a_new_option_counts_once_it_is_on() -> None:
    before, now = recipe_of(CONFIG), recipe_of(CONFIG)
    del before["model.skip"]
    assert not changes(before, now)
    assert changes(before, now | {"model.skip": True}) == {"model.skip": (False, True)}
    assert changes(before | {"model.gone": 1}, now) == {"model.gone": (1, None)}


def test_a_row_has_six_digits_and_no_single_dims() -> None:
    run = plan("size", ABLATION)[0]
    figures = {"kl": 1 / 3e5, "levels.global.kl_per_dim.global/rhythm[0]": 1.0, "step": 1234567, "split": "test"}
    row = make_row(run, figures | {"levels.fine.kl": None})
    head = {"ablation": "size", "variant": "plain", "seed": 0, "recipe": run.recipe}
    assert row == head | {"kl": 3.33333e-06, "step": 1234567, "split": "test", "levels.fine.kl": None}
    assert find_rows([run], [json.loads(json.dumps(row))]) == {run.name: row}


def test_the_newest_row_of_the_same_recipe_and_seed_counts() -> None:
    runs = plan("size", ABLATION)
    first, *rest = rows_of({"plain-seed0": 1.0, "wide-seed0": 2.0})
    (again,) = rows_of({"plain-seed0": 3.0})
    (other,) = rows_of({"plain-seed0": 4.0}, num_examples=9)
    (flow,) = rows_of({"plain-seed0": 5.0}, flow_windows=0)
    assert {name: row["kl"] for name, row in find_rows(runs, [first, *rest, again, other, flow]).items()} == {
        "plain-seed0": 3.0,
        "wide-seed0": 2.0,
    }


def test_half_a_line_is_skipped(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    path.write_bytes(b'{"seed": 1}\n{"seed": 2, "no\n\xc3\n3\n{"seed": 4}')
    assert read_rows(path) == [{"seed": 1}, {"seed": 4}]


def test_mean_and_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 1, 5)
    mean, error = (float(part) for part in mean_and_error(list(values), ".6f").split(" ± "))
    assert abs(mean - values.mean()) < 1e-6
    assert abs(error - values.std(ddof=1) / math.sqrt(5)) < 1e-6
    assert mean_and_error([2.0], ".1f") == "2.0" and mean_and_error([2.0, 2.0], ".1f", " M") == "2.0 M"
    assert mean_and_error([], ".1f") == ""


def test_a_star_in_a_column_is_the_mean_of_all_names_that_fit() -> None:
    run, figures = plan("x", ABLATION)[0], {"parameters": 1, "train_seconds": 60.0, "devices": "one", "split": "v"}
    of_levels = {"control.a.r2": 0.2, "control.b.r2": 0.6, "control.b.mig": 9.0, "control.c.r2": None}
    row = make_row(run, figures | of_levels | {"num_examples": 3})
    starred = dataclasses.replace(ABLATION, columns=(Column("control.*.r2", "mean"), Column("no.*", "none")))
    table = make_table("x", starred, [row])
    assert "| 0.400 |  |" in table


def test_the_table_shows_what_is_done_and_what_is_not() -> None:
    rows = rows_of({"plain-seed0": 10.0, "plain-seed3": 35.0, "wide-seed0": 1.0}, flow=["plain-seed0"])
    rows += rows_of({"wide-seed3": 7.0}, num_examples=9)  # of another recipe
    text = make_table("size", ABLATION, rows)
    assert "| plain | 2/2 | 20 | 1.50 M | 1.0 ± 0.0 | 22.50 ± 12.50 |  |" in text
    assert "| wide | 1/2 | 30 | 1.50 M | 1.0 | 1.00 |  |" in text
    assert "Not done yet: wide-seed3." in text and "python experiments/ablate.py size" in text
    assert "20 to 30 steps of 8 windows" in text and "on 2 cpu devices" in text and "446 windows of 'test':" in text
    r2 = Column("flow.decoded.global.r2.window.value", "R2")
    text = make_table("size", dataclasses.replace(ABLATION, columns=(r2,)), rows)
    assert "446 windows of 'test', R2 on 128 windows, decoded 8 times:" in text
    assert "| plain | 0/2 |" in make_table("size", ABLATION, [])


def test_training_time_adds_up_over_the_parts_of_a_run(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 10, "step_seconds": 2.0}, {"step": 15, "validation.nll": 1.0}, {"step": 18, "step_seconds": 0.5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train_seconds(path) == 10 * 2.0 + 8 * 0.5
