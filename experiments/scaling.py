"""What a measure costs: the training step from 4 to 64 measures, and sampling with and without the past.

Example: python experiments/scaling.py folk --out docs/scaling

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
from typing import Annotated, Any

import numpy as np
import tyro
from commandline import choose, run
from configs import CONFIGS

from musicvae_jax.config import Config
from musicvae_jax.config.checks import check, check_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to time."""

    out: str = ""
    """Writes OUT.json and OUT.png; empty for none."""
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
    from musicvae_jax.training.parallel import set_up_devices

    set_up_devices()
    training = _medians({m: _training_step(scaling, m) for m in scaling.measures}, scaling.rounds)
    samplers = {
        (context, num): _sampler(scaling, context, num) for num in (1, 64) for context in ("none", "previous", "flat")
    }
    sampling = _medians(samplers, scaling.rounds)

    per_measure = {m: seconds / m / scaling.batch_size for m, seconds in training.items()}
    base = per_measure.get(16, next(iter(per_measure.values())))
    print(f"training step, batch of {scaling.batch_size}, {scaling.config.model.context!r}")
    for m, seconds in training.items():
        cost = per_measure[m]
        print(f"  {m:3} measures {seconds * 1000:9.1f} ms {cost * 1e3:8.3f} ms a measure {cost / base:6.2f} x")
    print(f"sampling {scaling.sampled} measures")
    for num in (1, 64):
        for context in ("none", "previous", "flat"):
            seconds, flat = sampling[context, num], sampling["flat", num]
            print(f"  {num:3} pieces, {context:9} {seconds * 1000:9.1f} ms, flat takes {flat / seconds:6.2f} x")
    if scaling.out:
        _write(scaling, per_measure, {f"{context}-{num}": value for (context, num), value in sampling.items()})
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
    import numpy as np

    from musicvae_jax.codec import make_codec
    from musicvae_jax.training.parallel import make_parallel
    from musicvae_jax.training.state import init_state, make_model
    from musicvae_jax.training.step import make_device_step
    from musicvae_jax.types import Batch

    config = dataclasses.replace(
        scaling.config,
        data=dataclasses.replace(scaling.config.data, measures=measures),
        train=dataclasses.replace(scaling.config.train, batch_size=scaling.batch_size),
    )
    codec, parallel = make_codec(config.codec), make_parallel(config.train)
    model = make_model(config, codec.fields)
    state = parallel.init(partial(init_state, config, model))
    metre = np.full((scaling.batch_size, measures, 2), 4, np.int32)
    mask = codec.slot_mask(metre)
    tokens = np.zeros((*mask.shape, len(codec.fields)), np.int32)
    batch = parallel.shard(Batch(tokens, mask, metre, np.arange(len(metre), dtype=np.int32)))
    step = parallel.spread(make_device_step(config, model)).lower(state, batch).compile()
    held = [state]

    def call() -> None:
        held[0], _ = step(held[0], batch)
        jax.block_until_ready(held[0])

    return call


def _sampler(scaling: Scaling, context: Any, num: int) -> Callable[[], object]:
    """Drawing so many pieces from the prior's latents on."""
    import jax

    from musicvae_jax.codec import make_codec
    from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
    from musicvae_jax.training.parallel import everywhere
    from musicvae_jax.training.state import evaluation_variables, init_state, make_model

    config = dataclasses.replace(
        scaling.config,
        model=dataclasses.replace(scaling.config.model, context=context),
        data=dataclasses.replace(scaling.config.data, measures=scaling.sampled),
    )
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    variables = jax.device_put(evaluation_variables(jax.jit(partial(init_state, config, model))()), everywhere())
    metre = np.tile(_longest_metre(codec), (num, scaling.sampled, 1)).astype(np.int32)
    key = jax.random.key(0)
    latents = model.apply(variables, metre, method="sample_prior", rngs={"latent": key})
    mask = codec.slot_mask(metre)
    draw = partial(sample_tokens, model, variables, latents, metre, mask, key, SamplingConfig())
    return lambda: draw().block_until_ready()


def _longest_metre(codec: Any) -> tuple[int, int]:
    """Of usual metres the longest that a codec takes: slots that a metre has not cost time where the past is seen."""
    from musicvae_jax.codec import MusicError

    for metre in ((12, 8), (9, 8), (4, 4)):
        with contextlib.suppress(MusicError):
            codec.slot_mask(np.array([metre]))
            return metre
    return 2, 4


def _write(scaling: Scaling, per_measure: dict[int, float], sampling: dict[str, float]) -> None:
    from musicvae_jax.analysis.scaling import plot_scaling

    figures = {
        "batch_size": scaling.batch_size,
        "training_seconds_per_measure": per_measure,
        "sampled_measures": scaling.sampled,
        "sampling_seconds": sampling,
    }
    Path(f"{scaling.out}.json").write_text(json.dumps(figures, indent=2) + "\n")
    plot_scaling(per_measure, f"{scaling.out}.png")
    print(f"written: {scaling.out}.json, {scaling.out}.png")


if __name__ == "__main__":
    run(main)
