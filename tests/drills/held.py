"""What became of a hostile item, and the table of all."""

import contextlib
import io
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from musicvae_jax.config import UserError


class Held(NamedTuple):
    """One item that was tried."""

    kind: str
    name: str
    said: str  # the outcome, or why it did not hold
    held: bool
    seconds: float = 0.0  # of CPU time
    megabytes: int = 0  # peak memory of the process so far
    listed: bool = True  # False for one that was drawn at random


def attempt(kind: str, name: str, function: Callable[[], str], *, listed: bool = False) -> Held:
    """Calls a function in this process: it holds if it returns, or raises an error that a script prints in one line.

    The function returns what was found, and raises `AssertionError` where that is wrong. Nothing may be printed that
    looks like a traceback.
    """
    said, held, error = "", False, io.StringIO()
    start, hook = time.process_time(), sys.unraisablehook
    sys.unraisablehook = lambda found: None if found.object is None else hook(found)  # as scripts do
    logged = logging.StreamHandler(error)
    logged.setLevel(logging.ERROR)
    logged.setFormatter(logging.Formatter("Traceback that was logged: %(message)s"))
    logging.getLogger().addHandler(logged)
    with contextlib.redirect_stderr(error):
        try:
            said, held = function(), True
        except (UserError, OSError) as refusal:
            said, held = f"refused: {refusal}", bool(str(refusal))
        except Exception as wrong:  # noqa: BLE001 -- the drill looks for these
            said = f"{type(wrong).__name__}: {wrong}"
        finally:
            sys.unraisablehook = hook
            logging.getLogger().removeHandler(logged)
    if "Traceback" in error.getvalue():
        said, held = f"a traceback was printed: {error.getvalue()[-300:]}", False
    return Held(kind, name, said, held, time.process_time() - start, peak(), listed)


def peak() -> int:
    """Peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def table(results: Iterable[Held]) -> str:
    """Tried, held, drawn at random, CPU time and memory at most, by kind."""
    kinds: dict[str, list[Held]] = {}
    for result in results:
        kinds.setdefault(result.kind, []).append(result)
    lines = [f"{'kind':28}{'tried':>7}{'held':>7}{'unlisted':>10}{'most CPU':>11}{'most memory':>13}"]
    everything = [result for found in kinds.values() for result in found]
    for kind, found in [*kinds.items(), ("all", everything)]:
        lines.append(
            f"{kind:28}{len(found):7,}{sum(result.held for result in found):7,}"
            f"{sum(not result.listed for result in found):10,}{max(result.seconds for result in found):9.1f} s"
            f"{max(result.megabytes for result in found):10,} MB"
        )
    return "\n".join(lines)
