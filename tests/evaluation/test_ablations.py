"""An ablation's plan, its rows on disk, its queue and its table; runs are made by a stand-in that trains nothing."""

import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from musicvae_jax.config import Config, ConfigError, UserError, differences
from musicvae_jax.evaluation.ablations.definition import Ablation, Column, Run, changes, plan, what_matters
from musicvae_jax.evaluation.ablations.places import Places
from musicvae_jax.evaluation.ablations.queue import Outcome, RunError, run_all
from musicvae_jax.evaluation.ablations.rows import append_row, find_rows, make_row, read_rows
from musicvae_jax.evaluation.ablations.run import train_seconds
from musicvae_jax.evaluation.ablations.table import make_table, mean_and_error
from musicvae_jax.training.workdir import read_config
from tests.tiny import CONFIG, MODEL, replace

ABLATION = Ablation(
    text="Which is better?",
    variants={"plain": CONFIG, "wide": replace(CONFIG, model={"dim": 32}, train={"num_steps": 30})},
    seeds=(0, 3, 5),
    columns=(Column("kl", "KL", ".2f"), Column("kl_fine", "fine", ".1f")),
)
NAMES = ["plain-seed0", "wide-seed0", "plain-seed3", "wide-seed3", "plain-seed5", "wide-seed5"]


def figures(seed: int, **more: float) -> dict:
    kept = {"split": "test", "num_examples": 7, "parameters": 1500000, "devices": "2 cpu devices"}
    return {**kept, "train_seconds": 60.0 + seed, "kl": 10.0 + seed**2, **more}


class Trainer:
    """Makes runs, or breaks off or fails where it is told to, and notes which."""

    def __init__(self, stops: tuple[str, ...] = (), fails: tuple[str, ...] = ()):
        self.made: list[str] = []
        self.stops, self.fails = stops, fails

    def __call__(self, run: Run, workdir: Path, *_: object) -> bool:
        self.made.append(run.name)
        if run.name in self.fails:
            raise RunError("exit status 2")
        if run.name in self.stops:
            (workdir / "metrics.jsonl").write_text('{"step": 12}\n')
            return False
        (workdir / "evaluation.json").write_text(json.dumps(figures(read_config(workdir).train.seed)))
        return True


@pytest.fixture
def places(tmp_path) -> Places:
    return Places("size", tmp_path / "runs", tmp_path / "results")


def test_the_plan_is_every_variant_from_every_seed_and_nothing_else_differs() -> None:
    runs = plan("size", ABLATION, "/data")
    assert [run.name for run in runs] == NAMES
    for run in runs:
        expected = {"train.seed": (0, run.seed), "data.data_dir": ("", "/data")}
        changed = differences(ABLATION.variants[run.variant], run.config)
        assert changed == {name: pair for name, pair in expected.items() if pair[0] != pair[1]}


def test_a_config_has_changed_where_a_field_that_matters_has() -> None:
    """Against `differences` of the configs themselves, which sees every field; all that does not matter differs."""
    rhythm = {"log_every": 3, "eval_every": 7, "checkpoint_every": 9, "eval_examples": 11}
    other = replace(
        CONFIG,
        model={"dim": 32, "local_dim": 4, "delta_levels": ("local",), "local_span": 1},
        data={"data_dir": "there", "manual_dir": "here", "num_workers": 2},
        train={"seed": 4, "num_devices": 3, "parallel": "pmap", "learning_rate": 1.0, **rhythm},
    )
    seen = {name for name in differences(CONFIG, other) if name.split(".")[0] == "model" or "rate" in name}
    assert set(changes(what_matters(CONFIG), what_matters(other))) == seen
    assert seen == {"model.dim", "model.local_dim", "model.delta_levels", "model.local_span", "train.learning_rate"}
    assert not changes(json.loads(json.dumps(what_matters(other))), what_matters(other))


def test_an_option_that_is_new_counts_once_it_is_switched_on() -> None:
    then, now = what_matters(CONFIG), what_matters(CONFIG)
    del then["model.skip"]
    assert not changes(then, now)
    assert changes(then, now | {"model.skip": True}) == {"model.skip": (False, True)}
    assert changes(then | {"model.gone": 1}, now) == {"model.gone": (1, None)}


def test_an_append_that_is_killed_anywhere_loses_no_row_but_its_own(tmp_path) -> None:
    rows = [{"seed": seed, "note": "é\n"} for seed in range(3)]
    whole = tmp_path / "whole.jsonl"
    for row in rows[:2]:
        append_row(whole, row)
    assert read_rows(whole) == rows[:2]
    first, second = whole.read_bytes().splitlines(keepends=True)
    for cut in range(len(second) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(first + second[:cut])
        before = rows[:2] if cut >= len(second) - 1 else rows[:1]  # without its line break it is whole as well
        assert read_rows(path) == before
        append_row(path, rows[2])
        assert read_rows(path) == [*before, rows[2]]


def test_a_row_holds_numbers_of_six_digits() -> None:
    run = plan("size", ABLATION)[0]
    row = make_row(run, {"kl": 1 / 3e5, "kl_per_dim": {"global/rhythm[0]": 1.0}, "step": 1234567, "split": "test"})
    assert row["kl"] == 3.33333e-06 and row["step"] == 1234567 and row["split"] == "test" and "kl_per_dim" not in row
    assert json.loads(json.dumps(row)) == row and find_rows([run], [row]).done == {run.name: row}


def test_many_may_append_at_once(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_row(path, {"number": number, "long": "x" * 20000}), range(40)))
    assert sorted(row["number"] for row in read_rows(path)) == list(range(40))


def test_what_is_done_is_skipped_wherever_it_was_done(places, tmp_path) -> None:
    first = Trainer(stops=("plain-seed3",), fails=("wide-seed5",))
    said: list[str] = []
    outcome = run_all(ABLATION, places, execute=first, say=said.append)
    assert first.made == NAMES
    assert outcome == Outcome(["plain-seed0", "wide-seed0", "wide-seed3", "plain-seed5"], ["wide-seed5"], [NAMES[2]])
    assert len(said) == len(NAMES) and "stopped at step 12 of 20" in said[2] and "exit status 2" in said[5]
    assert [line.split(" ")[0] for line in said] == list("012345")

    elsewhere = dataclasses.replace(places, root=tmp_path / "other machine", data_dir="/other/data")
    again = Trainer()
    assert run_all(ABLATION, elsewhere, execute=again).done == again.made == ["plain-seed3", "wide-seed5"]
    last = Trainer()
    assert run_all(ABLATION, places, execute=last) == Outcome([], [], []) and not last.made
    assert len(read_rows(places.rows)) == len(NAMES)


def test_indices_share_the_plan_out(places) -> None:
    made = []
    for index in reversed(range(len(NAMES))):
        trainer = Trainer()
        run_all(ABLATION, places, index=index, execute=trainer)
        run_all(ABLATION, places, index=index, execute=trainer)  # a job that is started twice
        made.append(trainer.made)
    assert made == [[name] for name in reversed(NAMES)]
    for index in (-1, 6):
        with pytest.raises(UserError, match=f"index = {index}: allowed is 0 to 5"):
            run_all(ABLATION, places, index=index)


def test_rows_of_another_config_do_not_count_and_their_folders_stay(places) -> None:
    run_all(ABLATION, places, execute=Trainer())
    longer = dataclasses.replace(
        ABLATION, variants=ABLATION.variants | {"wide": replace(ABLATION.variants["wide"], train={"num_steps": 40})}
    )
    assert "wide-seed3 (train.num_steps was 30, is 40)" in make_table("size", longer, read_rows(places.rows))
    assert places.describe(longer).count("train.num_steps was 30, is 40") == 3
    trainer = Trainer()
    said: list[str] = []
    run_all(longer, places, execute=trainer, say=said.append)
    assert trainer.made == ["wide-seed0", "wide-seed3", "wide-seed5"]
    assert said[0].startswith("1 wide-seed0: a row of another config") and "train.num_steps was 30, is 40" in said[0]
    assert read_config(places.root / "size" / "wide-seed0").train.num_steps == 40
    assert read_config(places.root / "size" / "wide-seed0.old1").train.num_steps == 30
    found = find_rows(plan("size", longer), read_rows(places.rows))
    assert set(found.done) == set(NAMES)
    assert not run_all(ABLATION, places, execute=(back := Trainer())).done and not back.made  # the old rows are there


def test_figures_of_other_windows_are_measured_anew_in_the_same_folders(places) -> None:
    run_all(ABLATION, places, execute=Trainer())
    fewer, none = dataclasses.replace(ABLATION, num_examples=3), dataclasses.replace(ABLATION, flow_windows=0)
    for other, said in ((fewer, "num_examples was None, is 3"), (none, "flow_windows was 128, is 0")):
        assert said in places.describe(other)
        assert run_all(other, places, execute=Trainer()).done == NAMES
        assert {path.name for path in (places.root / "size").iterdir() if path.is_dir()} == set(NAMES)
    old = [row | {"recipe": row["recipe"].copy()} for row in read_rows(places.rows)[: len(NAMES)]]
    for row in old:
        del row["recipe"]["evaluation.flow_windows"]  # from before that was measured
    assert not find_rows(plan("size", ABLATION), old).done
    assert set(find_rows(plan("size", none), old).done) == set(NAMES)


def test_a_budget_stops_the_queue(places) -> None:
    given: list[float] = []

    def trainer(run: Run, workdir: Path, lock: int, seconds: float | None) -> bool:
        given.append(seconds or 0)
        return False

    outcome = run_all(ABLATION, places, budget_minutes=1e-9, execute=trainer)
    assert outcome == Outcome([], [], NAMES) and not given
    run_all(ABLATION, places, index=0, budget_minutes=2, execute=trainer)
    assert 110 < given[0] <= 120
    with pytest.raises(UserError, match="budget_minutes = 0"):
        run_all(ABLATION, places, budget_minutes=0)


def test_a_run_in_other_hands_is_left_alone(places) -> None:
    runs = plan("size", ABLATION)
    trainer = Trainer()
    with places.lock(runs[1]) as lock:
        assert lock is not None
        with places.lock(runs[1]) as second:
            assert second is None
        outcome = run_all(ABLATION, places, execute=trainer)
    assert outcome.left == ["wide-seed0"] and "wide-seed0" not in trainer.made
    assert run_all(ABLATION, places, execute=Trainer()).done == ["wide-seed0"]


def test_mean_and_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 1, 5)
    mean, error = (float(part) for part in mean_and_error(list(values), ".6f").split(" ± "))
    assert abs(mean - values.mean()) < 1e-6
    assert abs(error - values.std(ddof=1) / math.sqrt(5)) < 1e-6
    assert mean_and_error([2.0], ".1f") == "2.0" and mean_and_error([2.0, 2.0], ".1f", " M") == "2.0 M"
    assert mean_and_error([], ".1f") == ""


def test_the_table_shows_what_is_there_and_what_is_not(places) -> None:
    run_all(ABLATION, places, execute=Trainer(fails=("wide-seed5", "plain-seed3")))
    text = places.table.read_text()
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [dict(zip(header.strip("| ").split(" | "), line[2:-2].split(" | "), strict=True)) for line in lines]
    assert [(row["variant"], row["runs"], row["steps"]) for row in cells] == [
        ("plain", "2/3", "20"),
        ("wide", "2/3", "30"),
    ]
    assert cells[0]["KL"] == mean_and_error([10.0, 35.0], ".2f") and cells[0]["fine"].strip() == ""
    assert cells[0]["minutes"] == mean_and_error([60 / 60, 65 / 60], ".1f")
    assert "Not done yet: plain-seed3, wide-seed5." in text
    assert "20 to 30 steps of 8 windows" in text and "on 2 cpu devices" in text and "7 windows of 'test'" in text
    assert "python experiments/ablate.py size" in text
    assert "| plain | 0/3 |" in make_table("size", ABLATION, [])


def test_training_time_adds_up_over_portions(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 10, "step_seconds": 2.0}, {"step": 15, "validation_nll": 1.0}, {"step": 18, "step_seconds": 0.5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train_seconds(path) == 10 * 2.0 + 8 * 0.5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"variants": {}}, "variants"),
        ({"variants": {"a/b": Config(model=MODEL)}}, "'a/b'"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "all different"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(fields, said) -> None:
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(ABLATION, **fields)


def test_a_folder_of_a_config_that_nobody_knows_any_more_is_renamed(places) -> None:
    run, *_ = plan("size", ABLATION)
    workdir = places.open(run)
    (workdir / "config.json").write_text('{"model": {"no_such_field": 1}}')
    assert places.open(run) == workdir and read_config(workdir) == run.config
    assert "no_such_field" in (workdir.with_name(f"{workdir.name}.old1") / "config.json").read_text()
