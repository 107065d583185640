"""Applies a function to many files or texts in other processes: results in order, little memory, one progress bar."""

import contextlib
import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


class LostError(Exception):
    """A process ended without an answer."""


class Limits(NamedTuple):
    """What a piece may take; a process that exceeds a limit ends."""

    cpu: float  # seconds of computing, which a busy machine does not make more
    wall: float  # seconds: against what waits without end


_NONE = Limits(0, 0)
_CLOCKS = (signal.ITIMER_PROF, signal.ITIMER_REAL)  # of the two limits; the first counts the CPU time of this process
AHEAD = 16  # items per process that are read before their results are asked for


def num_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_processes: int | None = None,
    desc: str = "Reading",
    unit: str = " pieces",
    lost: Callable[[Item, str], Result] | None = None,
    limits: Limits = _NONE,
) -> Iterator[Result]:
    """Yields ``function(item)`` for each item, in order.

    At most `AHEAD` items per process are read in advance, so memory does not grow with the number of items, and `items`
    may be a generator. There is no progress bar where the output is not a terminal.

    Args:
        function: at the top level of a module that other processes can import. Items and results are pickled.
        items: its arguments.
        num_processes: the default is the number of cores. With 1 and without `lost`, this process calls the function.
        desc: text of the progress bar.
        unit: of the progress bar.
        lost: where an item ends its process or exceeds a limit, this is called with the item and a description, and
            gives the result. A new process continues.
        limits: of an item, or of each piece of it, if `function` calls `next_piece` between them; 0 is no limit.

    Raises:
        Exception: the first exception that `function` raises.
        RuntimeError: an item ended its process or exceeded a limit, and there is no `lost`.
    """
    num_processes = num_cores() if num_processes is None else num_processes
    total = len(items) if isinstance(items, Sized) else None
    with tqdm(total=total, desc=desc, unit=unit, disable=None) as bar:
        if num_processes == 1 and lost is None:
            results = (function(item) for item in items)
        else:
            results = _read_in_processes(function, items, num_processes, lost, limits)
        with contextlib.closing(results):
            for result in results:
                bar.update()
                yield result


def _read_in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_processes: int,
    lost: Callable[[Item, str], Result] | None,
    limits: Limits,
) -> Generator[Result, None, None]:
    readers = [Reader(function, limits) for _ in range(num_processes)]
    free: queue.SimpleQueue[Reader] = queue.SimpleQueue()
    for reader in readers:
        free.put(reader)

    def read(item: Item) -> Result:
        reader = free.get()  # never waits: there are as many readers as threads
        try:
            return reader(item)
        except LostError as error:
            if lost is None:
                raise RuntimeError(f"{error}, reading {item!r:.200}") from None
            return lost(item, str(error))
        finally:
            free.put(reader)

    threads = ThreadPoolExecutor(num_processes)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(threads.submit(read, item))
            if len(pending) >= AHEAD * num_processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for reader in readers:
            reader.kill()
        threads.shutdown()
        for reader in readers:
            reader.end()


class Reader:
    """Calls a function in another process. The first item starts the process, and so does the next after its death.

    It does not use multiprocessing. A fork fails in a process whose threads already run JAX. A spawned process imports
    the main script again, which starts endless processes if the script has no ``if __name__ == "__main__"``.

    A call with an item returns the function's result, raises its exception, or raises `LostError`.
    """

    def __init__(self, function: Callable, limits: Limits = _NONE):
        self._name, self._limits = f"{function.__module__}:{function.__qualname__}", limits
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def __call__(self, item: Any) -> Any:
        process = self._process or self._start()
        assert process.stdin and process.stdout
        try:
            pickle.dump(item, process.stdin)
            process.stdin.flush()
            error, result = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise LostError(f"a process that calls {self._name} {self._describe(self.end())}") from None
        if error is not None:
            error.add_note(f"reading {item!r:.200}")
            raise error
        return result

    def _describe(self, status: int) -> str:
        if status == -signal.SIGPROF:
            return f"took over {self._limits.cpu:g} s of CPU time"
        if status == -signal.SIGALRM:
            return f"took over {self._limits.wall:g} s"
        return f"ended with status {status}"

    def kill(self) -> None:
        """Ends the current call with an error and stops later ones; for use by another thread."""
        self._killed = True
        if process := self._process:
            process.kill()

    def end(self) -> int:
        """Ends the process and returns its status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        return process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        call = f"serve({self._name!r}, {self._limits.cpu}, {self._limits.wall})"
        command = [sys.executable, "-c", f"from {__name__} import serve; {call}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert process.stdout
        self._process = process
        if self._killed:  # checked after `_process` is set: either `kill` sees the process, or this sees the flag
            process.kill()
        try:
            pickle.load(process.stdout)  # the function is imported
        except EOFError:
            raise RuntimeError(f"a process ended with status {self.end()} before it could call {self._name}") from None
        return process


def next_piece() -> None:
    """Starts the clocks anew, for the next piece of an item; does nothing outside a reader's process."""
    for clock in _CLOCKS:
        _, seconds = signal.getitimer(clock)
        signal.setitimer(clock, seconds, seconds)


def _set_clocks(limits: Limits) -> None:
    for clock, seconds in zip(_CLOCKS, limits, strict=True):
        signal.setitimer(clock, seconds, seconds)


def serve(name: str, cpu: float, wall: float) -> None:
    """The loop of a reader's process: answers the items on standard input with the function ``"module:function"``.

    The signals of both clocks end the process, whatever code it is in.
    """
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Only answers may go to standard output. Other output, that of C libraries included, goes to standard error.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    module, function_name = name.split(":")
    function = getattr(importlib.import_module(module), function_name)
    pickle.dump("ready", out)
    out.flush()
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent is gone or reports it
        while True:
            item = pickle.load(sys.stdin.buffer)
            _set_clocks(Limits(cpu, wall))
            try:
                answer = pickle.dumps((None, function(item)))
            except Exception as error:  # noqa: BLE001 -- the parent raises it
                answer = pickle.dumps((error, None))
            _set_clocks(_NONE)
            out.write(answer)
            out.flush()
