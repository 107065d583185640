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
    ended = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 130 and ended.stderr == "stopped by Ctrl-C\n"
    assert time.monotonic() - started < 15
