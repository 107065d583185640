"""Reading in other processes: its results, and what it survives."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.data.readers import AHEAD, Limits, next_piece, read_parallel


def work(item: int) -> tuple[int, int, np.ndarray]:
    """Squares a number; 13 raises, -1 ends the process, -2 hangs, -3 computes without end."""
    if item == 13:
        raise MusicError("number/13", "number", "unlucky", "13; allowed: others")
    if item == -1:
        os._exit(7)
    if item == -2:
        time.sleep(60)
    while item == -3:
        pass
    print("output of a library", item)  # must not mix with the answers
    os.write(1, b"output of a C library")
    return os.getpid(), item**2, np.full(item % 50_000, item)


def squares(results: Iterator) -> list[int]:
    return [result[1] for result in results]


def test_results_are_in_order_with_any_number_of_processes() -> None:
    items = [*range(14, 60), 49_999, 3]  # one larger than a pipe holds
    one = list(read_parallel(work, items, 1))
    two = list(read_parallel(work, items, 2))
    assert [result[1] for result in one] == [result[1] for result in two] == [item**2 for item in items]
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left[2], right[2])
    assert {pid for pid, *_ in one} == {os.getpid()}
    assert len({pid for pid, *_ in two}) == 2 and os.getpid() not in {pid for pid, *_ in two}


def test_few_items_are_read_in_advance() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 1001):
            taken = number
            yield 2

    results = read_parallel(work, items(), 2)
    for number in range(1, 200):
        next(results)
        assert taken <= number + 2 * AHEAD
    results.close()  # type: ignore[attr-defined]
    assert taken < 400


def test_an_error_keeps_its_type_and_ends_reading() -> None:
    with pytest.raises(MusicError, match="unlucky"):
        list(read_parallel(work, [1, 2, 13, 3], 2))


def test_a_process_that_dies_or_hangs_loses_its_item_only() -> None:
    def lost(item: int, what: str) -> tuple:
        return 0, f"{item}: {what}", item

    limits, start = Limits(cpu=0.5, wall=3.0), time.monotonic()
    results = squares(read_parallel(work, [1, -1, 2, -2, -1, 4, -3], 2, lost=lost, limits=limits))
    assert results[:6:5] == [1, 16] and results[2] == 4 and time.monotonic() - start < 30
    assert str(results[1]).startswith("-1: ") and str(results[1]).endswith("test_readers:work ended with status 7")
    assert results[4] == results[1] and str(results[3]).endswith("took over 3 s")
    assert str(results[6]).endswith("took over 0.5 s of CPU time")


def pieces(item: tuple[int, float]) -> int:
    """Many pieces, each of which waits and computes for some seconds."""
    number, seconds = item
    for _ in range(number):
        next_piece()
        time.sleep(seconds)
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
    return number


def test_limits_are_of_a_piece_not_of_an_item() -> None:
    limits = Limits(cpu=0.4, wall=2.0)
    items = [(12, 0.1), (1, 0.8)]  # 1.2 s of CPU time in twelve pieces; 0.8 s in one
    assert list(read_parallel(pieces, items, 1, lost=lambda *_: -1, limits=limits)) == [12, -1]
    next_piece()  # in a process without clocks
    assert list(read_parallel(pieces, [(1, 0.01)], 1)) == [1]


def test_a_dead_process_is_an_error_by_default() -> None:
    with pytest.raises(RuntimeError, match=r"ended with status 7, reading -1$"):
        list(read_parallel(work, [1, -1], 2))


def test_no_reader_outlives_its_owner() -> None:
    """The owner closes the iterator early, or dies."""
    results = read_parallel(work, [2, *[-2] * 10], 2)
    pid = next(results)[0]
    results.close()  # type: ignore[attr-defined]
    assert not alive(pid)

    code = (
        "from tests.data.test_readers import work; from musicvae_jax.data.readers import read_parallel\n"
        "import os; r = read_parallel(work, [2] * 100, 2); print(next(r)[0], flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid = int(done.stdout.split()[0])
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
