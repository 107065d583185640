"""Memory and speed of preparing large folders; `make bench` shows the figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.midi_bytes import make_folder

ROOT = Path(__file__).parents[2]
PREPARE = """
import json, resource, sys, time
from musicvae_jax.data.datasets import prepare
start = time.perf_counter()
builder = prepare("midi_folder", sys.argv[1], path=sys.argv[2])
seconds = time.perf_counter() - start
peak = {who: resource.getrusage(getattr(resource, f"RUSAGE_{who}")).ru_maxrss / 2**10 for who in ("SELF", "CHILDREN")}
pieces = sum(split.num_examples for split in builder.info.splits.values())
size = sum(split.num_bytes for split in builder.info.splits.values())
print(json.dumps({"seconds": seconds, **peak, "pieces": pieces, "size": size / 2**20}))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path, capsys) -> None:
    found = {}
    for num_files in (1_000, 20_000):
        folder = make_folder(tmp_path / str(num_files), num_files, num_notes=256)
        result = subprocess.run(
            [sys.executable, "-c", PREPARE, tmp_path / f"data{num_files}", folder],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        found[num_files] = measured = json.loads(result.stdout)
        assert measured["pieces"] == num_files
        with capsys.disabled():
            print(
                f"\n{num_files:,} files, {measured['size']:.0f} MiB of records: peak memory "
                f"{measured['SELF']:.0f} MiB, of a reader {measured['CHILDREN']:.0f} MiB; "
                f"{num_files / measured['seconds']:.0f} files/s"
            )
    few, many = found.values()
    assert many["size"] > few["size"] + 40  # so that keeping the records in memory would be seen
    assert many["SELF"] < few["SELF"] + 24 and many["CHILDREN"] < few["CHILDREN"] + 24
