"""Times the training step, the sampler and the input pipeline. Prints medians over repeats, and ratios.

Example: python experiments/benchmark.py folk-basic --trace runs/trace
         python experiments/benchmark.py folk-plain --options --json experiments/results/options.json
"""

from commandline import choose, run

import dataclasses
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from configs import CONFIGS
from configs.options import options
from timing import first_step_seconds, make_samplers, make_training_step, median_seconds

from musicvae_jax.config import Config, nearest
from musicvae_jax.config.checks import check, check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What to time."""

    repeats: int = 10
    """Measurements per result."""
    trace: str = ""
    """Folder for a profiler trace of three training steps, for TensorBoard or Perfetto; empty for none."""
    cold: bool = True
    """Also time the first step of two new processes, without and with the compilation cache."""
    options: bool = False
    """In place of all else: what each option alone costs in parameters, time and memory of a training step."""
    only: tuple[str, ...] = ()
    """Of the options, only these, beside the config without any; empty for all."""
    json: str = ""
    """File for the results of ``--options``; empty for none."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The experiment, field by field."""

    def __post_init__(self) -> None:
        check_positive(self, "repeats")
        check(self.options or not self.json, "Benchmark.json", self.json, "nothing without --options")
        check(self.options or not self.only, "Benchmark.only", self.only, "nothing without --options")
        if self.only:
            known = options(self.config)
            for name in self.only:
                check(name in known, "Benchmark.only", name, f"a known name: {nearest(name, known)}")


def main() -> int:
    """Parses the command line, measures, prints."""
    if len(sys.argv) == 1:
        sys.argv.append("folk-basic")
    text = "times an experiment's training step, sampler and input pipeline"
    bench = choose({name: (text, Benchmark(config=config)) for name, (_, config) in CONFIGS.items()})
    from musicvae_jax.training.devices import set_up_devices

    set_up_devices()
    if bench.options:
        _time_options(bench)
        return 0
    if bench.cold:
        _time_first_step(bench.config)
    _time_training(bench)
    _time_sampler(bench)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    _print("peak memory of this process", f"{peak:10.0f} MiB")
    return 0


def _print(label: str, result: str) -> None:
    print(f"{label:<52} {result}")


def _time_options(bench: Benchmark) -> None:
    """Prints a table. The steps take turns, so that all see the same drift of the machine."""
    from musicvae_jax.training.workdir import write_text

    steps = {}
    for name, config in options(bench.config).items():
        if bench.only and name not in (*bench.only, "plain"):
            continue
        print(f"compiling: {name}", flush=True)
        steps[name] = make_training_step(config)
    seconds = median_seconds({name: step.call for name, step in steps.items()}, bench.repeats)
    rows = {
        name: {"parameters": step.parameters, "step_seconds": seconds[name], "peak_bytes": step.bytes}
        for name, step in steps.items()
    }
    base = rows["plain"]
    print(f"{'option':32}{'parameters':>12}{'':8}{'step':>9}{'':9}{'peak memory of a device':>29}")
    for name, row in rows.items():
        ratio = {figure: value / base[figure] for figure, value in row.items()}
        print(
            f"{name:32}{row['parameters']:12,}{ratio['parameters']:6.2f} x{row['step_seconds'] * 1000:9.1f} ms"
            f"{ratio['step_seconds']:6.2f} x{row['peak_bytes'] / 2**20:16.0f} MiB{ratio['peak_bytes']:7.2f} x"
        )
    if bench.json:
        write_text(Path(bench.json), json.dumps(rows, indent=2) + "\n")
        print(f"written: {bench.json}")


def _time_first_step(config: Config) -> None:
    cold, cached = (seconds or math.nan for seconds in first_step_seconds(config))
    _print("from process start to the first step done, cold", f"{cold:10.1f} s")
    _print("  again, with the compilation cache", f"{cached:10.1f} s {cached / cold:8.2f} x cold")


def _time_training(bench: Benchmark) -> None:
    import jax

    from musicvae_jax.data.load import load_batches, load_windows
    from musicvae_jax.data.pipeline import PREFETCH_BATCHES
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import compile_new_step, matmul_peak

    config = bench.config
    parallel = make_parallel(config.train)
    batches = load_batches(config, load_windows(config, "train"))
    batch = next(batches)
    state, (step, flops) = compile_new_step(config, parallel, batch)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

    step_seconds, wait_seconds, tokens = [], [], []
    state, _ = step(state, parallel.shard(batch))
    for _ in range(PREFETCH_BATCHES):  # skip the batches that were prepared during compilation
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
    pipeline = median_seconds({"": lambda: [next(batches) for _ in range(20)]}, bench.repeats)[""]
    windows_per_second = 20 * config.train.batch_size / pipeline
    surplus = windows_per_second * seconds / config.train.batch_size
    _print("parameters", f"{num_parameters:10,}")
    _print("training step", f"{seconds * 1000:10.1f} ms   {1 / seconds:8.2f} steps/s")
    _print("tokens", f"{statistics.median(tokens) / seconds:10,.0f} /s")
    _print("floating-point operations of matrix products", f"{flops / seconds / 1e9:10.1f} GFLOP/s")
    _print("  share of the matmul peak, measured after them", f"{flops / seconds / peak:10.1%} of {peak / 1e9:.0f}")
    _print("share of the step spent waiting for data", f"{sum(wait_seconds) / sum(step_seconds):10.2%}")
    _print("input pipeline alone", f"{windows_per_second:10,.0f} windows/s, {surplus:.0f} x what the step consumes")
    if bench.trace:
        with jax.profiler.trace(bench.trace):
            for _ in range(3):
                state, _ = step(state, parallel.shard(next(batches)))
            jax.block_until_ready(state)
        print(f"profiler trace of 3 steps: {bench.trace}")
    batches.close()


def _time_sampler(bench: Benchmark) -> None:
    from musicvae_jax.codec import make_codec
    from musicvae_jax.types import existing_fields, until_end

    codec, measures = make_codec(bench.config.codec), bench.config.data.measures
    metres = [np.full((num, measures, 2), 4, np.int32) for num in (1, 64)]
    for metre, sampler in zip(metres, make_samplers(bench.config, metres), strict=True):
        seconds = median_seconds({"": sampler}, max(bench.repeats // 2, 3))[""]
        tokens = np.asarray(sampler())
        exists = existing_fields(tokens, until_end(tokens, codec.slot_mask(metre), codec.fields), codec.fields)
        speed = f"{seconds * 1000:10.1f} ms   {int(exists.sum()) / seconds:8,.0f} tokens/s"
        _print(f"sampler, {len(metre)} x {measures} measures of 4/4", speed)


if __name__ == "__main__":
    run(main)
