"""A sample of each drill that needs no process of its own; ``make drills`` runs all of them."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musicvae_jax.config import UserError
from tests.drills.__main__ import drawn_files
from tests.drills.folders import NAMES, full_disks, hostile_names, wrong_archives
from tests.drills.fuzz import fuzzed_files
from tests.drills.held import Held, attempt, table
from tests.drills.workdirs import damaged_checkpoints, damaged_files

SAMPLE: dict[str, tuple[Callable[[Path, int, int], Iterator[Held]], int]] = {
    "fuzzed music": (drawn_files, 60),
    "checkpoints": (damaged_checkpoints, 4),
    "small files": (damaged_files, 56),
    "names": (hostile_names, len(NAMES) + 5),
    "full disks": (full_disks, 18),
    "archives": (wrong_archives, 12),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # coroutines of reads that failed
@pytest.mark.parametrize("kind", SAMPLE)
def test_a_sample_of_hostile_items_holds(kind, tmp_path):
    logging.getLogger("absl").setLevel(logging.ERROR)
    drill, number = SAMPLE[kind]
    results = list(drill(tmp_path, 1, number))
    assert len(results) == number
    assert not [result for result in results if not result.held]


def test_an_item_that_does_not_hold_is_seen():
    def refuse() -> str:
        raise UserError("allowed is less")

    def crash() -> str:
        raise RuntimeError("no")

    def mutter() -> str:
        logging.getLogger("drill").error("it goes on")
        return "read"

    results = [attempt("a", "", refuse), attempt("a", "", crash), attempt("b", "", mutter, listed=True)]
    assert [result.held for result in results] == [True, False, False]
    assert [line.split()[:4] for line in table(results).splitlines()[1:]] == [
        ["a", "2", "1", "2"],
        ["b", "1", "0", "0"],
        ["all", "3", "1", "2"],
    ]


def test_fuzzed_files_follow_from_the_seed_and_are_of_all_kinds():
    first, again, other = (list(fuzzed_files(seed, 40)) for seed in (0, 0, 1))
    assert first == again != other
    assert {file.name.rpartition(".")[2] for file in first} == {"mid", "abc", "musicxml", "mxl"}
