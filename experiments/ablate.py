"""Trains and evaluates the variants of an ablation, each from several seeds, and writes the table.

What is done is skipped, here or on another machine: a run with a row in RESULTS/NAME.jsonl is done. What was stopped
goes on from its checkpoint.

Examples:
    python experiments/ablate.py levels --list
    python experiments/ablate.py levels --budget-minutes 100
    python experiments/ablate.py levels --index $SLURM_ARRAY_TASK_ID
    python experiments/ablate.py levels --table
"""

import functools
from pathlib import Path

import tyro
from commandline import run
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
    budget_minutes: float | None = None,
    root: Path = Path("runs/ablations"),
    results: Path = RESULTS,
    data_dir: str = "",
) -> int:
    """Trains and evaluates the variants of an ablation.

    Args:
        name: of the ablation.
        list: only print the plan, with what is done.
        table: only write RESULTS/NAME.md anew.
        index: make only this one of the planned runs, counted from 0: for array jobs.
        budget_minutes: stop after so many minutes; the same command goes on.
        root: the runs' folders are ROOT/NAME/VARIANT-seedN.
        results: where NAME.jsonl, a row per finished run, and NAME.md, the table, lie.
        data_dir: where prepared data sets live; TFDS's own default if not given.

    Returns:
        0, 1 if a run failed; stopped by a signal it ends with 128 + the signal, and the run in progress is saved.
    """
    from musicvae_jax.evaluation.ablations.places import Places
    from musicvae_jax.evaluation.ablations.queue import run_all

    if name not in ABLATIONS:
        raise UserError(f"no ablation {name!r}: {nearest(name, ABLATIONS)}")
    ablation, places = ABLATIONS[name], Places(name, root.absolute(), results, data_dir)
    if list:
        print(places.describe(ablation))
        return 0
    if table:
        print(places.write_table(ablation))
        return 0
    say = functools.partial(print, flush=True)  # a log file shows each line at once
    outcome = run_all(ablation, places, index=index, budget_minutes=budget_minutes, say=say)
    print(f"{len(outcome.done)} done, {len(outcome.failed)} failed, {len(outcome.left)} left: {places.table}")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    run(main)
