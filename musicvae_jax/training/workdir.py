"""The folder of a run: config.json, metrics.jsonl, checkpoints/, evaluation.<split>.json."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from musicvae_jax.codec.score import Metre
from musicvae_jax.config import Config, UserError, differences, from_json, to_json
from musicvae_jax.data.conditions import NO_CONDITIONS, Conditions
from musicvae_jax.files import replacing


class WorkdirError(UserError):
    """A folder cannot be used for this run; the message says why."""


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically: readers see the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def open_workdir(workdir: str | Path, config: Config) -> Path:
    """Makes the folder of a run if it is not there, with config.json; returns its absolute path.

    Raises:
        WorkdirError: as `check_workdir`.
    """
    check_workdir(workdir, config)
    folder = Path(workdir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        write_text(folder / "config.json", to_json(config))
    return folder


@contextlib.contextmanager
def hold_workdir(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes that train; the lock ends with this process.

    Raises:
        WorkdirError: another process holds the lock.
    """
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{folder}: another process is training here; end it, or give another --workdir"
            raise WorkdirError(message) from None
        yield


def check_workdir(workdir: str | Path, config: Config) -> None:
    """Checks that a run of this config may start or continue in the folder; changes nothing.

    Raises:
        WorkdirError: the folder is a file, or holds a run with another config; the message lists what differs.
    """
    folder = Path(workdir).absolute()
    if folder.exists() and not folder.is_dir():
        raise WorkdirError(f"{folder} is a file: allowed is a folder, or a name for a new one")
    if (folder / "config.json").exists():
        changed = differences(read_config(folder), config)
        if changed:
            rows = "\n".join(f"  {name}: {there!r} there, {here!r} here" for name, (there, here) in changed.items())
            raise WorkdirError(
                f"{folder} holds a run with another config:\n{rows}\n"
                "Give those values, or another --workdir; nothing was changed."
            )


def read_config(workdir: str | Path) -> Config:
    """The config of a run; raises `WorkdirError` if the folder holds none, or a damaged one."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise WorkdirError(f"{workdir} holds no run: {path.name} is missing; train one with experiments/train.py")
    try:
        return from_json(path.read_text())
    except UserError as error:
        raise WorkdirError(f"{path}: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:  # not UTF-8, or not JSON
        raise WorkdirError(f"{path} is damaged: {error}; allowed is what train.py wrote") from None


def read_metres(workdir: str | Path) -> dict[str, int]:
    """The metres of a run's training music; raises `WorkdirError` if the file is missing or damaged."""
    path = Path(workdir) / "metres.json"
    try:
        counts = {str(Metre.parse(metre)): int(count) for metre, count in json.loads(path.read_text()).items()}
        if min(counts.values()) <= 0:
            raise ValueError("numbers of measures are above 0")
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WorkdirError(f"{path}: {error}; allowed is what train.py wrote") from None
    return counts


def read_conditions(workdir: str | Path, names: Sequence[str]) -> Conditions:
    """The conditions of a run.

    Args:
        workdir: the folder of the run.
        names: of the conditions in its config; without any there is no file.

    Raises:
        WorkdirError: the file is missing or damaged, or it has other conditions.
    """
    if not names:
        return NO_CONDITIONS
    path = Path(workdir) / "conditions.json"
    try:
        found = Conditions.from_json(path.read_text())
        if found.names != tuple(names):
            raise ValueError(f"names = {found.names}, and config.json has {tuple(names)}")
        return found
    except (OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError) as error:
        raise WorkdirError(f"{path}: {error}; allowed is what train.py wrote") from None


def free_space(folder: Path) -> str:
    """The free space on the disk of a folder, for messages."""
    return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB free"
