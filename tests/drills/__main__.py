"""Hostile items of every kind, from a seed: what was tried, what held, and the peaks of time and memory.

``python -m tests.drills --seed 1`` takes a few minutes; its exit status is 1 if anything did not hold. With --share 0.1
it takes a tenth of each kind.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.codec.damage import MEGABYTES, SECONDS, Damaged, damaged_files
from tests.codec.test_damage import sweep
from tests.drills import folders, processes, workdirs
from tests.drills.fuzz import fuzzed_files
from tests.drills.held import Held, table


def listed_files(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Music files of the listed kinds of damage."""
    files = list(damaged_files(seed))
    return _swept(files[:: -(-len(files) // number)], folder, listed=True)


def drawn_files(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Music files that are changed at random."""
    return _swept(list(fuzzed_files(seed, number)), folder, listed=False)


def _swept(files: list[Damaged], folder: Path, *, listed: bool) -> Iterator[Held]:
    for name, found in sweep(files, folder).items():
        held = found.outcome.replace("_", "").islower() and found.seconds < SECONDS and found.megabytes < MEGABYTES
        kind = f"{'damaged' if listed else 'fuzzed'} {name.rpartition('.')[2]}"
        yield Held(kind, name, found.outcome, held, found.seconds, found.megabytes, listed)


# How many items of each drill, and what makes them.
DRILLS: dict[str, tuple[int, Callable[[Path, int, int], Iterator[Held]]]] = {
    "listed music": (800, listed_files),
    "fuzzed music": (600, drawn_files),
    "small files": (210, workdirs.damaged_files),
    "checkpoints": (120, workdirs.damaged_checkpoints),
    "names": (60, folders.hostile_names),
    "disks": (63, folders.full_disks),
    "archives": (60, folders.wrong_archives),
    "names in generate": (20, processes.names_of_scripts),
    "disks of scripts": (6, processes.full_disks_of_scripts),
    "signals": (20, processes.signals),
}


def main() -> int:
    """Runs the drills that are asked for and prints what did not hold, and the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the items of each drill")
    parser.add_argument("--only", nargs="*", choices=DRILLS, default=list(DRILLS))
    asked = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)
    hook = sys.unraisablehook  # as in scripts; callbacks of a failed read may come long after it
    sys.unraisablehook = lambda found: None if found.object is None else hook(found)
    results, start = [], time.monotonic()
    for name in asked.only:
        number, drill = DRILLS[name]
        with tempfile.TemporaryDirectory() as folder:
            for result in drill(Path(folder), asked.seed, max(round(number * asked.share), 1)):
                results.append(result)
                if not result.held:
                    print(f"did not hold: {result.kind}: {result.name}: {result.said}", flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"{table(results)}\nseed {asked.seed}, {time.monotonic() - start:.0f} s")
    return int(not all(result.held for result in results))


if __name__ == "__main__":
    sys.exit(main())
