"""Measures in one run what an accelerator's user waits for, and how much of the chip a training step uses.

The first step of a new process, without and with the compilation cache; steps of `folk-plain` and `folk-large` beside
the measured rate of matrix products, and beside a flat transformer VAE in PyTorch where torch is installed; sampling;
evaluation; the operations that take most of a step. Each part is written when it is known; a part that fails leaves its
error, and the others go on. It is meant to take less than eight minutes on one GPU.

Examples:
    python experiments/accelerator.py --json runs/accelerator.json
    python experiments/accelerator.py --json runs/accelerator.json --parts training sampling
    python experiments/accelerator.py --dry-run --json runs/dry-run.json   # every part in its smallest size, on a CPU
"""

from commandline import run

import collections
import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from configs import CONFIGS
from timing import first_step_seconds, make_samplers, median_seconds

from musicvae_jax.config import Config
from musicvae_jax.training.devices import GPU_FLAGS, set_up_devices
from musicvae_jax.training.workdir import write_text

Figures = dict[str, Any]
PartName = Literal["first_step", "search", "torch_twin", "device", "training", "sampling", "evaluation", "operations"]
_PATIENCE = 120.0  # seconds that a first step with XLA's searches may take


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured."""

    first_steps: dict[str, Config]
    steps: dict[str, Config]
    sampled: tuple[Config, int, int]  # how many pieces, of how many measures
    evaluated: tuple[Config, int | None]  # on how many windows of the validation split, None for all
    profiled: Config
    repeats: int
    twin: tuple[str, ...]  # arguments of torch_twin.py


def sizes(dry_run: bool, data_dir: str) -> Sizes:
    """The sizes for an accelerator, or the smallest that run every part."""

    def sized(name: str, batch_size: int, dtype: Any) -> Config:
        config = CONFIGS[name][1]
        if dry_run:
            small: dict[str, Any] = {"dim": 16, "num_heads": 2, "encoder_slot_layers": 1, "encoder_measure_layers": 0}
            model = dataclasses.replace(config.model, **small, conductor_layers=0, decoder_layers=1)
            config = dataclasses.replace(config, model=model)
        return dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, data_dir=data_dir),
            model=dataclasses.replace(config.model, dtype=dtype),
            train=dataclasses.replace(config.train, batch_size=4 if dry_run else batch_size, num_devices=1),
        )

    folk = sized("folk-plain", 32, "float32")
    large = sized("folk-plain", 1024, "bfloat16")
    return Sizes(
        first_steps=({} if dry_run else {"folk-plain": folk}) | {"debug": sized("debug", 16, "float32")},
        steps={
            "folk-plain, batch 32, float32": folk,
            "folk-plain, batch 1024, bfloat16": large,
            "folk-large, batch 512, bfloat16": sized("folk-large", 512, "bfloat16"),
        },
        sampled=(folk, 4, 2) if dry_run else (folk, 1024, 16),
        evaluated=(folk, 4 if dry_run else None),
        profiled=large,
        repeats=2 if dry_run else 10,
        twin=("--batch-size", "2", "--steps", "2", "--dim", "16", "--layers", "1", "--modes", "eager")
        if dry_run
        else (),
    )


def measure_first_steps(chosen: Sizes) -> Figures:
    """Seconds from the start of a process to the end of its first step, without and with the compilation cache."""
    return {
        name: dict(zip(("cold", "warm"), first_step_seconds(config), strict=True))
        for name, config in chosen.first_steps.items()
    }


def measure_search(chosen: Sizes) -> Figures:
    """The first step without the flags that `set_up_devices` chooses for a GPU; None: it took longer."""
    name, config = next(iter(chosen.first_steps.items()))
    search = " ".join(GPU_FLAGS).replace("false", "true")
    (seconds,) = first_step_seconds(config, runs=1, flags=search, timeout=_PATIENCE)
    return {name: seconds, "patience": _PATIENCE}


def measure_twin(chosen: Sizes) -> Figures:
    """What `torch_twin.py` prints."""
    if importlib.util.find_spec("torch") is None:
        return {"skipped": "torch is not installed"}
    command = [sys.executable, "-c", "import torch_twin; torch_twin.main()", *chosen.twin]
    return json.loads(subprocess.check_output(command, text=True, cwd=Path(__file__).parent))


def measure_device(chosen: Sizes) -> Figures:
    """The device, and the rates of matrix products on it in FLOP/s."""
    import jax

    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import matmul_peak

    parallel = make_parallel(chosen.profiled.train)
    return {
        "kind": jax.devices()[0].device_kind,
        "platform": jax.devices()[0].platform,
        "jax": jax.__version__,
        **{f"matmul_peak.{dtype}": matmul_peak(parallel, dtype) for dtype in ("float32", "bfloat16")},
    }


def make_steps(config: Config) -> tuple[Callable[[int], float], Figures]:
    """A function that takes so many training steps of one real batch, and returns the tokens of each; what it costs."""
    import jax

    from musicvae_jax.data.load import load_windows
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import compile_new_step

    parallel = make_parallel(config.train)
    source = load_windows(config, "train")
    batch = source.gather(np.arange(config.train.batch_size) % len(source))
    start = time.perf_counter()
    state, (step, flops) = compile_new_step(config, parallel, batch)
    costs = {
        "compile_seconds": time.perf_counter() - start,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "flops": flops,
        "temporary_bytes": step.memory_analysis().temp_size_in_bytes,
    }
    states, on_device = [state], parallel.shard(batch)

    def take(number: int) -> float:
        for _ in range(number):  # nothing waits in between, as in training
            states[0], metrics = step(states[0], on_device)
        jax.block_until_ready(states[0])
        return float(metrics["tokens"]) * config.train.batch_size

    return take, costs


def measure_steps(chosen: Sizes) -> Figures:
    """Speed of each training step, and its share of the rate of matrix products of its type."""
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import matmul_peak

    found: Figures = {}
    for name, config in chosen.steps.items():
        take, costs = make_steps(config)
        tokens = take(1)
        seconds = median_seconds({"": lambda take=take: take(10)}, chosen.repeats)[""] / 10  # type: ignore[misc]
        rate = costs["flops"] / seconds
        found[name] = costs | {
            "step_seconds": seconds,
            "steps_per_second": 1 / seconds,
            "tokens_per_second": tokens / seconds,
            "flops_per_second": rate,
            "matmul_peak_share": rate / matmul_peak(make_parallel(config.train), config.model.dtype),
        }
    return found


def measure_sampling(chosen: Sizes) -> Figures:
    """Pieces per second from an untrained model, all of 4/4."""
    config, pieces, measures = chosen.sampled
    (sampler,) = make_samplers(config, [np.full((pieces, measures, 2), 4, np.int32)])
    seconds = median_seconds({"": sampler}, 3)[""]
    return {"pieces": pieces, "measures": measures, "seconds": seconds, "pieces_per_second": pieces / seconds}


def measure_evaluation(chosen: Sizes) -> Figures:
    """Seconds that the figures of an untrained model take, with what each level says, without the rivals."""
    from musicvae_jax.codec import make_codec
    from musicvae_jax.evaluation.evaluate import evaluate
    from musicvae_jax.evaluation.information_flow import information_flow
    from musicvae_jax.evaluation.trained import TrainedVAE
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model

    config, windows = chosen.evaluated
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    vae = TrainedVAE(config, codec, model, evaluation_variables(init_state(config, model)), 0, {"4/4": 1})
    start = time.perf_counter()
    figures = evaluate(vae, "validation", num_examples=windows)
    evaluated = time.perf_counter() - start
    information_flow(vae, "validation", num_windows=windows or 256, num_probed=windows or 1024)
    flow = time.perf_counter() - start - evaluated
    return {"windows": figures.num_examples, "evaluate_seconds": evaluated, "information_flow_seconds": flow}


def measure_operations(chosen: Sizes) -> Figures:
    """The ten operations that take most of a training step, with their shares of the time of all."""
    import jax

    take, _ = make_steps(chosen.profiled)
    take(2)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            take(3)
        (trace,) = Path(folder).rglob("*.xplane.pb")
        return largest_operations(trace)


def largest_operations(trace: Path, number: int = 10) -> dict[str, float]:
    """Operation -> share of the time of all operations in a profiler's trace; those of devices, else of the host."""
    from jax.profiler import ProfileData

    profile = ProfileData.from_file(str(trace))  # its planes live as long as it does
    planes = list(profile.planes)
    on_device = [plane for plane in planes if plane.name.startswith("/device:")]
    seconds: collections.Counter[str] = collections.Counter()
    for plane in on_device or planes:
        for line in plane.lines:
            if on_device and not line.name.startswith(("Stream", "XLA Ops")):  # other lines repeat the same time
                continue
            for event in line.events:
                if on_device or any(name == "hlo_op" for name, _ in event.stats):
                    seconds[event.name] += event.duration_ns
    return {name: value / seconds.total() for name, value in seconds.most_common(number)}


_OTHER_PROCESSES = ("first_step", "search", "torch_twin")  # they come first: this one takes most of the device's memory
PARTS: dict[PartName, Callable[[Sizes], Figures]] = {
    "first_step": measure_first_steps,
    "search": measure_search,
    "torch_twin": measure_twin,
    "device": measure_device,
    "training": measure_steps,
    "sampling": measure_sampling,
    "evaluation": measure_evaluation,
    "operations": measure_operations,
}


def main(
    *,
    json_file: Annotated[str, tyro.conf.arg(name="json")],
    parts: tuple[PartName, ...] = typing.get_args(PartName),
    dry_run: bool = False,
    data_dir: str = "",
) -> int:
    """Measures and writes.

    Args:
        json_file: where all figures go.
        parts: what is measured; the order is always the same.
        dry_run: every part in its smallest size.
        data_dir: as of a config's data.
    """
    from musicvae_jax.data.load import load_windows

    found: Figures = {}
    chosen = sizes(dry_run, data_dir)
    load_windows(chosen.profiled, "validation")  # prepares the data, or says what is missing
    write_text(Path(json_file), "{}\n")  # a place that cannot be written to is said now
    here = [name for name in PARTS if name in parts and name not in _OTHER_PROCESSES]
    for name in [name for name in PARTS if name in parts]:
        if here and name == here[0]:
            set_up_devices()
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        try:
            found[name] = PARTS[name](chosen)
        except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:  # the others still count
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        found[name]["seconds_of_this_part"] = time.perf_counter() - start
        print(json.dumps(found[name], indent=2), flush=True)
        write_text(Path(json_file), json.dumps(found, indent=2) + "\n")
    failed = [name for name, figures in found.items() if "error" in figures]
    print(f"written: {json_file}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    run(lambda: tyro.cli(main, description=__doc__))
