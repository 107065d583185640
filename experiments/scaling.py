"""What a measure costs: the training step from 4 to 64 measures, and sampling with and without the past.

Example: python experiments/scaling.py folk --json experiments/results/scaling.json --png docs/scaling.png

Absolute times drift on a busy machine: everything is timed in turns, round after round, and compared by ratios.
"""

import contextlib
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from commandline import choose, run
from configs import CONFIGS

from musicvae_jax.config import Config
from musicvae_jax.config.checks import check, check_positive

CONTEXTS: tuple[Literal["none", "previous", "flat"], ...] = ("none", "previous", "flat")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to time."""

    json: str = ""
    """The file to write the figures to; empty for none."""
    png: str = ""
    """The picture of the training step's to write; empty for none."""
    measures: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Windows whose training step is timed."""
    batch_size: int = 8
    sampled: int = 16
    """Measures of the pieces that are sampled."""
    rounds: int = 5
    """Each figure is the median over so many."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The experiment, field by field."""

    def __post_init__(self) -> None:
        check_positive(self, "batch_size", "sampled", "rounds")
        check(min(self.measures, default=0) > 0, "Scaling.measures", self.measures, "one number above 0, or several")


def main() -> int:
    """Parses the command line, measures, prints."""
    if len(sys.argv) == 1:
        sys.argv.append("folk")
    text = "times training and sampling over the length of the music"
    scaling = choose({name: (text, Scaling(config=config)) for name, (_, config) in CONFIGS.items()})
    from musicvae_jax.analysis.scaling import plot_scaling
    from musicvae_jax.training.parallel import set_up_devices
    from musicvae_jax.training.workdir import write_text

    set_up_devices()
    training = _medians({m: _training_step(scaling, m) for m in scaling.measures}, scaling.rounds)
    sampling = _medians(_samplers(scaling), scaling.rounds)

    per_measure = {m: seconds / m / scaling.batch_size for m, seconds in training.items()}
    base = per_measure.get(16, next(iter(per_measure.values())))
    print(f"training step, batch of {scaling.batch_size}, {scaling.config.model.context!r}")
    for m, seconds in training.items():
        cost = per_measure[m]
        print(f"  {m:3} measures {seconds * 1000:9.1f} ms {cost * 1e3:8.3f} ms a measure {cost / base:6.2f} x")
    print(f"sampling {scaling.sampled} measures")
    for num in (1, 64):
        for context in CONTEXTS:
            seconds, flat = sampling[context, num], sampling["flat", num]
            print(f"  {num:3} pieces, {context:9} {seconds * 1000:9.1f} ms, flat takes {flat / seconds:6.2f} x")
    if scaling.json:
        figures = {
            "batch_size": scaling.batch_size,
            "training_seconds_per_measure": per_measure,
            "sampled_measures": scaling.sampled,
            "sampling_seconds": {f"{context}-{num}": value for (context, num), value in sampling.items()},
        }
        write_text(Path(scaling.json), json.dumps(figures, indent=2) + "\n")
        print(f"written: {scaling.json}")
    if scaling.png:
        plot_scaling(per_measure, scaling.png)
        print(f"written: {scaling.png}")
    return 0


def _medians(calls: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, float]:
    """Seconds of each call, all timed in turns so that drift of the machine meets all alike."""
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _training_step(scaling: Scaling, measures: int) -> Callable[[], object]:
    """A step on a batch of 4/4 without notes: no part of its cost depends on the notes."""
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.throughput import compile_step
    from musicvae_jax.types import Batch

    config = dataclasses.replace(
        scaling.config,
        data=dataclasses.replace(scaling.config.data, measures=measures),
        train=dataclasses.replace(scaling.config.train, batch_size=scaling.batch_size),
    )
    codec, parallel = make_codec(config.codec), make_parallel(config.train)
    metre = np.full((scaling.batch_size, measures, 2), 4, np.int32)
    mask = codec.slot_mask(metre)
    tokens = np.zeros((*mask.shape, len(codec.fields)), np.int32)
    batch = Batch(tokens, mask, metre, np.arange(len(metre), dtype=np.int32))
    state, step = compile_step(config, parallel, batch)
    held, placed = [state], parallel.shard(batch)

    def call() -> None:
        held[0], _ = step(held[0], placed)
        jax.block_until_ready(held[0])

    return call


def _samplers(scaling: Scaling) -> dict[tuple[str, int], Callable[[], object]]:
    """(context, pieces) -> drawing so many from the prior's latents on."""
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
    from musicvae_jax.training.parallel import everywhere
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model

    codec = make_codec(scaling.config.codec)
    samplers: dict[tuple[str, int], Callable[[], object]] = {}
    for context in CONTEXTS:
        config = dataclasses.replace(
            scaling.config,
            model=dataclasses.replace(scaling.config.model, context=context),
            data=dataclasses.replace(scaling.config.data, measures=scaling.sampled),
        )
        model = make_model(config, codec.fields)
        variables = jax.device_put(evaluation_variables(jax.jit(partial(init_state, config, model))()), everywhere())
        for num in (1, 64):
            metre = np.tile(_longest_metre(codec), (num, scaling.sampled, 1)).astype(np.int32)
            key = jax.random.key(0)
            latents = model.apply(variables, metre, method="sample_prior", rngs={"latent": key})
            mask = codec.slot_mask(metre)
            draw = partial(sample_tokens, model, variables, latents, metre, mask, key, SamplingConfig())
            samplers[context, num] = partial(_ready, draw)
    return samplers


def _ready(call: Callable[[], Any]) -> None:
    call().block_until_ready()


def _longest_metre(codec: Any) -> tuple[int, int]:
    """Of usual metres the longest that a codec takes: slots that a metre has not cost time where the past is seen."""
    from musicvae_jax.codec import MusicError

    for metre in ((12, 8), (9, 8), (4, 4)):
        with contextlib.suppress(MusicError):
            codec.slot_mask(np.array([metre]))
            return metre
    return 2, 4


if __name__ == "__main__":
    run(main)
