"""Training: from a config to a folder with metrics and checkpoints. A run can be stopped and resumed at any step."""

import contextlib
import dataclasses
import json
import math
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config
from musicvae_jax.data.load import count_metres, load_batches, load_training, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.figures import flatten
from musicvae_jax.objectives.attributes import attribute_notes
from musicvae_jax.objectives.controller import check_set_points
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.memory import set_aside_gaps
from musicvae_jax.training.metrics import MetricWriter, read_metrics
from musicvae_jax.training.monitor import VALIDATION, CollapseMonitor
from musicvae_jax.training.parallel import Parallel, check_platform, make_parallel
from musicvae_jax.training.progress import Progress, compiling, validation_line
from musicvae_jax.training.state import TrainState, evaluation_variables, make_model, model_variables
from musicvae_jax.training.step import make_device_step
from musicvae_jax.training.throughput import Compiled, Throughput, compile_step
from musicvae_jax.training.validation import ValidationFigures, make_validator
from musicvae_jax.training.workdir import check_workdir, hold_workdir, open_workdir, write_text
from musicvae_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The end of a call of `train`."""

    state: TrainState
    step: int
    finished: bool  # False if a signal stopped it; the same call then goes on


def train(config: Config, workdir: str | Path) -> TrainResult:
    """Trains a model for ``config.train.num_steps``, or continues a run that was stopped.

    Args:
        config: the experiment.
        workdir: a new folder, or one that holds a run of the same config.

    Raises:
        ConfigError: this machine cannot run the config, or no weight can reach its set points.
        WorkdirError: the folder holds another run, another process trains there, or it cannot be written.
        NonFiniteError: the loss, its gradient or the objective of a validation is not finite.
        CollapseError: a level or group is dead, and ``on_collapse`` is "stop".
    """
    check_platform(config)
    check_set_points(config)
    parallel = make_parallel(config.train)
    check_workdir(workdir, config)
    settings = config.train
    processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}

    with contextlib.ExitStack() as stack:
        # Data
        source = load_training(config)
        batches = stack.enter_context(closing(load_batches(config, source, **processes)))
        validation = load_windows(config, "validation")
        held_out = make_eval_batches(validation, settings.batch_size, num_examples=settings.eval_examples, **processes)

        # Only now, so that a config whose data is refused leaves no folder behind.
        folder = open_workdir(workdir, config)
        main_process = jax.process_index() == 0
        if main_process:
            stack.enter_context(hold_workdir(folder))
            _write_facts(folder, source)

        # Model
        model = make_model(config, make_codec(config.codec).fields)
        state = parallel.init(config, model)
        checkpoints = stack.enter_context(closing(Checkpoints(folder, clean=main_process)))
        start, best = 0, checkpoints.metrics("best").get("objective", math.inf)
        if checkpoints.latest_step() is not None:
            state, data_state, _ = checkpoints.restore(state)
            batches.set_state(data_state)
            start = int(state.step)
        if start >= settings.num_steps:
            return TrainResult(state, start, finished=True)
        monitor = CollapseMonitor(config, _rows_until(folder, start))
        monitor.check(start)
        validate = make_validator(model, parallel, config)
        example = parallel.shard(source.gather(np.zeros(settings.batch_size // jax.process_count(), np.int64)))
        if main_process:
            print(
                f"training: {source.summary}\nvalidation: {validation.summary}",
                *filter(None, [monitor.silence]),
                *_notes(config, source),
                sep="\n",
            )
        step, flops = _compile(parallel.spread(make_device_step(config, model)), state, example, parallel)
        throughput = Throughput(flops, parallel, config)

        # Loop
        stopping = stack.enter_context(_stop_on_signal())
        stack.callback(checkpoints.wait)  # a signal must not kill the run that writes its last state
        writer = stack.enter_context(closing(MetricWriter(folder, start))) if main_process else None
        progress = stack.enter_context(closing(Progress(start, config, writer, throughput, source, checkpoints)))
        throughput.restart()
        number, stop, unread = start, False, None
        while number < settings.num_steps and not stop:
            with throughput.waiting():
                batch = next(batches)
            data_state = batches.get_state()
            state, metrics = step(state, parallel.shard(batch))
            number += 1
            # The host reads the metrics of the step before, so the devices do not wait for it.
            if unread is not None:
                progress.report(*unread)
            unread = (number, metrics, batch.index)

            last = number == settings.num_steps
            # Read once: a later signal stops the next step.
            stop = checkpoints.reached_preemption(number) if jax.process_count() > 1 else bool(stopping)
            saving = last or stop or number % settings.checkpoint_every == 0
            evaluating = last or number % settings.eval_every == 0
            if saving or evaluating:  # only a state whose loss is known to be finite may be written
                progress.report(*unread)
                unread = None
                # That was the loss before the update; an update can be far too large.
                progress.check_validation(number, validate(model_variables(state.params, state.moments), held_out[:1]))
            if evaluating:
                result = validate(evaluation_variables(state), held_out)
                _record(writer, monitor, number, result)
                progress.check_validation(number, result)
                if result.objective < best:
                    best = result.objective
                    checkpoints.save("best", number, state, data_state, flatten(result))
            if saving or monitor.stops:
                checkpoints.save("latest", number, state, data_state, {})
            if not last:
                monitor.check(number)
            if saving or evaluating:
                throughput.restart()
    return TrainResult(state, number, number >= settings.num_steps)


def _write_facts(folder: Path, source: WindowSource) -> None:
    """What generation needs to know of the training music: its metres, and what the numbers of conditions mean."""
    write_text(folder / "metres.json", json.dumps(count_metres(source), indent=2))
    if source.conditions is not None:
        write_text(folder / "conditions.json", source.conditions.to_json())


def _notes(config: Config, source: WindowSource) -> list[str]:
    """What to know of attributes in this music, by 256 windows at even distances."""
    if not config.data.attributes:
        return []
    return attribute_notes(config, source.gather(np.linspace(0, len(source) - 1, 256).astype(np.int64)))


def _compile(step: Any, state: TrainState, batch: Batch, parallel: Parallel) -> Compiled:
    """The compiled step for batches of the shape of this one."""
    quiet = jax.process_index() > 0
    with contextlib.nullcontext() if quiet else compiling(f"the training step for {_devices(parallel)}"):
        compiled = compile_step(step, state, batch)
    set_aside_gaps()
    return compiled


def _devices(parallel: Parallel) -> str:
    """How many devices a step uses, and how many there are if some are idle."""
    used, number = parallel.mesh.size, jax.device_count()
    return f"{used} device{'s' * (used > 1)}" + (f" of {number}" if used < number else "")


def _record(writer: MetricWriter | None, monitor: CollapseMonitor, step: int, result: ValidationFigures) -> None:
    """Writes and prints the figures of a validation, and what is dead."""
    lines = monitor.observe(step, result.levels)
    if writer:  # of the main process
        writer.write(step, flatten({VALIDATION: result}))
        for line in [validation_line(step, result), *lines]:
            tqdm.write(line)


def _rows_until(folder: Path, step: int) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl up to the step from which a run goes on."""
    path = folder / "metrics.jsonl"
    return [row for row in read_metrics(path) if row["step"] <= step] if path.exists() else []


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """A list that SIGTERM or Ctrl-C fills. A second Ctrl-C interrupts at once.

    A second SIGTERM does nothing, because a process may get the signal twice, from its group and from its parent, while
    it saves its state. Several processes must stop at the same step, so there the preemption service of JAX listens
    instead.
    """
    received: list[int] = []
    if jax.process_count() > 1:
        yield received
        return

    def note(number: int, _: Any) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # only the main thread gets signals
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
