"""What every test runs under. The environment is set before anything imports JAX, so that subprocesses inherit it."""

import os
from importlib.metadata import version
from pathlib import Path

_CACHE = Path(__file__).resolve().parent.parent / ".cache"

# Four CPU devices: every test of the parallel step can compare one device with several.
_XLA_FLAGS = {"xla_force_host_platform_device_count": "4"}
# The older of two ways to emit fused loops compiles a training step in less than half the time. XLA ends a process that
# gives it a flag it does not know: these are for one version.
if version("jaxlib").startswith("0.10."):
    _XLA_FLAGS["xla_cpu_use_fusion_emitters"] = "false"
    _XLA_FLAGS["xla_cpu_parallel_codegen_split_count"] = "1"  # a worker on each core leaves none for more threads
for _flag, _value in _XLA_FLAGS.items():
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{_flag}={_value}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DEBUG_KEY_REUSE", "true")  # a random key that is used twice is an error
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(_CACHE / "hypothesis"))

# Most tests compile much and compute little: without the optimisations they compile three to five times faster.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

# Compilation is most of the suite's time: keep its results between runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import gc  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# Two busy cores make single examples slow now and then: a deadline per example would fail at random.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")

# Music and a trained model, made once for the whole session, and the scripts.
pytest_plugins = ["tests.folk_data", "tests.scripts", "tests.trained"]


@pytest.fixture(scope="module", autouse=True)
def collect_garbage() -> Iterator[None]:
    """Between files instead of all the time: a tenth of the time of tracing goes into the search for cycles.

    What is left then stays: no later collection looks at it again. JAX keeps millions of objects in its caches.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """All modules are imported now: no later collection looks at their objects again."""
    gc.collect()
    gc.freeze()


# The longest first. The first file trains nothing on real music, so that one worker starts while another prepares it.
_FIRST = ("test_step.py", "training", "validation", "experiments", "evaluation", "models")


def pytest_collection_modifyitems(items: list) -> None:
    """Puts long files first, so that no worker has one left when the others have finished."""
    rank = {name: number for number, name in enumerate(_FIRST)}
    last = len(rank)
    items.sort(key=lambda item: min(rank.get(item.path.name, last), rank.get(item.path.parent.name, last)))
