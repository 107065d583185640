"""What training and evaluation leave in the folder of a run."""

import dataclasses
import json
import shutil

import numpy as np

from musicvae_jax.config import PriorConfig, to_json
from musicvae_jax.evaluation.figures import Evaluation
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config, write_text
from tests.scripts import STEPS, train_args


def test_training_leaves_a_run(run):
    assert read_config(run).train.num_steps == STEPS
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "latest"}


def test_evaluation_is_one_flat_file(run, tmp_path, call):
    workdir = shutil.copytree(run, tmp_path / "run")  # other tests read the run while this one writes to it
    sizes = ("--num-examples", 16, "--flow-windows", 8, "--iwae-draws", 2, "--samples", 12)
    ended = call("evaluate.py", "--workdir", workdir, "--split", "test", "--trust-config", *sizes)
    assert ended.status == 0, ended.error
    result = json.loads((workdir / "evaluation.test.json").read_text())
    fields = {field.name for field in dataclasses.fields(Evaluation)}
    # A slot has one field, and the model no conditions; the last three are of ablations.
    assert {name.partition(".")[0] for name in result} == fields - {
        "perplexity_of_field", "conditions", "parameters", "train_seconds", "devices",
    }  # fmt: skip
    assert {
        "levels.global.groups.rhythm.kl",
        "flow.added.global.r2.window.se",
        "rivals.markov.order",
        "rivals.copy_onset_f1.measure",
        "priors.levels.global.gap",
        "priors.together.accuracy.mlp.value",
        "samples.overlap.groove_similarity",
    } <= set(result)
    assert (result["split"], result["num_examples"], result["flow.windows"], result["iwae.draws"]) == ("test", 16, 8, 2)
    assert all(np.isfinite(value) for value in result.values() if not isinstance(value, str))
    assert "16 windows of 'test'" in ended.out and f"{result['perplexity_elbo']:.3f}" in ended.out


def test_the_prior_of_a_config_is_fitted_after_the_last_step_and_is_the_one_that_is_measured(
    run, folk_data_dir, tmp_path, call
):
    """The run is trained already, as one that was stopped in the fit."""
    workdir = shutil.copytree(run, tmp_path / "run")
    prior = PriorConfig(base="mixture", num_steps=2, batch_size=4)
    write_text(workdir / "config.json", to_json(dataclasses.replace(read_config(run), prior=prior)))
    arguments = train_args(workdir, folk_data_dir, prior__base="mixture", prior__num_steps=2, prior__batch_size=4)
    ended = call("train.py", *arguments)
    assert ended.status == 0, ended.error
    assert "nats per window under the model's own prior" in ended.out
    again = call("train.py", *arguments)
    assert again.status == 0 and "own prior" not in again.out  # it is there
    sizes = ("--num-examples", 8, "--flow-windows", 0, "--samples", 0, "--no-rivals")
    for named, used in (((), "main"), (("--prior", "own"), "own")):
        ended = call("evaluate.py", "--workdir", workdir, "--trust-config", *sizes, *named)
        assert ended.status == 0, ended.error
        assert f"prior {used!r}" in ended.out
    folders = (workdir, workdir / "priors" / "own")
    main, own = (json.loads((folder / "evaluation.validation.json").read_text()) for folder in folders)
    assert (main["prior"], own["prior"]) == ("main", "own") and main["nll"] == own["nll"]
