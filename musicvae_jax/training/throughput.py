"""The speed of training steps, compared with the peak of the machine."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.training.state import TrainState, make_model
from musicvae_jax.training.step import AXIS, make_device_step
from musicvae_jax.types import Batch


class Compiled(NamedTuple):
    """A compiled training step."""

    step: Any
    flops: float  # of the matrix products of one call, on all devices


def compile_step(step: Any, state: TrainState, batch: Batch) -> Compiled:
    """The step of `Parallel.spread`, compiled for a state and batches of the shape of this one."""
    if hasattr(step, "trace"):
        traced = step.trace(state, batch)
        return Compiled(traced.lower().compile(), product_flops(traced.jaxpr.jaxpr))
    return Compiled(step.lower(state, batch).compile(), product_flops(jax.make_jaxpr(step)(state, batch).jaxpr))


def compile_new_step(config: Config, parallel: Parallel, batch: Batch) -> tuple[TrainState, Compiled]:
    """A new state of a config, and its compiled training step."""
    model = make_model(config, make_codec(config.codec).fields)
    state = parallel.init(config, model)
    return state, compile_step(parallel.spread(make_device_step(config, model)), state, parallel.shard(batch))


def product_flops(program: Any) -> float:
    """Floating-point operations of the matrix products of a program, a `Jaxpr`: 2 m n k for m x k times k x n.

    The body of a `jax.lax.scan` counts as often as it runs, that of a `while_loop` once, of the branches of a condition
    the largest counts, and what is mapped over devices counts once for each of them.
    """
    total = 0.0
    for operation in program.eqns:
        name, parameters = operation.primitive.name, operation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            factor = operation.invars[0].aval.shape
            total += 2 * math.prod(operation.outvars[0].aval.shape) * math.prod(factor[axis] for axis in contracted)
            continue
        parts = jax.tree.leaves(list(parameters.values()), is_leaf=_is_program)
        inside = [product_flops(part) for part in parts if _is_program(part)]
        times = parameters["length"] if name == "scan" else parameters["mesh"].size if name == "shard_map" else 1
        total += times * (max(inside) if name == "cond" else sum(inside))
    return total


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")


def matmul_peak(parallel: Parallel, dtype: str = "float32", size: int = 0, repeats: int = 5) -> float:
    """The peak in FLOP/s: the best of a few products of square matrices on all devices at once.

    A device has a matrix of ``size`` rows, or of `peak_size` if 0, and ``repeats`` timed runs after one to warm up.
    """
    size = size or peak_size()
    sharding = NamedSharding(parallel.mesh, PartitionSpec(AXIS))
    shape = (parallel.mesh.size, size, size)
    x = jax.jit(lambda: jnp.full(shape, 1 / size, dtype), out_shardings=sharding)()
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(x).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 * parallel.mesh.size / min(seconds)


def peak_size() -> int:
    """Rows of a matrix that is large enough to reach the peak: 1024 for a CPU core, 8192 for an accelerator."""
    return 1024 if jax.default_backend() == "cpu" else 8192


class Throughput:
    """Means of the metrics and the speed over the last ``log_every`` steps.

    A summary adds ``averaged_steps`` (fewer in the first row after a resume), ``step_seconds``, ``tokens_per_second``,
    ``data_wait_share`` (of the time, spent waiting for input), ``flops_per_second`` and ``matmul_peak_share`` (FLOP/s
    over `matmul_peak`, measured at the start of the run).
    """

    def __init__(self, flops: float, parallel: Parallel, config: Config):
        self._flops = flops
        self._peak = matmul_peak(parallel, config.model.dtype)
        self._config = config.train
        self._rows: list[dict[str, float]] = []
        self.restart()

    def restart(self) -> None:
        """Restarts the clock, to leave out an evaluation or a checkpoint."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Times a wait for input."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def record(self, step: int, metrics: dict[str, float]) -> dict[str, float] | None:
        """Takes the metrics of a step; returns a summary every ``log_every`` steps and after the last, else None."""
        self._rows.append(metrics)
        self._steps += 1
        if step % self._config.log_every and step != self._config.num_steps:
            return None
        seconds = (time.perf_counter() - self._start) / self._steps
        summary = {name: sum(row[name] for row in self._rows) / len(self._rows) for name in metrics}
        summary |= {
            "averaged_steps": len(self._rows),
            "step_seconds": seconds,
            "tokens_per_second": summary["tokens"] * self._config.batch_size / seconds,
            "data_wait_share": self._waited / (seconds * self._steps),
            "flops_per_second": self._flops / seconds,
            "matmul_peak_share": self._flops / seconds / self._peak,
        }
        self._rows.clear()
        self.restart()
        return summary
