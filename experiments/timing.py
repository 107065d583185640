"""What the timing scripts share: median times, first steps, and training steps and samplers of an untrained model."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from musicvae_jax.config import Config, to_json

_FIRST_STEP = """
import time
start = time.perf_counter()
import jax, sys
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
from pathlib import Path
from musicvae_jax.config import from_json
from musicvae_jax.training.devices import set_up_devices
set_up_devices()
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.data.load import load_batches, load_windows
from musicvae_jax.training.throughput import compile_new_step
config = from_json(Path(sys.argv[1]).read_text())
parallel = make_parallel(config.train)
batches = load_batches(config, load_windows(config, "train"))
batch = next(batches)
state, (step, _) = compile_new_step(config, parallel, batch)
jax.block_until_ready(step(state, parallel.shard(batch)))
print(time.perf_counter() - start)
batches.close()
"""


def first_step_seconds(
    config: Config, *, runs: int = 2, flags: str = "", timeout: float | None = None
) -> list[float | None]:
    """Seconds from the start of a new process to the end of its first step: without the compilation cache, then with.

    Args:
        config: the experiment.
        runs: how many processes, one after the other.
        flags: of XLA, beside those that are set.
        timeout: seconds after which a process is stopped; its result is None.
    """
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
    found: list[float | None] = []
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(to_json(config))
        file.flush()
        command = [sys.executable, "-c", _FIRST_STEP, file.name, folder]
        for _ in range(runs):
            try:
                found.append(float(subprocess.check_output(command, text=True, timeout=timeout, env=environment)))
            except subprocess.TimeoutExpired:
                found.append(None)
    return found


def median_seconds(calls: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Median time of each call, after one call to warm up.

    The calls take turns: the speed of a busy machine drifts, and this way all calls see the same drift.
    """
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class TrainingStep(NamedTuple):
    """A compiled training step of an untrained model."""

    call: Callable[[], object]  # takes a step, and returns when it is done
    parameters: int
    bytes: int  # that one device holds at most during a step: state, batch, activations


def make_training_step(config: Config) -> TrainingStep:
    """A training step on measures of 4/4 without notes; its cost does not depend on the notes."""
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.training.memory import set_aside_gaps
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import compile_new_step
    from musicvae_jax.types import Batch

    codec, parallel = make_codec(config.codec), make_parallel(config.train)
    metre = np.full((config.train.batch_size, config.data.measures, 2), 4, np.int32)
    mask = codec.slot_mask(metre)
    tokens = np.zeros((*mask.shape, len(codec.fields)), np.int32)
    batch = Batch(tokens, mask, metre, np.arange(len(metre), dtype=np.int32))
    state, (step, _) = compile_new_step(config, parallel, batch)
    set_aside_gaps()
    states, on_devices = [state], parallel.shard(batch)

    def call() -> None:
        states[0], _ = step(states[0], on_devices)  # the step donates its input state
        jax.block_until_ready(states[0])

    memory = step.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    peak += memory.output_size_in_bytes - memory.alias_size_in_bytes
    return TrainingStep(call, sum(leaf.size for leaf in jax.tree.leaves(state.params)), peak)


def make_samplers(config: Config, metres: Sequence[np.ndarray]) -> list[Callable[[], Any]]:
    """Decoding of fixed prior latents with an untrained model, for each metre int32[example, measure, 2].

    A sampler returns tokens int32[example, measure, slot, field] when they are computed.
    """
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.inference import sample_prior
    from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
    from musicvae_jax.rng import row_keys
    from musicvae_jax.training.parallel import everywhere
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model

    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    variables = jax.device_put(evaluation_variables(init_state(config, model)), everywhere())
    key = jax.random.key(0)

    def sampler(metre: np.ndarray) -> Callable[[], Any]:
        latents = sample_prior(model, variables, metre, row_keys(key, np.arange(len(metre))))
        mask = codec.slot_mask(metre)
        return lambda: sample_tokens(model, variables, latents, metre, mask, key, SamplingConfig()).block_until_ready()

    return [sampler(metre) for metre in metres]
