"""Ctrl-C and SIGTERM end a script in one line, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.scripts import EXPERIMENTS, ROOT


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


@pytest.mark.parametrize("code", ["raise KeyboardInterrupt", "import gc; swallow(); time.sleep(20)"])
def test_ctrl_c_that_a_callback_swallows_comes_again(tmp_path, code):
    """Python prints what a callback raises and goes on; Ctrl-C must not get lost there."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(EXPERIMENTS)!r})\n"
        "import commandline\n"
        "commandline.watch_signals()\n"
        "class Late:\n    def __del__(self): raise KeyboardInterrupt\n"
        "def swallow():\n    Late()\n"
        f"commandline.run(lambda: exec({code!r}, globals()))\n"
    )
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 130 and ended.stderr == "stopped by Ctrl-C\n"
    assert time.monotonic() - started < 15
