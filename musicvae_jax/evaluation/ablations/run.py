"""One run of an ablation, in a process of its own, so that memory and compiled code are its own.

``python -m musicvae_jax.evaluation.ablations.run WORKDIR`` trains what WORKDIR/config.json says, or goes on with it,
and writes the figures of the last step's checkpoint to WORKDIR/evaluation.json.
"""

import sys
from pathlib import Path

import jax
import tyro

from musicvae_jax.config import TrainConfig, UserError
from musicvae_jax.evaluation.evaluate import evaluate
from musicvae_jax.evaluation.information_flow import information_flow
from musicvae_jax.evaluation.loading import load_workdir
from musicvae_jax.evaluation.results import write_evaluation
from musicvae_jax.training.loop import train
from musicvae_jax.training.metrics import read_metrics
from musicvae_jax.training.parallel import make_parallel, set_up_devices
from musicvae_jax.training.workdir import read_config

SPLIT = "test"


def run(workdir: tyro.conf.Positional[Path], /, *, num_examples: int | None = None, flow_windows: int = 0) -> bool:
    """Trains and evaluates; False if a signal stopped the training.

    Args:
        workdir: a folder with a config.json.
        num_examples: test windows that figures are measured on; all if not given.
        flow_windows: test windows that it is measured on what each level says; 0 leaves that out.
    """
    config = read_config(workdir)
    if not train(config, workdir).finished:
        return False
    vae = load_workdir(workdir, "latest")
    figures = evaluate(vae, SPLIT, num_examples=num_examples)
    if flow_windows:
        figures |= information_flow(vae, SPLIT, num_windows=flow_windows, num_probed=4 * flow_windows)
    figures |= {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(vae.variables["params"])),
        "train_seconds": train_seconds(workdir / "metrics.jsonl"),
        "devices": describe_devices(config.train),
    }
    write_evaluation(workdir, figures)
    return True


def train_seconds(metrics: Path) -> float:
    """The time that a run's training steps took, over all its portions, without compiling, evaluating and saving."""
    rows = [row for row in read_metrics(metrics) if "step_seconds" in row]
    steps = [0, *(row["step"] for row in rows)]
    return sum(row["step_seconds"] * (row["step"] - before) for row, before in zip(rows, steps, strict=False))


def describe_devices(config: TrainConfig) -> str:
    """The devices that a training uses, in words, such as ``2 cpu devices``: as many as divide its batch."""
    number = make_parallel(config).mesh.size
    kind = jax.local_devices()[0].device_kind
    return f"{number} {kind} {'device' if number == 1 else 'devices'}"


if __name__ == "__main__":
    set_up_devices()
    try:
        sys.exit(0 if tyro.cli(run) else 143)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
