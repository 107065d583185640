"""The ablations that are defined, and one that is really made."""

import json
import math
from functools import cache, partial
from pathlib import Path

import jax
import pytest
from configs import CONFIGS
from configs.ablations import ABLATIONS, BUDGET, COLLAPSE, FLAT_POINT, LEVELS_OR_FLAT, PLAIN

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config, ObjectiveConfig, differences
from musicvae_jax.evaluation import evaluate as evaluation
from musicvae_jax.evaluation.ablations.definition import Ablation, Column, Run, plan
from musicvae_jax.evaluation.ablations.places import Places
from musicvae_jax.evaluation.ablations.queue import RunError, run_all, run_in_process
from musicvae_jax.evaluation.ablations.rows import read_rows
from musicvae_jax.evaluation.loading import load_workdir
from musicvae_jax.objectives.controller import check_set_points
from musicvae_jax.training.state import init_state, make_model
from musicvae_jax.training.workdir import open_workdir
from tests.tiny import replace
from tests.trained import small_config


@cache
def num_parameters(config: Config) -> int:
    """Parameters of a model, whose shapes are traced and which is not made."""
    model = make_model(config, make_codec(config.codec).fields)
    shapes = jax.eval_shape(partial(init_state, config, model))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes.params))


def model_of(config: Config) -> Config:
    """What says of which parts a model is made, each part small: quick to trace, and only once."""
    small = {"encoder_slot_layers": 1, "encoder_measure_layers": 0, "conductor_layers": 0, "decoder_layers": 1}
    objective = ObjectiveConfig(span_weight=float(bool(config.model.span_heads)))
    bare = Config(codec=config.codec, data=config.data, model=config.model, objective=objective)
    return replace(bare, model={"dim": 16, "num_heads": 2, **small})


@pytest.mark.parametrize("measures", [8, 16])
def test_the_flat_model_is_as_large_as_the_three_levels(measures) -> None:
    suffix = "20" if measures == 8 else "20-16m"
    three, flat = (LEVELS_OR_FLAT.variants[f"{kind}-{suffix}"] for kind in ("three", "flat"))
    assert three.data.measures == flat.data.measures == measures
    ratio = num_parameters(flat) / num_parameters(three)
    assert 0.95 <= ratio <= 1.05
    numbers = [
        sum(width * config.model.num_latents(level, measures) for level, width in config.model.widths.items())
        for config in (three, flat)
    ]
    assert numbers[0] == numbers[1] and list(flat.model.widths) == ["global"]


def test_three_levels_and_flat_differ_in_nothing_else() -> None:
    """Than the model, the steps, and who holds the set point: each level its share, or the whole the sum."""
    for name, three in LEVELS_OR_FLAT.variants.items():
        if name.startswith("three"):
            flat = LEVELS_OR_FLAT.variants[name.replace("three", "flat")]
            changed = differences(three, flat)
            rest = {field for field in changed if not field.startswith("model.") and "kl_per_phrase" not in field}
            assert rest == {"train.num_steps"}
            shares = sum(three.objective.level(level).kl_per_phrase for level in three.model.widths)
            nats = float(name.split("-")[1])
            assert math.isclose(shares, nats)
            assert math.isclose(flat.objective.kl_per_phrase, nats * FLAT_POINT[flat.data.measures])


def test_three_levels_without_maps_of_their_own_differ_in_nothing_else() -> None:
    changed = differences(LEVELS_OR_FLAT.variants["three-20"], LEVELS_OR_FLAT.variants["pooled-20"])
    assert changed == {"model.slotwise": (True, False)}


def test_a_remedy_is_all_that_differs() -> None:
    """From the first variant: training and data are the same for all."""
    for name in ("collapse", "beta"):
        base, *others = ABLATIONS[name].variants.values()
        fields = [set(differences(base, other)) for other in others]
        assert all(fields) and all(field.startswith(("model.", "objective.")) for field in set().union(*fields))
    assert len({json.dumps(sorted(differences(PLAIN, other))) for other in COLLAPSE.variants.values()}) > 5


def test_every_rule_of_free_bits_leaves_the_same_nats_free() -> None:
    measures = PLAIN.data.measures
    for rule in ("total", "per_dim", "per_dim_per_example", "capacity"):
        config = COLLAPSE.variants[f"free-bits-{rule.replace('_', '-')}"]
        for level, width in config.model.widths.items():
            own = config.objective.level(level)
            latents = config.model.num_latents(level, measures)
            free = own.nats * {"per_dim": latents * width, "per_dim_per_example": latents}.get(rule, 1)
            assert own.free_bits == rule and abs(free - BUDGET[level]) < 1e-9


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_model_of_an_ablation_can_be_made(name) -> None:
    models = {model_of(config) for config in ABLATIONS[name].variants.values()}
    assert all(num_parameters(model) > 0 for model in models)


def test_every_config_can_be_made() -> None:
    """No set point is below what its levels commit to, and every model has parameters."""
    for _, config in CONFIGS.values():
        check_set_points(config)
    assert all(num_parameters(model) > 0 for model in {model_of(config) for _, config in CONFIGS.values()})


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
    places = ("--root", tmp_path / "runs", "--results", tmp_path / "results")
    status, out, _ = call("ablate.py", "levels", "--table", *places)
    assert status == 0 and Path(out.strip()).read_text().count("| 0/3 |") == len(LEVELS_OR_FLAT.variants)
    last = len(plan("levels", LEVELS_OR_FLAT)) - 1
    for args, said in (
        (("levles",), "error: no ablation 'levles': did you mean levels"),
        (("--list", "levles"), "error: no ablation 'levles': did you mean levels"),
        (("levels", "--index", last + 1), f"error: index = {last + 1}: allowed is 0 to {last}"),
        (("levels", "--budget-minutes", 0), "error: budget_minutes = 0.0: allowed is a number above 0"),
    ):
        status, _, error = call("ablate.py", *args, *places)
        assert status == 2 and said in error and error.count("\n") == 1


def test_a_run_is_trained_and_evaluated(folk_data_dir, tmp_path) -> None:
    tiny = replace(small_config(""), train={"eval_every": 100, "checkpoint_every": 100})
    ablation = Ablation(
        text="", variants={"tiny": tiny}, seeds=(0,), columns=(Column("nll", "nll"),), num_examples=20, flow_windows=8
    )
    places = Places("tiny", tmp_path / "runs", tmp_path / "results", folk_data_dir)
    said: list[str] = []
    assert run_all(ablation, places, say=said.append).done == ["tiny-seed0"], said
    (row,) = read_rows(places.rows)
    folder = tmp_path / "runs" / "tiny" / "tiny-seed0"
    vae = load_workdir(folder, "latest")
    assert load_workdir(folder).step == 40  # the last step is validated, whatever its number
    assert row["step"] == vae.step == 40 and row["train_seconds"] > 0
    assert row["parameters"] == num_parameters(tiny)
    again = evaluation.evaluate(vae, "test", num_examples=20)
    assert row["num_examples"] == 20 and set(again) - {"kl_per_dim_global"} < set(row)
    assert row["flow_windows"] == 8 and math.isfinite(row["top_1_r2_window"])
    assert again["nll"] == pytest.approx(row["nll"], rel=1e-5)
    assert f"nll {row['nll']:.3f}" in said[0] and "| tiny | 1/1 | 40 |" in places.table.read_text()


def test_a_run_that_fails_says_why(tmp_path) -> None:
    run = Run("levels", "three", 0, replace(PLAIN, data={"dataset": "folk_tunez"}), None, 0)
    workdir = open_workdir(tmp_path / "run", run.config)
    with pytest.raises(RunError, match=r"(?s)exit status 1; .*log.txt.*no data set 'folk_tunez'"):
        run_in_process(run, workdir, 2, None)
