"""Collects the records of a split in a file and writes them as TFDS's shards.

TFDS's own writer keeps up to 1,000 MiB of a split in memory and needs TensorFlow, which is not installed, for more.
This one keeps 32 bytes per record.
"""

import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, hashing, naming, writer
from tensorflow_datasets.core.utils import shard_utils

_HALF = 2**64


class Spool:
    """The records of one split: add them one by one, then write them.

    Order and shards are those of TFDS's writer: sorted by a hash of the key, salted with the name of the split.
    """

    def __init__(self, path: Path, split: str, features: tfds.features.FeaturesDict):
        """Creates the file.

        Args:
            path: of the file, which `close` removes.
            split: the name of the split.
            features: of a record.
        """
        self._path, self._split, self._features = path, split, features
        self._file = path.open("w+b")
        self._serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        self._hasher = hashing.Hasher(split)
        self._high, self._low, self._start = array("Q"), array("Q"), array("Q", [0])

    def __len__(self) -> int:
        return len(self._high)

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Adds a record; keys are unique."""
        data = self._serializer.serialize_example(self._features.encode_example(record))
        high, low = divmod(self._hasher.hash_key(key), _HALF)
        self._high.append(high)
        self._low.append(low)
        self._start.append(self._start[-1] + len(data))
        self._file.write(data)

    def write(self, template: naming.ShardedFileTemplate, file_format: Any) -> tfds.core.SplitInfo:
        """Writes the shards of at least one record, and removes the file."""
        self._file.flush()
        order = np.lexsort((np.array(self._low, np.uint64), np.array(self._high, np.uint64)))
        starts = np.array(self._start, np.int64)
        total = int(starts[-1])
        num_shards = shard_utils.ShardConfig().get_number_shards(total, len(order))
        ends = shard_utils.get_shard_boundaries(len(order), num_shards)
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for shard, (first, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                path = template.sharded_filepath(shard_index=shard, num_shards=num_shards)
                writer.ExampleWriter(file_format).write(path, _records(data, starts, order[first:stop]))
        self.close()
        lengths = np.diff([0, *ends]).tolist()
        return tfds.core.SplitInfo(name=self._split, shard_lengths=lengths, num_bytes=total, filename_template=template)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _records(data: mmap.mmap, starts: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, bytes]]:
    for record in order.tolist():
        yield record, data[starts[record] : starts[record + 1]]
