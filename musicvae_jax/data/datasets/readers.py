"""Runs a function over many files or texts in other processes, in order, with flat memory and one progress bar."""

import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 16  # items per process that may be read before their turn: bounds the memory, and hides a slow item


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_processes: int | None = None,
    desc: str = "Reading",
    unit: str = " pieces",
    lost: Callable[[Item, str], Result] | None = None,
    timeout: float | None = None,
) -> Iterator[Result]:
    """Yields ``function(item)`` of each item, in order.

    Results are computed up to `AHEAD` items per process before they are asked for, so that memory does not grow with
    the number of items, and `items` may be a generator. The progress bar is none where the output is not a terminal.

    Args:
        function: one at the top level of a module that other processes can import. Items and results are pickled.
        items: what to call it with.
        num_processes: defaults to the number of cores; 1 calls the function in this process, unless there is `lost`.
        desc: of the progress bar.
        unit: of the progress bar.
        lost: called with the item and with what happened, instead of raising, where a process dies of an item or is
            ended after `timeout`; its result stands for the item's, and a new process goes on.
        timeout: seconds that one item may take.

    Raises:
        Exception: whatever `function` raises, of the first item that does.
        RuntimeError: a process died or was ended, and there is no `lost`.
    """
    num_processes = num_cores() if num_processes is None else num_processes
    total = len(items) if isinstance(items, Sized) else None
    with tqdm(total=total, desc=desc, unit=unit, disable=None) as bar:
        if num_processes == 1 and lost is None:
            results = (function(item) for item in items)
        else:
            results = _read_in_processes(function, items, num_processes, lost, timeout)
        with contextlib.closing(results):
            for result in results:
                bar.update()
                yield result


def _read_in_processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_processes: int,
    lost: Callable[[Item, str], Result] | None,
    timeout: float | None,
) -> Generator[Result, None, None]:
    readers = [Reader(function, timeout) for _ in range(num_processes)]
    free: queue.SimpleQueue[Reader] = queue.SimpleQueue()
    for reader in readers:
        free.put(reader)

    def read(item: Item) -> Result:
        reader = free.get()  # there are as many threads as readers: this one waits for none
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


class LostError(Exception):
    """A process ended without an answer."""


class Reader:
    """A process that calls the function; started by the first item, and again after a death.

    Not by multiprocessing: a fork does not survive the threads of a caller that already runs JAX, and a spawned process
    imports the caller's script again, which never ends well where that script lacks ``if __name__ == "__main__"``.

    Called with an item, it gives the function's result; raises what the function raises, or `LostError`.
    """

    def __init__(self, function: Callable, timeout: float | None):
        self._name, self._timeout = f"{function.__module__}:{function.__qualname__}", timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def __call__(self, item: Any) -> Any:
        process = self._process or self._start()
        assert process.stdin and process.stdout
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            process.kill()

        clock = threading.Timer(self._timeout, end) if self._timeout else None
        try:
            if clock:
                clock.start()
            pickle.dump(item, process.stdin)
            process.stdin.flush()
            error, result = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            status = self.end()
            what = f"took over {self._timeout} s" if overdue.is_set() else f"ended with status {status}"
            raise LostError(f"a process that calls {self._name} {what}") from None
        finally:
            if clock:
                clock.cancel()
                clock.join()
        if error is not None:
            error.add_note(f"reading {item!r:.200}")
            raise error
        return result

    def kill(self) -> None:
        """From another thread: the item that is being read ends with an error, and no later one starts a process."""
        self._killed = True
        if process := self._process:
            process.kill()

    def end(self) -> int:
        """Ends the process, and returns its status."""
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
        command = [sys.executable, "-c", f"from {__name__} import serve; serve({self._name!r})"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert process.stdout
        self._process = process
        if self._killed:  # looked at after the process can be seen from outside, so that one of both ends it
            process.kill()
        try:
            pickle.load(process.stdout)  # it has imported the function: the clock of the first item may start
        except EOFError:
            raise RuntimeError(f"a process ended with status {self.end()} before it could call {self._name}") from None
        return process


def serve(name: str) -> None:
    """The other side of `read_parallel`: answers items on standard input until that is closed.

    Args:
        name: ``"module:function"``.
    """
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Nothing else may write between the answers, a library's C code included.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    module, function_name = name.split(":")
    function = getattr(importlib.import_module(module), function_name)
    pickle.dump("ready", out)
    out.flush()
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the other side is gone, and says why
        while True:
            item = pickle.load(sys.stdin.buffer)
            try:
                answer = pickle.dumps((None, function(item)))
            except Exception as error:  # noqa: BLE001 -- raised again on the other side
                answer = pickle.dumps((error, None))
            out.write(answer)
            out.flush()
