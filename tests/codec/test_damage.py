"""Damaged files give a named refusal or a valid score: no crash, no hang, no other file is written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.codec.damage import MEGABYTES, SECONDS, Damaged, damaged_files

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = {"mid": 2, "abc": 2, "musicxml": 1, "mxl": 1}


class Result(NamedTuple):
    outcome: str
    seconds: float  # of CPU time
    megabytes: int  # peak memory


def sweep(files: list[Damaged], folder: Path) -> dict[str, Result]:
    """Reads all files in another process; if it dies, a new one goes on with the next file."""
    inputs, elsewhere = folder / "inputs", [folder / name for name in ("cwd", "tmp", "home")]
    for path in (inputs, *elsewhere):
        path.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(elsewhere[1]), "HOME": str(elsewhere[2])}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    results: dict[str, Result] = {}
    left = {file.name: file.content for file in files}
    assert len(left) == len(files)
    while left:
        for name, content in left.items():
            if content is None:
                (inputs / name).mkdir(exist_ok=True)
            else:
                (inputs / name).write_bytes(content)
        command = [sys.executable, "-m", "tests.codec.damage", str(inputs)]
        child = subprocess.run(command, cwd=elsewhere[0], env=environment, capture_output=True, text=True, check=False)
        started = ""
        for line in child.stdout.splitlines():
            said = json.loads(line)
            started = said.get("start", "")
            if not started:
                name = said.pop("name")
                results[name] = Result(**said)
        if child.returncode:
            assert started, child.stderr
            number = -child.returncode
            died = "HANG" if number == signal.SIGPROF else f"CRASH: {number}: {child.stderr[-300:]}"
            results[started] = Result(died, SECONDS, 0)
        for name, content in left.items():  # reading changes nothing
            assert (inputs / name).is_dir() if content is None else (inputs / name).read_bytes() == content
        assert {path.name for path in inputs.iterdir()} == set(left)
        for name in set(results) & set(left):
            (inputs / name).rmdir() if left[name] is None else (inputs / name).unlink()
            del left[name]
    assert not [path for place in elsewhere for path in place.iterdir()]
    return results


def check(results: dict[str, Result]) -> None:
    wrong = {name: result for name, result in results.items() if not result.outcome.replace("_", "").islower()}
    assert not wrong
    assert max(result.seconds for result in results.values()) < SECONDS
    assert max(result.megabytes for result in results.values()) < MEGABYTES


def test_a_sample_of_damaged_files_is_refused_or_read(tmp_path):
    files = list(damaged_files(most=SAMPLE))
    assert len(files) >= 60 and len({file.kind for file in files}) > 40
    results = sweep(files, tmp_path)
    check(results)
    assert {"read", "corrupt", "unreadable", "empty", "size"} <= {result.outcome for result in results.values()}


def test_damage_is_a_function_of_the_seed():
    some = {"mid": 3, "abc": 3, "musicxml": 3, "mxl": 1}
    first, second = (list(damaged_files(seed=3, most=some)) for _ in range(2))
    assert first == second
    assert first != list(damaged_files(seed=4, most=some))


def test_a_crash_and_a_hang_are_detected(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    # A reader that crashes on a.mid and hangs on others.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, signal, pathlib\n"
        "def read(path, *_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGSEGV if path.stem == 'a' else signal.SIGPROF)\n"
        "import musicvae_jax.codec as codec\n"
        "codec.read_whole = read\n"
    )
    monkeypatch.setattr("tests.codec.test_damage.ROOT", f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    results = sweep([Damaged("x", "a.mid", b"a"), Damaged("x", "b.mid", b"b")], tmp_path)
    assert results["a.mid"].outcome.startswith("CRASH: 11") and results["b.mid"].outcome == "HANG"
    with pytest.raises(AssertionError):
        check(results)


@pytest.mark.slow
def test_every_damaged_file_is_refused_or_read(tmp_path):
    files = list(damaged_files())
    assert len(files) >= 500
    check(sweep(files, tmp_path))
