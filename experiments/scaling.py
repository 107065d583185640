"""Times the training step over the length of the window, and sampling with each kind of decoder context.

Example: python experiments/scaling.py folk-plain --json experiments/results/scaling.json --png docs/scaling.png

Absolute times drift on a busy machine, so compare ratios.
"""

from commandline import choose, run

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from configs import CONFIGS
from timing import make_samplers, make_training_step, median_seconds

from musicvae_jax.codec import MusicError, make_codec
from musicvae_jax.config import Config
from musicvae_jax.config.checks import check, check_positive

CONTEXTS: tuple[Literal["none", "previous", "flat"], ...] = ("none", "previous", "flat")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to time."""

    json: str = ""
    """File for the results; empty for none."""
    png: str = ""
    """Picture of the training times; empty for none."""
    measures: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Lengths of the window for the training step."""
    batch_size: int = 8
    sampled: int = 16
    """Length of the window for sampling, in measures."""
    rounds: int = 5
    """Measurements per result; the median counts."""
    config: Annotated[Config, tyro.conf.arg(name="")]
    """The experiment, field by field."""

    def __post_init__(self) -> None:
        check_positive(self, "batch_size", "sampled", "rounds")
        check(min(self.measures, default=0) > 0, "Scaling.measures", self.measures, "one number above 0, or several")


def main() -> int:
    """Parses the command line, measures, prints."""
    if len(sys.argv) == 1:
        sys.argv.append("folk-plain")
    text = "times training and sampling over the length of the music"
    scaling = choose({name: (text, Scaling(config=config)) for name, (_, config) in CONFIGS.items()})
    from musicvae_jax.analysis.curves import plot_scaling
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.training.devices import set_up_devices
    from musicvae_jax.training.workdir import write_text

    set_up_devices()
    training = median_seconds({m: _training_step(scaling, m) for m in scaling.measures}, scaling.rounds)
    sampling = median_seconds(_samplers(scaling), scaling.rounds)

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
        results = {
            "batch_size": scaling.batch_size,
            "training_seconds_per_measure": per_measure,
            "sampled_measures": scaling.sampled,
            "sampling_seconds": {f"{context}-{num}": value for (context, num), value in sampling.items()},
        }
        write_text(Path(scaling.json), json.dumps(results, indent=2) + "\n")
        print(f"written: {scaling.json}")
    if scaling.png:
        save_figure(plot_scaling(per_measure), scaling.png)
        print(f"written: {scaling.png}")
    return 0


def _training_step(scaling: Scaling, measures: int) -> Callable[[], object]:
    config = dataclasses.replace(
        scaling.config,
        data=dataclasses.replace(scaling.config.data, measures=measures),
        train=dataclasses.replace(scaling.config.train, batch_size=scaling.batch_size),
    )
    return make_training_step(config).call


def _samplers(scaling: Scaling) -> dict[tuple[str, int], Callable[[], object]]:
    """(decoder context, number of pieces) -> sampler."""
    samplers: dict[tuple[str, int], Callable[[], object]] = {}
    for context in CONTEXTS:
        config = dataclasses.replace(
            scaling.config,
            model=dataclasses.replace(scaling.config.model, context=context),
            data=dataclasses.replace(scaling.config.data, measures=scaling.sampled),
        )
        metre = np.array(_longest_metre(make_codec(config.codec)), np.int32)
        metres = {(context, num): np.tile(metre, (num, scaling.sampled, 1)) for num in (1, 64)}
        samplers |= zip(metres, make_samplers(config, list(metres.values())), strict=True)
    return samplers


def _longest_metre(codec: Any) -> tuple[int, int]:
    """The longest common metre that the codec allows: shorter metres leave slots empty, which still cost time."""
    for metre in ((12, 8), (9, 8), (4, 4)):
        with contextlib.suppress(MusicError):
            codec.slot_mask(np.array([metre]))
            return metre
    return 2, 4


if __name__ == "__main__":
    run(main)
