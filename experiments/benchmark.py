"""Times the training step, the sampler and the input pipeline; prints medians over repeats, and ratios.

Example: python experiments/benchmark.py folk-basic --trace runs/trace
"""

import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import tyro
from commandline import choose, run
from configs import CONFIGS

from musicvae_jax.config import Config
from musicvae_jax.config.checks import check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to time."""

    repeats: int = 10
    """Measurements of each figure."""
    trace: str = ""
    """A folder for a profiler trace of three training steps (open it with TensorBoard or Perfetto); empty for none."""
    cold: bool = True
    """Time the first step of two fresh processes, without and with the compilation cache."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The experiment, field by field."""

    def __post_init__(self) -> None:
        check_positive(self, "repeats")


FIRST_STEP = """
import time
start = time.perf_counter()
import jax, sys
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
from pathlib import Path
from musicvae_jax.config import from_json
from musicvae_jax.training.parallel import make_parallel, set_up_devices
set_up_devices()
from musicvae_jax.data.load import load_batches, load_windows
from musicvae_jax.training.throughput import compile_step
config = from_json(Path(sys.argv[1]).read_text())
parallel = make_parallel(config.train)
batches = load_batches(config, load_windows(config, "train"))
batch = next(batches)
state, step = compile_step(config, parallel, batch)
jax.block_until_ready(step(state, parallel.shard(batch)))
print(time.perf_counter() - start)
batches.close()
"""


def main() -> int:
    """Parses the command line, measures, prints."""
    text = "times an experiment's training step, sampler and input pipeline"
    if len(sys.argv) == 1:
        sys.argv.append("folk-basic")
    bench = choose({name: (text, Benchmark(config=config)) for name, (_, config) in CONFIGS.items()})
    from musicvae_jax.training.parallel import set_up_devices

    set_up_devices()
    if bench.cold:
        _time_first_step(bench.config)
    _time_training(bench)
    _time_sampler(bench)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{'peak memory of this process':<52} {peak:10.0f} MiB")
    return 0


def _time_first_step(config: Config) -> None:
    from musicvae_jax.config import to_json

    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(config))
        file.flush()
        seconds = [
            float(subprocess.check_output([sys.executable, "-c", FIRST_STEP, file.name, folder], text=True))
            for _ in range(2)
        ]
    print(f"{'from process start to the first step done, cold':<52} {seconds[0]:10.1f} s")
    print(f"{'  again, with the compilation cache':<52} {seconds[1]:10.1f} s {seconds[1] / seconds[0]:8.2f} x cold")


def _time_training(bench: Benchmark) -> None:
    import jax

    from musicvae_jax.data.load import load_batches, load_windows
    from musicvae_jax.data.pipeline import PREFETCH_BATCHES
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import compile_step, compiled_flops, matmul_peak

    config = bench.config
    parallel = make_parallel(config.train)
    batches = load_batches(config, load_windows(config, "train"))
    batch = next(batches)
    state, step = compile_step(config, parallel, batch)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    flops = compiled_flops(step, parallel) * config.train.accumulate

    step_seconds, wait_seconds, tokens = [], [], []
    state, _ = step(state, parallel.shard(batch))
    for _ in range(PREFETCH_BATCHES):  # what was made while the step was compiled
        next(batches)
    for _ in range(bench.repeats):
        start = time.perf_counter()
        batch = next(batches)
        wait_seconds.append(time.perf_counter() - start)
        state, metrics = step(state, parallel.shard(batch))
        jax.block_until_ready(state)
        step_seconds.append(time.perf_counter() - start)
        tokens.append(float(metrics["tokens"]) * config.train.batch_size)
    peaks = [matmul_peak(parallel, config.model.dtype, repeats=2) for _ in range(bench.repeats)]
    seconds, peak = statistics.median(step_seconds), statistics.median(peaks)
    windows = _median(lambda: [next(batches) for _ in range(20)], bench.repeats) / (20 * config.train.batch_size)
    print(f"{'parameters':<52} {num_parameters:10,}")
    print(f"{'training step':<52} {seconds * 1000:10.1f} ms   {1 / seconds:8.2f} steps/s")
    print(f"{'tokens':<52} {statistics.median(tokens) / seconds:10,.0f} /s")
    print(f"{'floating-point operations':<52} {flops / seconds / 1e9:10.1f} GFLOP/s")
    print(f"{'  share of the matmul peak, measured after them':<52} {flops / seconds / peak:10.1%} of {peak / 1e9:.0f}")
    print(f"{'share of the step spent waiting for data':<52} {sum(wait_seconds) / sum(step_seconds):10.2%}")
    surplus = seconds / config.train.batch_size / windows
    print(f"{'input pipeline alone':<52} {1 / windows:10,.0f} windows/s, {surplus:.0f} x what the step consumes")
    if bench.trace:
        with jax.profiler.trace(bench.trace):
            for _ in range(3):
                state, _ = step(state, parallel.shard(next(batches)))
            jax.block_until_ready(state)
        print(f"profiler trace of 3 steps: {bench.trace}")
    batches.close()


def _time_sampler(bench: Benchmark) -> None:
    import jax
    import numpy as np

    from musicvae_jax.codec import make_codec
    from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
    from musicvae_jax.training.parallel import everywhere
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model
    from musicvae_jax.types import existing_fields, until_end

    config = bench.config
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    variables = jax.device_put(evaluation_variables(jax.jit(partial(init_state, config, model))()), everywhere())
    for num in (1, 64):
        metre = np.full((num, config.data.measures, 2), 4, np.int32)
        mask = codec.slot_mask(metre)
        key = jax.random.key(0)
        latents = model.apply(variables, metre, method="sample_prior", rngs={"latent": key})
        draw = partial(sample_tokens, model, variables, latents, metre, mask, key, SamplingConfig())
        seconds = _median(partial(_ready, draw), max(bench.repeats // 2, 3))
        drawn = np.asarray(draw())
        tokens = int(existing_fields(drawn, until_end(drawn, mask, codec.fields), codec.fields).sum())
        text = f"sampler, {num} x {config.data.measures} measures of 4/4"
        print(f"{text:<52} {seconds * 1000:10.1f} ms   {tokens / seconds:8,.0f} tokens/s")


def _ready(call: Callable[[], Any]) -> None:
    call().block_until_ready()


def _median(call: Callable[[], object], repeats: int) -> float:
    """Seconds of a call, the median over repeats after a warm-up."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    run(main)
