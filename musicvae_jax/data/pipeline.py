"""Batches of windows: endless and shuffled for training, each window once for evaluation.

A global batch depends only on the seed and on the number of the batch. It does not depend on the number of processes or
workers that make it, nor on whether the run was resumed.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from musicvae_jax.config import UserError
from musicvae_jax.data.augment import Augmentation, augment
from musicvae_jax.data.random_bits import ORDER, random_bits
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import Batch

PREFETCH_BATCHES = 8


class TrainIterator(Iterator[Batch]):
    """This process's rows of the endless global batches.

    The state is the number of the next batch. It may be restored with another number of processes or workers, but only
    with the same windows, batch size, seed and augmentation.
    """

    def __init__(self, batches: "_TrainBatches", num_workers: int):
        self._batches, self._num_workers = batches, num_workers
        self._open(0)

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._next_batch += 1
        return batch

    def get_state(self) -> dict[str, float]:
        """The number of the next batch, and what the batches depend on."""
        return {"next_batch": self._next_batch, **self._batches.identity}

    def set_state(self, state: dict[str, float]) -> None:
        """Continues at the next batch of that state.

        Raises:
            UserError: the state is of other windows, or of another batch size, seed or augmentation.
        """
        for name, value in self._batches.identity.items():
            if state.get(name) != value:
                raise UserError(f"the data iterator's saved state has {name} = {state.get(name)}, this run has {value}")
        self.close()
        self._open(int(state["next_batch"]))

    def close(self) -> None:
        """Stops threads and worker processes."""
        self._iterator.close()

    def _open(self, start: int) -> None:
        self._next_batch = start
        # A slice, because the form of grain's own state depends on the number of workers.
        dataset = grain.MapDataset.source(self._batches)[start:]
        # One thread suffices: it overlaps with the device's work, and holds the interpreter lock while it works.
        stream = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH_BATCHES))
        if self._num_workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # grain reads an absl flag, and this program has no absl command line
            options = grain.MultiprocessingOptions(num_workers=self._num_workers, per_worker_buffer_size=2)
            stream = stream.mp_prefetch(options)
        self._iterator = iter(stream)


def make_train_iterator(
    source: WindowSource,
    batch_size: int,
    *,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    **augmentation: Any,
) -> TrainIterator:
    """Endless training batches, shuffled in each epoch, augmented at random, resumable.

    Window e of epoch k has position k * len(source) + e in one endless order. Global batch b has the positions
    b * batch_size to (b + 1) * batch_size - 1. Process p of P makes the rows p * batch_size / P to
    (p + 1) * batch_size / P - 1.

    Args:
        source: the windows. Their attributes, if any, are those of the augmented windows.
        batch_size: rows of the global batch, over all processes.
        seed: of order and augmentation; augmentation is a function of (seed, position).
        process_index: the number of this process, of the `process_count` that share the global batch.
        num_workers: worker processes that make batches; 0: a thread of this process makes them.
        augmentation: fields of `Augmentation`.

    Raises:
        UserError: no windows, or an augmentation that the codec's tokens cannot express.
        ValueError: a batch size that is not a multiple of `process_count`, or a number outside its range.
    """
    rows = _process_rows(batch_size, process_index, process_count)
    settings = Augmentation(**augmentation)
    settings.check(source.codec)
    if not len(source):
        raise UserError(f"no training windows: {len(source.records)} pieces, refused {source.refused}")
    for name, value in (("seed", seed), ("num_workers", num_workers)):
        if value < 0:
            raise ValueError(f"{name} = {value}: allowed is 0 or more")
    return TrainIterator(_TrainBatches(source, batch_size, seed, settings, rows), num_workers)


class _TrainBatches(Sequence[Batch]):
    """Training batches in random access."""

    def __init__(self, source: WindowSource, batch_size: int, seed: int, augmentation: Augmentation, rows: np.ndarray):
        self._source, self._batch_size, self._seed = source, batch_size, seed
        self._augmentation, self._rows = augmentation, rows

    @property
    def identity(self) -> dict[str, float]:
        """What the batches depend on."""
        return {
            "num_windows": len(self._source),
            "batch_size": self._batch_size,
            "seed": self._seed,
            **dataclasses.asdict(self._augmentation),
        }

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, number: Any) -> Any:
        positions = number * self._batch_size + self._rows
        index = _shuffled(self._seed, positions, len(self._source))
        batch, semitones = augment(
            self._source.cut(index),
            self._source.codec,
            self._augmentation,
            seed=self._seed,
            positions=positions,
            pitches=self._source.pitch_range(index),
        )
        return self._source.with_attributes(batch, semitones)


def make_eval_batches(
    source: WindowSource,
    batch_size: int,
    *,
    num_examples: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> "EvalBatches":
    """Every window once. The last rows are padding: index -1, mask False, metre (0, 0).

    Each batch takes windows at even distances over the whole split, so that they are of many pieces.

    Args:
        source: the windows.
        batch_size: rows of the global batch, over all processes.
        num_examples: the number of windows, at even distances; None for all.
        process_index: the number of this process, of the `process_count`; all get the same number of batches.

    Raises:
        UserError: no windows, or num_examples below 1.
        ValueError: a batch size that is not a multiple of `process_count`.
    """
    rows = _process_rows(batch_size, process_index, process_count)
    if num_examples is not None and num_examples < 1:
        raise UserError(f"num_examples = {num_examples}: allowed is 1 or more")
    total = len(source)
    if not total:
        raise UserError(f"no windows to evaluate: {len(source.records)} pieces, refused {source.refused}")
    count = total if num_examples is None else min(num_examples, total)
    index = np.full(-(-count // batch_size) * batch_size, -1, np.int64)
    index[:count] = np.arange(count) * total // count
    return EvalBatches(source, index.reshape(batch_size, -1).T[:, rows])


class EvalBatches(Sequence[Batch]):
    """Evaluation batches in random access, from `make_eval_batches`."""

    def __init__(self, source: WindowSource, index: np.ndarray):
        self._source, self._index = source, index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return EvalBatches(self._source, self._index[number])
        return self._source.gather(self._index[number])


def _process_rows(batch_size: int, process_index: int, process_count: int) -> np.ndarray:
    """The rows of the global batch that a process makes."""
    if process_count < 1 or not 0 <= process_index < process_count:
        raise ValueError(f"process_index = {process_index}: allowed is 0 to process_count - 1 = {process_count - 1}")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size = {batch_size}: allowed is a multiple of process_count = {process_count}")
    return np.arange(batch_size // process_count) + process_index * (batch_size // process_count)


def _shuffled(seed: int, positions: np.ndarray, num_windows: int) -> np.ndarray:
    """The windows at positions of the endless order: int64[batch]."""
    epochs, offsets = np.divmod(positions, num_windows)
    index = np.empty(len(positions), np.int64)
    for epoch in np.unique(epochs).tolist():
        rows = epochs == epoch
        index[rows] = _epoch_order(seed, epoch, num_windows)[offsets[rows]]
    return index


@functools.lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, num_windows: int) -> np.ndarray:
    """A permutation of the windows, by sorting random bits: numpy's shuffle may differ between its versions."""
    positions = np.arange(num_windows, dtype=np.uint64) + np.uint64(epoch * num_windows)
    return np.argsort(random_bits(seed, ORDER, positions), kind="stable")
