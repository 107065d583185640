"""Batches of windows: an endless shuffled stream for training, one pass in order for evaluation.

What a global batch holds depends on the seed and on the batch's number alone: not on the number of processes or workers
that make it, nor on where a run was resumed.
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
    """The endless stream of this process's rows of the global batches.

    The state is the number of the next batch. It may be restored into an iterator with another number of processes or
    workers, but not over other windows, another batch size or another seed: that would be another order.
    """

    def __init__(self, batches: "_TrainBatches", num_workers: int, start: int):
        self._batches, self._num_workers = batches, num_workers
        self._open(start)

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._next_batch += 1
        return batch

    def get_state(self) -> dict[str, float]:
        """A few numbers: the number of the batch that `next` would give, and what the order depends on."""
        return {"next_batch": self._next_batch, **self._batches.identity}

    def set_state(self, state: dict[str, float]) -> None:
        """Continues where the iterator of that state stood.

        Raises:
            UserError: the state was taken over other windows or with another batch size, seed or augmentation.
        """
        # A state of an older version lacks the augmentations that there were not: they were off.
        saved = {name: 0 for name in dataclasses.asdict(Augmentation()) if name != "transpose"} | state
        for name, mine in self._batches.identity.items():
            if saved.get(name) != mine:
                raise UserError(f"the data iterator's saved state has {name} = {saved.get(name)}, this run has {mine}")
        self.close()
        self._open(int(state["next_batch"]))

    def close(self) -> None:
        """Stops the threads and worker processes."""
        self._iterator.close()

    def _open(self, start: int) -> None:
        self._next_batch = start
        # Sliced rather than set by grain's own state, whose form depends on the number of workers.
        dataset = grain.MapDataset.source(self._batches)[start:]
        # One thread: it overlaps with the device's work, and the work itself holds the interpreter lock.
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
    transpose: int = 0,
    velocity_scale: float = 0.0,
    voice_dropout: float = 0.0,
    timing_jitter: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    start: int = 0,
) -> TrainIterator:
    """Endless training batches: shuffled anew each epoch, augmented at random, resumable.

    Example e of epoch k is at position k * len(source) + e of one endless order; global batch b holds positions
    b * batch_size to (b + 1) * batch_size - 1, and process p of P its rows p * batch_size / P onwards.

    Args:
        source: the windows; where it gives attributes, they are those of the augmented windows.
        batch_size: rows of the global batch, over all processes.
        seed: of the order and of all augmentation, which is drawn from (seed, position).
        transpose: each window is moved by a number of semitones that is uniform over [-transpose, transpose], narrowed
            to what keeps every pitch of its piece within 0..127.
        velocity_scale: see `augment.Augmentation`, as for the next two.
        voice_dropout: a probability.
        timing_jitter: a probability.
        process_index: this process.
        process_count: processes that share the global batch.
        num_workers: worker processes that make batches; 0 makes them in a thread of this one.
        start: the number of the first batch.

    Raises:
        UserError: no windows; augmentation that the codec's tokens cannot show.
        ValueError: a batch size that the processes do not divide, or a number outside its range.
    """
    _check_rows(batch_size, process_index, process_count)
    augmentation = Augmentation(
        transpose=transpose, velocity_scale=velocity_scale, voice_dropout=voice_dropout, timing_jitter=timing_jitter
    )
    augmentation.check(source.codec)
    if not len(source):
        raise UserError(f"no training windows: {len(source.records)} pieces, refused {source.refused}")
    for name, value in (("seed", seed), ("num_workers", num_workers), ("start", start)):
        if value < 0:
            raise ValueError(f"{name} = {value}: allowed is 0 or more")
    batches = _TrainBatches(source, batch_size, seed, augmentation, process_index, process_count)
    return TrainIterator(batches, num_workers, start)


class _TrainBatches(Sequence[Batch]):
    """Training batches in random access; grain adds prefetching and workers."""

    def __init__(
        self,
        source: WindowSource,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        process_index: int,
        process_count: int,
    ):
        self._source, self._batch_size, self._seed, self._augmentation = source, batch_size, seed, augmentation
        self._rows = _process_rows(batch_size, process_index, process_count)

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
        batch = augment(
            self._source.cut(index),
            self._source.codec,
            self._augmentation,
            seed=self._seed,
            positions=positions,
            pitches=self._source.pitch_range(index),
        )
        return self._source.with_attributes(batch)


def make_eval_batches(
    source: WindowSource,
    batch_size: int,
    *,
    num_examples: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> "EvalBatches":
    """Every window once; the last rows are padding, of index -1, mask False and metre (0, 0).

    The windows of each batch are spread evenly over the split, so that they are of many pieces.

    Args:
        source: the windows.
        batch_size: rows of the global batch, over all processes.
        num_examples: take only so many windows, spread evenly over the split.
        process_index: this process.
        process_count: processes that share the global batch; all get the same number of batches.

    Raises:
        UserError: no windows, or num_examples below 1.
        ValueError: a batch size that the processes do not divide.
    """
    _check_rows(batch_size, process_index, process_count)
    if num_examples is not None and num_examples < 1:
        raise UserError(f"num_examples = {num_examples}: allowed is 1 or more")
    total = len(source)
    if not total:
        raise UserError(f"no windows to evaluate: {len(source.records)} pieces, refused {source.refused}")
    count = total if num_examples is None else min(num_examples, total)
    index = np.arange(count) * total // count
    padded = np.full(-(-count // batch_size) * batch_size, -1, np.int64)
    padded[:count] = index
    rows = _process_rows(batch_size, process_index, process_count)
    return EvalBatches(source, padded.reshape(batch_size, -1).T[:, rows])


class EvalBatches(Sequence[Batch]):
    """Evaluation batches in random access; made by `make_eval_batches`."""

    def __init__(self, source: WindowSource, index: np.ndarray):
        self._source, self._index = source, index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return EvalBatches(self._source, self._index[number])
        return self._source.gather(self._index[number])


def _check_rows(batch_size: int, process_index: int, process_count: int) -> None:
    if process_count < 1 or not 0 <= process_index < process_count:
        raise ValueError(f"process_index = {process_index}: allowed is 0 to process_count - 1 = {process_count - 1}")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size = {batch_size}: allowed is a multiple of process_count = {process_count}")


def _process_rows(batch_size: int, process_index: int, process_count: int) -> np.ndarray:
    """The rows of the global batch that a process makes."""
    return np.arange(batch_size // process_count) + process_index * (batch_size // process_count)


def _shuffled(seed: int, positions: np.ndarray, num_windows: int) -> np.ndarray:
    """The windows at positions of the endless order, int64[batch]."""
    epochs, places = np.divmod(positions, num_windows)
    index = np.empty(len(positions), np.int64)
    for epoch in np.unique(epochs).tolist():
        rows = epochs == epoch
        index[rows] = _epoch_order(seed, epoch, num_windows)[places[rows]]
    return index


@functools.lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, num_windows: int) -> np.ndarray:
    """A permutation of the windows. Sorting own bits, not numpy's shuffle: that may change with numpy's version."""
    positions = np.arange(num_windows, dtype=np.uint64) + np.uint64(epoch * num_windows)
    return np.argsort(random_bits(seed, ORDER, positions), kind="stable")
