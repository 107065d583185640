"""The ablations that are defined, and one that is really made."""

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest
from configs import CONFIGS
from configs.ablations import ABLATIONS, BUDGET, COLLAPSE, LEVELS_LONG, LEVELS_OR_ONE, PLAIN, RATES

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config, LevelConfig, LevelsConfig, ObjectiveConfig, differences
from musicvae_jax.evaluation.ablation_queue import Queue
from musicvae_jax.evaluation.ablations import Ablation, Column, plan, read_rows
from musicvae_jax.evaluation.evaluate import evaluate
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.figures import flatten
from musicvae_jax.training.state import make_model, state_shapes
from tests.tiny import replace
from tests.trained import small_config

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "ablations"


@cache
def num_parameters(config: Config) -> int:
    """Parameters of a model, whose shapes are traced and which is not made."""
    model = make_model(config, make_codec(config.codec).fields)
    shapes = state_shapes(config, model)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes.params))


def small_model_of(config: Config) -> Config:
    """The model of a config with its parts small, so that it is traced quickly, and only once for equal models."""
    parts: dict[str, Any] = {
        "encoder_slot_layers": 1,
        "encoder_measure_layers": 0,
        "conductor_layers": 0,
        "decoder_layers": 1,
    }
    names = "dim span groups base alpha prior_context batch_norm span_head modes flow flow_layers memory_layers"
    names += " metre_context kl_estimate posterior"
    own = [
        LevelConfig(**{name: getattr(level, name) for name in names.split()}) for level in vars(config.levels).values()
    ]
    return Config(
        codec=config.codec,
        data=config.data,
        model=dataclasses.replace(config.model, dim=16, num_heads=2, **parts),
        levels=LevelsConfig(global_=own[0], local=own[1], fine=own[2]),
        objective=ObjectiveConfig(span_weight=float(any(level.span_head for level in own))),
    )


PAIRS = [
    (LEVELS_OR_ONE.variants[f"three-{nats}"], LEVELS_OR_ONE.variants[f"one-{context}-{nats}"])
    for context in ("none", "flat")
    for nats in RATES
] + [(LEVELS_LONG.variants["three-20"], LEVELS_LONG.variants["one-flat-20"])]


def test_one_latent_has_the_parameters_the_latent_dims_and_the_nats_of_three_levels() -> None:
    three, one = PAIRS[0]
    assert 0.98 <= num_parameters(one) / num_parameters(three) <= 1.02
    for three, one in PAIRS:
        assert [config.model.slotwise for config in (three, one)] == [True, True] and list(one.levels.on) == ["local"]
        assert one.levels.local.span == one.data.measures  # so that every measure has its own maps
        dims = [
            sum(own.dim * own.num_latents(config.data.measures) for own in config.levels.on.values())
            for config in (three, one)
        ]
        assert dims[0] == dims[1]
        nats = sum(level.kl_per_phrase for level in three.levels.on.values())
        assert math.isclose(nats, one.objective.kl_per_phrase)


def test_one_latent_and_three_levels_differ_in_levels_context_and_steps_only() -> None:
    for three, one in PAIRS:
        rest = {field for field in differences(three, one) if not field.startswith("levels.")}
        assert rest <= {"model.context", "model.level_dropout", "objective.kl_per_phrase", "train.num_steps"}


def test_remedies_differ_and_share_training_and_data() -> None:
    for name in ("collapse", "beta"):
        base, *others = ABLATIONS[name].variants.values()
        fields = [differences(base, other) for other in others]
        assert all(fields) and len({str(changed) for changed in fields}) == len(fields)
        assert all(field.startswith(("model.", "levels.", "objective.")) for changed in fields for field in changed)


def test_every_rule_of_free_bits_leaves_the_same_nats_free() -> None:
    for rule in ("total", "per_dim", "per_dim_per_example", "capacity"):
        config = COLLAPSE.variants[f"free-bits-{rule.replace('_', '-')}"]
        for name, level in config.levels.on.items():
            latents = level.num_latents(PLAIN.data.measures)
            free = level.nats * {"per_dim": latents * level.dim, "per_dim_per_example": latents}.get(rule, 1)
            assert level.free_bits == rule and abs(free - BUDGET[name]) < 1e-9


@pytest.mark.parametrize("name", ["configs", *ABLATIONS])
def test_every_model_can_be_made(name) -> None:
    named = dict(CONFIGS.values()) if name == "configs" else ABLATIONS[name].variants
    assert all(num_parameters(model) > 0 for model in {small_model_of(config) for config in named.values()})


@pytest.mark.parametrize("name", sorted(ABLATIONS.keys() & {path.stem for path in RESULTS.glob("*.jsonl")}))
def test_every_variant_has_a_run_and_the_committed_table_is_that_of_the_rows(name, tmp_path) -> None:
    (tmp_path / f"{name}.jsonl").write_bytes((RESULTS / f"{name}.jsonl").read_bytes())
    queue = Queue(name, ABLATIONS[name], tmp_path, tmp_path)
    assert {row["variant"] for row in queue.done(queue.runs).values()} == ABLATIONS[name].variants.keys()
    queue.record()
    assert queue.table.read_text() == (RESULTS / f"{name}.md").read_text()


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_plan_is_listed(name, tmp_path, call) -> None:
    status, out, _ = call("ablate.py", name, "--list", "--root", tmp_path / "runs", "--results", tmp_path / "results")
    *lines, last = out.splitlines()
    runs = plan(name, ABLATIONS[name])
    assert status == 0 and not list(tmp_path.iterdir())
    assert [line.split()[:2] for line in lines] == [[str(index), run.name] for index, run in enumerate(runs)]
    assert all("planned" in line for line in lines) and last == f"0 of {len(runs)} runs done"
    assert len({run.name for run in runs}) == len(runs)


def test_the_table_alone_and_what_is_refused(tmp_path, call) -> None:
    folders = ("--root", tmp_path / "runs", "--results", tmp_path / "results")
    status, out, _ = call("ablate.py", "levels", "--table", *folders)
    assert status == 0 and Path(out.strip()).read_text().count("| 0/3 |") == len(LEVELS_OR_ONE.variants)
    for args, said in (
        (("--list", "levles"), "error: no ablation 'levles': did you mean levels"),
        (("levels", "--index", 27), "error: index = 27: allowed is 0 to 26"),
    ):
        status, _, error = call("ablate.py", *args, *folders)
        assert status == 2 and said in error and error.count("\n") == 1


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_is_trained_and_evaluated(again, folk_data_dir, tmp_path) -> None:
    tiny = replace(small_config(""), train={"eval_every": 100, "checkpoint_every": 100})
    ablation = Ablation(
        text="", variants={"tiny": tiny}, seeds=(0,), columns=(Column("nll", "nll"),), num_examples=20, flow_windows=8
    )
    queue = Queue("tiny", ablation, tmp_path / "runs", tmp_path / "results", folk_data_dir)
    assert queue.work() == {"tiny-seed0": "done"}
    (row,) = read_rows(tmp_path / "results" / "tiny.jsonl")
    workdir = tmp_path / "runs" / "tiny" / "tiny-seed0"
    vae = load_workdir(workdir, "latest")
    assert load_workdir(workdir).step == 40  # the last step is validated, whatever its number
    assert row["step"] == vae.step == 40 and row["train_seconds"] > 0 and row["parameters"] == num_parameters(tiny)
    assert row["num_examples"] == 20 and {"nll", "levels.global.kl", "levels.global.active_a"} < set(row)
    assert row["flow.windows"] == 8 and math.isfinite(row["flow.decoded.global.r2.window.value"])
    if again:
        found = flatten(evaluate(vae, "validation", num_examples=20))
        assert {name for name in found if "kl_per_dim" not in name} < set(row)
        assert found["nll"] == pytest.approx(row["nll"], rel=1e-5)
    assert "| tiny | 1/1 | 40 |" in queue.table.read_text()


def test_a_run_that_fails_says_why(tmp_path) -> None:
    ablation = Ablation(text="", variants={"wrong": replace(PLAIN, data={"dataset": "folk_tunez"})}, columns=())
    ends = Queue("wrong", ablation, tmp_path, tmp_path).work()
    assert len(ends) == 2 and all("failed: " in end and "no data set 'folk_tunez'" in end for end in ends.values())
