"""Training and evaluation as a user has them: what they leave in a run's folder."""

import json
import shutil

import numpy as np

from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.workdir import read_config
from tests.scripts import STEPS, spawn

EVALUATION = {
    "split", "num_examples", "step", "checkpoint", "seed", "perplexity", "onset_perplexity", "perplexity_elbo",
    "nll", "kl", "kl_per_phrase", "kl_per_dim_global", "accuracy_teacher_forced", "accuracy_teacher_forced_onsets",
    "accuracy_free_running", "accuracy_free_running_onsets", "onset_f1", "onset_f1_swapped",
    "baseline_unigram_perplexity", "baseline_markov3_perplexity", "baseline_markov6_perplexity",
    *(
        figure.format(name)
        for name in ("global", "global_rhythm", "global_pitch")
        for figure in (
            "kl_{}", "kl_{}_per_phrase", "kl_{}_per_latent", "active_units_a_{}", "active_units_b_{}",
            "active_units_a_raw_{}", "active_units_b_raw_{}", "mutual_information_{}",
        )
    ),
}  # fmt: skip


def test_training_leaves_a_run(run):
    assert read_config(run).train.num_steps == STEPS
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "latest"}


def test_evaluation_is_one_flat_file(run, tmp_path):
    workdir = shutil.copytree(run, tmp_path / "run")  # other tests read the run while this one writes to it
    sizes = ("--num-examples", 16, "--flow-windows", 8, "--iwae-draws", 2)
    ended = spawn("evaluate.py", "--workdir", workdir, "--split", "test", *sizes)
    assert ended.status == 0, ended.error
    result = json.loads((workdir / "evaluation.json").read_text())
    flow = {name for name in result if name.startswith(("flow", "top", "shuffled", "replace", "probe"))}
    assert set(result) - flow == EVALUATION | {"nll_iwae_2", "perplexity_iwae_2"}
    assert {"top_1_minus_top_0_r2_window_se", "replace_global_noise", "probe_r2_global_window"} <= flow
    assert result["flow_windows"] == 8
    assert result["split"] == "test" and result["num_examples"] == 16
    assert all(np.isfinite(value) for value in result.values() if isinstance(value, int | float))
    assert "16 windows of 'test'" in ended.out and f"{result['perplexity_elbo']:.3f}" in ended.out
