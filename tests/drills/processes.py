"""Scripts in processes of their own: signals at random moments, and disks that are full."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.data.folder_music import make_many_files, make_music
from tests.drills.folders import NAMES, make_names
from tests.drills.held import Held
from tests.scripts import EXPERIMENTS, ROOT, train_args

_ENDED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
_SAID = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGKILL: ""}
_START = 0.3  # seconds in which Python itself starts: a signal ends it then in its own way


class Ended(NamedTuple):
    status: int
    error: str
    seconds: float  # of CPU time
    megabytes: int


class Scene:
    """A folder of music, and commands that read it and write beside it."""

    def __init__(self, folder: Path):
        self.folder = folder
        music, data = make_music(folder / "music", number=60), folder / "data"
        settings: dict[str, object] = {"data__dataset": "midi_folder", "data__path": music, "data__track": "skyline"}
        long = settings | {"train__num_steps": 60, "train__checkpoint_every": 5}
        self.commands: dict[str, list[object]] = {
            "train": ["train.py", *train_args(folder / "run", str(data), **settings)],
            "train long": ["train.py", *train_args(folder / "long", str(data), **long)],
            "evaluate": ["evaluate.py", "--workdir", folder / "run", "--trust-config", "--num-examples", 8],
            "generate": ["generate.py", "sample", "--workdir", folder / "run", "--out", folder / "out", "--num", 2],
            "prepare": ["prepare.py", "midi-folder", "--path", music, "--data-dir", folder / "fresh", "--refresh"],
        }

    def run(self, name: str, *, stop: tuple[int, float] | None = None, size: int | None = None) -> Ended:
        """Runs a command.

        Args:
            name: of the command.
            stop: a signal, and the seconds of CPU time after which it is sent, so that load does not move it.
            size: the largest file that it may write.
        """
        process = subprocess.Popen(
            [sys.executable, EXPERIMENTS / str(self.commands[name][0]), *map(str, self.commands[name][1:])],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # a file would have the limit too
        )
        if size is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
        assert process.stderr
        if stop:
            while 0 <= _cpu(process.pid) < stop[1]:
                time.sleep(0.05)
            os.kill(process.pid, stop[0])  # not yet waited for, so it is this process
        with process.stderr as error:
            text = error.read().decode("utf-8", "replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(process.returncode, text, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)


def _cpu(pid: int) -> float:
    """Seconds of CPU time that a process has taken so far, -1 if it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return -1 if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def signals(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Ctrl-C, SIGTERM and kill -9 at random moments; a run of all that was stopped then trains to its end."""
    scene = Scene(folder)
    first = scene.run("train")  # so that there is a run for the other commands
    yield _held("runs without a signal", "train", first, first.status == 0, "")
    rng, commands = random.Random(f"signals {seed}"), ["train long", "evaluate", "generate", "prepare"]
    plan = [
        (commands[count % len(commands)], rng.choice([*_ENDED]), round(rng.uniform(0, 25), 2))
        for count in range(number)
    ]

    turns = {name: threading.Lock() for name in commands}  # two processes would use the same folder

    def stop(name: str, number: signal.Signals, seconds: float) -> Held:
        with turns[name]:
            ended = scene.run(name, stop=(number, seconds))
        finished, early = ended.status == 0, ended.status == -number  # while Python itself starts or ends
        last = ended.error.rstrip().endswith(f"stopped by {_SAID[number]}") or number == signal.SIGKILL
        saved = name == "train long" and ended.status == 143  # a run that trains saves and ends so, whatever the signal
        held = finished or early or saved or (ended.status == _ENDED[number] and last)
        return _held(
            "signals", f"{name}, {number.name} after {seconds} s", ended, held, "" if seconds < _START else "Traceback"
        )

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda item: stop(*item), plan)
    last = scene.run("train long")
    yield _held("runs without a signal", "the stopped run trains to its end", last, last.status == 0, "Traceback")


def _held(kind: str, name: str, ended: Ended, held: bool, forbidden: str) -> Held:
    held = held and not (forbidden and forbidden in ended.error)
    last = (re.split(r"[\r\n]+", ended.error.strip()) or [""])[-1]
    said = f"status {ended.status}: {last if held else ended.error[-1500:]}"
    return Held(kind, name, said, held, ended.seconds, ended.megabytes, listed=False)


def full_disks_of_scripts(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Each script ends in one line, the last one, with status 2."""
    scene = Scene(folder)
    rng = random.Random(f"scripts {seed}")
    names = ["prepare", "train", "generate"]
    for count in range(number):
        name = names[count % len(names)]
        size = rng.choice((0, 100, 1000, 5000))
        if name == "generate" and not (folder / "run" / "metres.json").exists():
            scene.run("train")
        ended = scene.run(name, size=size)
        last = re.split(r"[\r\n]+", ended.error.strip())[-1]
        held = ended.status == 2 and last.startswith("error: ")
        yield _held("full disks of scripts", f"{name} in {size} bytes", ended, held, "Traceback")


def names_of_scripts(folder: Path, seed: int, number: int) -> Iterator[Held]:
    """Files with hostile names are given to generate.py reconstruct, beside others that cannot be read."""
    scene = Scene(folder)
    scene.run("train")
    names = make_names(folder / "named", seed, number)
    paths = sorted((folder / "named" / "music").iterdir())
    broken = make_many_files(folder / "broken", 1, 4)
    next(broken.rglob("*.mid")).write_bytes(b"MThd")
    out = folder / "reconstructed"
    scene.commands["reconstruct"] = [
        *("generate.py", "reconstruct", "--workdir", folder / "run", "--out", out, "--track", "skyline"),
        *("--longest-wav", 1, "--", *map(os.fsdecode, paths), next(broken.rglob("*.mid"))),
    ]
    ended = scene.run("reconstruct")
    written = len(list(out.glob("*.original.mid"))) if out.exists() else 0
    result = _held("names in generate", "", ended, ended.status == 2 and written == number, "Traceback")
    for name in names:
        yield result._replace(name=repr(name), listed=name in NAMES)
