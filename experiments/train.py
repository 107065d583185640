"""Trains a model; the same command continues a run that was stopped.

Example: python experiments/train.py folk-basic --workdir runs/folk-wide --model.dim 256 --train.num-steps 2000

With --distributed the same command runs in several processes, on one host or several:

    srun python experiments/train.py folk --workdir runs/folk --distributed
"""

from commandline import choose, run

import dataclasses
from typing import Annotated

import tyro
from configs import CONFIGS

from musicvae_jax.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where to train what."""

    workdir: str
    """The run's folder: config.json, metrics.jsonl, checkpoints/. If it holds a run of this config, that continues."""
    distributed: bool = False
    """One of several processes, which train together. Found by itself under Slurm, Open MPI, Kubernetes and on Cloud
    TPU; else JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say which."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The experiment, field by field."""


def main() -> int:
    """Parses the command line, trains, and gives the exit status: 143 when a signal stopped the run."""
    defaults = {name: (text, Run(workdir=tyro.MISSING, config=config)) for name, (text, config) in CONFIGS.items()}
    run_ = choose(defaults)

    from musicvae_jax.evaluation.prior_fitting import fit_main
    from musicvae_jax.training.devices import join_processes, set_up_devices
    from musicvae_jax.training.loop import train

    set_up_devices()
    if run_.distributed:
        join_processes()
    result = train(run_.config, run_.workdir)
    finished, step = result.finished, result.step
    del result  # its state takes as much memory as the fit of a prior
    if not finished:
        print(f"stopped at step {step}; everything is saved in {run_.workdir}: the same command continues")
        return 143
    print(f"trained for {step} steps: {run_.workdir}")
    if run_.config.prior.base != "none" and (prior := fit_main(run_.workdir)):
        print(prior)
    return 0


if __name__ == "__main__":
    run(main)
