"""Batches of windows: an endless shuffled stream for training, one pass in order for evaluation.

What a global batch holds depends on the seed and on the batch's number alone: not on the number of processes or workers
that make it, nor on where a run was resumed.
"""

import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from musicvae_jax.config import UserError
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import Batch

PREFETCH_BATCHES = 8
_ORDER, _TRANSPOSITION = 0, 1  # uses of random bits
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


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

    def get_state(self) -> dict[str, int]:
        """A few integers: the number of the batch that `next` would give, and what the order depends on."""
        return {"next_batch": self._next_batch, **self._batches.identity}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues where the iterator of that state stood.

        Raises:
            UserError: the state was taken over other windows or with another batch size, seed or transposition.
        """
        for name, mine in self._batches.identity.items():
            if state.get(name) != mine:
                raise UserError(f"the data iterator's saved state has {name} = {state.get(name)}, this run has {mine}")
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
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    start: int = 0,
) -> TrainIterator:
    """Endless training batches: shuffled anew each epoch, transposed at random, resumable.

    Example e of epoch k is at position k * len(source) + e of one endless order; global batch b holds positions
    b * batch_size to (b + 1) * batch_size - 1, and process p of P its rows p * batch_size / P onwards.

    Args:
        source: the windows.
        batch_size: rows of the global batch, over all processes.
        seed: of the order and of the transpositions.
        transpose: each window is moved by a number of semitones that is uniform over [-transpose, transpose], narrowed
            to what keeps every pitch of its piece within 0..127, and drawn from (seed, position).
        process_index: this process.
        process_count: processes that share the global batch.
        num_workers: worker processes that make batches; 0 makes them in a thread of this one.
        start: the number of the first batch.

    Raises:
        UserError: no windows.
        ValueError: a batch size that the processes do not divide, or a negative number.
    """
    _check_rows(batch_size, process_index, process_count)
    if not len(source):
        raise UserError(f"no training windows: {len(source.records)} pieces, refused {source.refused}")
    for name, value in (("seed", seed), ("transpose", transpose), ("num_workers", num_workers), ("start", start)):
        if value < 0:
            raise ValueError(f"{name} = {value}: allowed is 0 or more")
    batches = _TrainBatches(source, batch_size, seed, transpose, process_index, process_count)
    return TrainIterator(batches, num_workers, start)


class _TrainBatches(Sequence[Batch]):
    """Training batches in random access; grain adds prefetching and workers."""

    def __init__(
        self,
        source: WindowSource,
        batch_size: int,
        seed: int,
        transpose: int,
        process_index: int,
        process_count: int,
    ):
        self._source, self._batch_size, self._seed, self._transpose = source, batch_size, seed, transpose
        self._rows = _process_rows(batch_size, process_index, process_count)

    @property
    def identity(self) -> dict[str, int]:
        """What the order depends on."""
        return {
            "num_windows": len(self._source),
            "batch_size": self._batch_size,
            "seed": self._seed,
            "transpose": self._transpose,
        }

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, number: Any) -> Any:
        positions = number * self._batch_size + self._rows
        index = _shuffled(self._seed, positions, len(self._source))
        batch = self._source.gather(index)
        if self._transpose:
            low, high = self._source.pitch_range(index).T.astype(np.int64)
            semitones = _semitones(self._seed, positions, self._transpose, low, high)
            for shift in np.unique(semitones):
                rows = semitones == shift
                batch.tokens[rows] = self._source.codec.transpose(batch.tokens[rows], int(shift))
        return batch


def make_eval_batches(
    source: WindowSource,
    batch_size: int,
    *,
    num_examples: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> "EvalBatches":
    """Every window once, in order; the last batch is padded with rows of index -1, mask False and metre (0, 0).

    Args:
        source: the windows.
        batch_size: rows of the global batch, over all processes.
        num_examples: take only so many windows, spread evenly over the split.
        process_index: this process.
        process_count: processes that share the global batch; all get the same number of batches.

    Raises:
        UserError: num_examples below 1.
        ValueError: a batch size that the processes do not divide.
    """
    _check_rows(batch_size, process_index, process_count)
    if num_examples is not None and num_examples < 1:
        raise UserError(f"num_examples = {num_examples}: allowed is 1 or more")
    total = len(source)
    count = total if num_examples is None else min(num_examples, total)
    index = np.arange(count) * total // max(count, 1)
    padded = np.full(-(-count // batch_size) * batch_size, -1, np.int64)
    padded[:count] = index
    rows = _process_rows(batch_size, process_index, process_count)
    return EvalBatches(source, padded.reshape(-1, batch_size)[:, rows])


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
    return np.argsort(_random_bits(seed, _ORDER, positions), kind="stable")


def _semitones(seed: int, positions: np.ndarray, limit: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Uniform transpositions within [-limit, limit] and the range of MIDI pitches, a function of (seed, position)."""
    lowest, highest = np.maximum(-limit, -low), np.minimum(limit, 127 - high)
    bits = _random_bits(seed, _TRANSPOSITION, positions.astype(np.uint64))
    return lowest + (bits % (highest - lowest + 1).astype(np.uint64)).astype(np.int64)


def _random_bits(seed: int, use: int, counter: np.ndarray) -> np.ndarray:
    """uint64 random bits of (seed, use, counter), without state: SplitMix64 (Steele, Lea and Flood 2014)."""
    return _mix(_mix(_mix(np.array([seed], np.uint64)) + np.uint64(use)) + counter * _GAMMA)


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = bits + _GAMMA
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
