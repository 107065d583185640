"""One run of an ablation: ``python -m musicvae_jax.evaluation.ablation_run WORKDIR``."""

import dataclasses
import sys
from pathlib import Path

import jax
import tyro

from musicvae_jax.config import TrainConfig, UserError
from musicvae_jax.evaluation.ablation_queue import STOPPED
from musicvae_jax.evaluation.evaluate import evaluate
from musicvae_jax.evaluation.figures import write_evaluation
from musicvae_jax.evaluation.information_flow import information_flow
from musicvae_jax.evaluation.trained import load_workdir
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.parallel import make_parallel, set_up_devices
from musicvae_jax.training.workdir import read_config

SPLIT = "test"


def train_and_evaluate(
    workdir: tyro.conf.Positional[Path], /, *, num_examples: int | None = None, flow_windows: int = 0
) -> int:
    """Trains or resumes the config in WORKDIR/config.json, and writes evaluation.json of the last step's checkpoint.

    Args:
        workdir: folder with config.json.
        num_examples: test windows in the evaluation; all if not given.
        flow_windows: test windows in `information_flow`; 0 leaves it out.

    Returns:
        The exit status: 0, or `STOPPED` if a signal stopped the training.
    """
    config = read_config(workdir)
    if not train(config, workdir).finished:
        return STOPPED
    vae = load_workdir(workdir, "latest")
    evaluation = evaluate(vae, SPLIT, num_examples=num_examples)
    if flow_windows:
        flow = information_flow(vae, SPLIT, num_windows=flow_windows, num_probed=4 * flow_windows)
        evaluation = dataclasses.replace(evaluation, flow=flow)
    evaluation = dataclasses.replace(
        evaluation,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(vae.variables["params"])),
        train_seconds=train_seconds(workdir / "metrics.jsonl"),
        devices=describe_devices(config.train),
    )
    write_evaluation(workdir, evaluation)
    return 0


def train_seconds(metrics: Path) -> float:
    """Seconds in training steps, over all parts of a run, without compilation, evaluation and checkpoints."""
    rows = [row for row in read_metrics(metrics) if "step_seconds" in row]
    steps = [0, *(row["step"] for row in rows)]
    return sum(row["step_seconds"] * (row["step"] - before) for row, before in zip(rows, steps, strict=False))


def describe_devices(config: TrainConfig) -> str:
    """The devices of a training, such as ``2 cpu devices``."""
    number = make_parallel(config).mesh.size
    return f"{number} {jax.local_devices()[0].device_kind} {'device' if number == 1 else 'devices'}"


if __name__ == "__main__":
    set_up_devices()
    try:
        sys.exit(tyro.cli(train_and_evaluate))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
