"""Trains and evaluates the variants of an ablation, each from several seeds, and writes the table.

A run with a row in RESULTS/NAME.jsonl is done and skipped, wherever it was made. A stopped run is resumed from its
checkpoint. Several processes can share the work.

Examples:
    python experiments/ablate.py levels --list
    timeout --signal=TERM 100m python experiments/ablate.py levels
    python experiments/ablate.py levels --index $SLURM_ARRAY_TASK_ID
    python experiments/ablate.py levels --table
"""

from commandline import run

import functools
from pathlib import Path

import tyro
from configs.ablations import ABLATIONS
from tyro.conf import Positional

from musicvae_jax.config import UserError, nearest

RESULTS = Path(__file__).resolve().parent / "results" / "ablations"


def main() -> int:
    """Parses the command line and runs."""
    return tyro.cli(ablate, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))


def ablate(
    name: Positional[str],
    /,
    *,
    list: bool = False,  # noqa: A002 - the flag's name
    table: bool = False,
    index: int | None = None,
    root: Path = Path("runs/ablations"),
    results: Path = RESULTS,
    data_dir: str = "",
) -> int:
    """Trains and evaluates the variants of an ablation.

    Args:
        name: name of the ablation.
        list: print the plan and what is done, and train nothing.
        table: write RESULTS/NAME.md again, and train nothing.
        index: train only this run of the plan, counted from 0, for array jobs.
        root: the folder of a run is ROOT/NAME/VARIANT-seedN.
        results: folder of NAME.jsonl, one row per finished run, and NAME.md, the table.
        data_dir: folder of prepared data sets; TFDS's default if not given.

    Returns:
        0, or 1 if a run failed. At SIGTERM or Ctrl-C the run in progress saves its state, and the script ends.
    """
    from musicvae_jax.evaluation.ablation_queue import Queue
    from musicvae_jax.training.devices import set_up_devices

    if name not in ABLATIONS:
        raise UserError(f"no ablation {name!r}: {nearest(name, ABLATIONS)}")
    queue = Queue(name, ABLATIONS[name], root.absolute(), results, data_dir)
    if list:
        print(queue.describe())
        return 0
    if table:
        queue.record()
        print(queue.table)
        return 0
    set_up_devices()
    say = functools.partial(print, flush=True)  # a log file shows each line at once
    ends = queue.work(index=index, say=say).values()
    done, failed, left = (sum(end.startswith(word) for end in ends) for word in ("done", "failed", "left"))
    print(f"{done} done, {failed} failed, {left} left: {queue.table}")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
