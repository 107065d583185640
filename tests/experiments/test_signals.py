"""Ctrl-C and SIGTERM end a script in one line, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scripts import EXPERIMENTS, ROOT


def run_script(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
@pytest.mark.parametrize("seconds", [1.0, 2.5, 6.0])  # imports; JAX starts; the model is restored or measured
def test_a_signal_ends_an_evaluation_in_one_line(run, number, status, said, seconds):
    process = subprocess.Popen(
        [sys.executable, EXPERIMENTS / "evaluate.py", "--workdir", str(run), "--split", "train", "--trust-config"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode in (status, -number)  # the second one while Python itself ends
    assert "Traceback" not in error and error.rstrip().endswith(f"stopped by {said}"), error[-500:]
    assert not list(run.glob("evaluation.train.json"))


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
@pytest.mark.parametrize("place", ["first", "late"])
def test_no_module_sees_the_signal_that_comes_while_it_is_imported(tmp_path, number, status, said, place):
    """Libraries in C import others, too, and some crash where an import ends in an error.

    Before main begins, the script ends at once; in main the import goes on to its end, and main cleans up.
    """
    (tmp_path / "library.py").write_text(
        f"import os, time\ntry:\n    os.kill(os.getpid(), {int(number)})\n    time.sleep(1)\n    print('imported')\n"
        "except BaseException:\n    os._exit(11)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, time\nsys.path[:0] = [{str(EXPERIMENTS)!r}, {str(tmp_path)!r}]\nimport commandline\n"
        "commandline.watch_signals()\n"
        "def main():\n    try:\n        import library\n        time.sleep(20)\n    finally:\n        print('clean')\n"
        + ("import library\n" if place == "first" else "commandline.run(main)\n")
    )
    ended = run_script(script)
    assert ended.returncode == status and ended.stderr == f"stopped by {said}\n"
    assert ended.stdout == ("" if place == "first" else "imported\nclean\n")


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
@pytest.mark.parametrize("place", ["callback", "collected"])
def test_neither_signal_is_lost_where_python_goes_on_after_an_error(tmp_path, number, status, said, place):
    """asyncio, by which checkpoints are read, logs the errors of callbacks; of a finaliser Python prints them."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import asyncio, os, sys, time\nsys.path.insert(0, {str(EXPERIMENTS)!r})\nimport commandline\n"
        "commandline.watch_signals()\n"
        f"def stop(): os.kill(os.getpid(), {int(number)})\n"
        "class Late:\n    def __del__(self): stop()\n"
        "def collected():\n    Late()\n    time.sleep(20)\n"
        "async def wait():\n    asyncio.get_running_loop().call_soon(stop)\n    await asyncio.sleep(20)\n"
        "def callback(): asyncio.run(wait())\n"
        f"commandline.run({place})\n"
    )
    started = time.monotonic()
    ended = run_script(script)
    assert ended.returncode == status and ended.stderr == f"stopped by {said}\n"
    assert time.monotonic() - started < 15


def test_ctrl_c_does_not_reach_a_script_that_ignores_it(tmp_path):
    """A shell starts its jobs in the background so."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import os, signal, sys\nsys.path.insert(0, {str(EXPERIMENTS)!r})\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nimport commandline\ncommandline.watch_signals()\n"
        "commandline.run(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    )
    ended = run_script(script)
    assert ended.returncode == 0 and not ended.stderr


@pytest.mark.parametrize(
    "code",
    [
        "raise KeyboardInterrupt",
        "swallow(); time.sleep(20)",
        "type('Owner', (), {'field': Named()})",  # Python 3.11 raises a RuntimeError of its own
        "try: raise KeyboardInterrupt\nexcept BaseException as error: raise OSError('no') from error",
        "try: raise KeyboardInterrupt\nfinally: {}['x']",
    ],
)
@pytest.mark.parametrize("place", ["run", "import"])
def test_ctrl_c_ends_a_script_wherever_it_strikes(tmp_path, code, place):
    """Python prints what a callback raises and goes on, and some code raises its own error: neither may hide Ctrl-C."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(EXPERIMENTS)!r})\n"
        "import commandline\n"
        "commandline.watch_signals()\n"
        "class Late:\n    def __del__(self): raise KeyboardInterrupt\n"
        "class Named:\n    def __set_name__(self, owner, name): raise KeyboardInterrupt\n"
        "def swallow():\n    Late()\n"
        + (f"commandline.run(lambda: exec({code!r}, globals()))\n" if place == "run" else code)
    )
    started = time.monotonic()
    ended = run_script(script)
    assert ended.returncode == 130 and ended.stderr == "stopped by Ctrl-C\n"
    assert time.monotonic() - started < 15
