"""What a run prints while it trains, and the check that its numbers are finite."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.config import Config, UserError
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.objectives.controller import steered_levels
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.metrics import MetricWriter
from musicvae_jax.training.step import Metrics
from musicvae_jax.training.throughput import Throughput
from musicvae_jax.training.validation import ValidationFigures

PATIENCE = (20, 60, 180, 600)  # seconds
_FASTER = {
    "gpu": "XLA tries many kernels for each product. XLA_FLAGS=--xla_gpu_autotune_level=0 leaves that out: it compiles "
    "faster, and the step may be slower. "
}


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says what is compiled, now and after each time of `PATIENCE`, with what to try; then how long it took."""
    start, done = time.perf_counter(), threading.Event()
    advice = _FASTER.get(jax.default_backend(), "")
    advice += "With a compilation cache (`set_up_devices`) the next run is spared this."

    def say() -> None:
        for seconds in PATIENCE:
            if done.wait(start + seconds - time.perf_counter()):
                return
            print(f"still compiling after {seconds:g} s. {advice}", flush=True)

    print(f"compiling {what} ...", flush=True)
    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if time.perf_counter() - start > PATIENCE[0]:
        print(f"compiled in {time.perf_counter() - start:.0f} s", flush=True)


class NonFiniteError(UserError):
    """A loss or gradient is infinite or NaN; the message names the step, its windows and the last good checkpoint."""


class Progress:
    """A progress bar with the loss, its terms and the speed; only the process that writes metrics shows it."""

    def __init__(
        self,
        start: int,
        config: Config,
        writer: MetricWriter | None,
        throughput: Throughput,
        source: WindowSource,
        checkpoints: Checkpoints,
    ):
        self._writer, self._throughput, self._source, self._checkpoints = writer, throughput, source, checkpoints
        self._levels = list(config.levels.on) if len(config.levels.on) > 1 else []
        self._steered, total = steered_levels(config), config.train.num_steps
        self._bar = tqdm(total=total, initial=start, unit="step", disable=writer is None, dynamic_ncols=True)

    def report(self, step: int, metrics: Metrics, index: np.ndarray) -> None:
        """Checks the metrics of a step; every ``log_every`` steps shows and writes their means.

        Args:
            step: number of the step.
            metrics: on the devices, as the step returned them.
            index: int[row], the windows of the rows of this process.

        Raises:
            NonFiniteError: the loss or the norm of its gradient is not finite.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                windows = "; ".join(sorted({self._source.describe(int(number)) for number in index}))
                raise NonFiniteError(
                    f"{name} = {values[name]} at step {step}. {self._last_good()} The step's windows: {windows}"
                )
        self._bar.update()
        summary = self._throughput.record(step, values)
        if summary is None or self._writer is None:
            return
        self._writer.write(step, summary)
        self._bar.set_postfix_str(self._terms(summary))

    def check_validation(self, step: int, figures: ValidationFigures) -> None:
        """Raises `NonFiniteError` if the objective is not finite: no later one could be compared with it."""
        if not math.isfinite(figures.objective):
            parts = ", ".join(f"{name} = {getattr(figures, name)}" for name in ("objective", "nll", "kl"))
            raise NonFiniteError(f"{parts} on the validation split at step {step}. {self._last_good()}")

    def _last_good(self) -> str:
        """A sentence that names the last good checkpoint."""
        step, folder = self._checkpoints.latest_step(), self._checkpoints.folder
        return f"The last good checkpoint is of step {step} in {folder}." if step else f"No checkpoint in {folder} yet."

    def _terms(self, summary: dict[str, float]) -> str:
        """The terms of the loss, the KLs of several levels, the weights that a controller moves, and the speed."""
        names = ["loss", "nll", "kl", *(f"kl_{level}" for level in self._levels)]
        terms = [f"{name} {summary[name]:.1f}" for name in names]
        terms += [f"beta_{level} {summary[f'beta_{level}']:.2g}" for level in self._steered]
        return " ".join([*terms, f"{summary['tokens_per_second'] / 1000:.1f}k tokens/s"])

    def close(self) -> None:
        self._bar.close()


def validation_line(step: int, result: ValidationFigures) -> str:
    """A validation in one line: nll in nats per window and, for each level, its KL, the shares of active dims by rules
    a and b, I(x; z), and the group with the least KL.
    """
    levels = []
    for level, figures in result.levels.items():
        groups = {group: found.kl for group, found in figures.groups.items() if found.kl is not None}
        weakest = min(groups, key=groups.__getitem__, default="")
        least = f", least {weakest} {groups[weakest]:.1f}" if len(groups) > 1 else ""
        active = f"{figures.active_a:.2f} / {figures.active_b:.2f}"
        levels.append(f"kl_{level} {figures.kl:.1f} (active {active}, I {figures.mutual_information:.1f}{least})")
    return f"step {step}, held out: nll {result.nll:.1f}, {', '.join(levels)}"
