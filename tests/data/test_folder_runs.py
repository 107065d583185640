"""Preparing a folder: what it survives, what it writes, with Beam too, and how much memory it takes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tensorflow_datasets.core import example_serializer, writer

from musicvae_jax.codec import write_abc
from musicvae_jax.codec.abc import parse_abc
from musicvae_jax.data.datasets import midi_folder
from musicvae_jax.data.datasets.folder_files import Item
from musicvae_jax.data.datasets.folder_pieces import Outcome, read_item
from musicvae_jax.data.datasets.spool import Spool
from musicvae_jax.data.prepare import prepare
from musicvae_jax.data.readers import Limits
from musicvae_jax.data.records import score_features
from tests.data.folder_music import make_many_files, make_music, records_of, refusals_of
from tests.data.melodies import random_melody

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
PREPARE = """
import json, resource, sys, time
from musicvae_jax.data.prepare import prepare
from musicvae_jax.data.readers import Limits
start = time.perf_counter()
builder = prepare("midi_folder", sys.argv[1], path=sys.argv[2])
seconds = time.perf_counter() - start
peak = {who: resource.getrusage(getattr(resource, f"RUSAGE_{who}")).ru_maxrss / 2**10 for who in ("SELF", "CHILDREN")}
pieces = sum(split.num_examples for split in builder.info.splits.values())
size = sum(split.num_bytes for split in builder.info.splits.values())
print(json.dumps({"seconds": seconds, **peak, "pieces": pieces, "size": size / 2**20}))
"""


def crash_or_hang(item: Item) -> list[Outcome]:
    """Reads an item, except two."""
    if "002" in item.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "003" in item.name:
        time.sleep(60)
    return read_item(item)


def test_a_file_that_crashes_or_stops_its_reader_is_refused(tmp_path, ready, monkeypatch) -> None:
    folder = make_music(tmp_path / "music", number=8)
    monkeypatch.setattr(midi_folder, "read_item", crash_or_hang)
    monkeypatch.setattr(midi_folder, "LIMITS", Limits(cpu=60.0, wall=2.0))
    builder = ready(folder)
    assert refusals_of(builder) == {"deep/2/piece 002.mid": "crashed", "deep/0/piece 003.mid": "timeout"}
    assert len(records_of(builder)) == 6


def read_slowly(item: Item) -> list[Outcome]:
    """Reads an item as a busy machine does: each piece waits for long."""

    def wait(*args, **options):
        time.sleep(0.4)
        return parse_abc(*args, **options)

    with mock.patch("musicvae_jax.data.datasets.folder_pieces.parse_abc", wait):
        return read_item(item)


def test_what_is_read_does_not_depend_on_the_load_of_the_machine(tmp_path, ready, monkeypatch) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "book.abc").write_text("\n".join(write_abc(random_melody(seed, 8)) for seed in range(9)))
    monkeypatch.setattr(midi_folder, "LIMITS", Limits(cpu=5.0, wall=2.5))
    idle = records_of(ready(folder))
    monkeypatch.setattr(midi_folder, "read_item", read_slowly)  # over three seconds for the book
    busy = ready(folder, refresh=True)
    assert refusals_of(busy) == {} and len(idle) == 9
    np.testing.assert_equal(records_of(busy), idle)


def test_a_killed_preparation_starts_again(tmp_path, ready) -> None:
    folder = make_many_files(tmp_path / "music", 400, 64)
    command = [sys.executable, "-c", PREPARE, tmp_path / "data", folder]
    with subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("data/**/*.spool")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    (target,) = (tmp_path / "data" / "midi_folder").iterdir()
    assert [path.name.startswith("incomplete") for path in target.iterdir() if path.is_dir()] == [True]
    builder = ready(folder)
    assert [path.name for path in target.iterdir() if path.is_dir()] == ["1.0.0"]
    assert not list(target.glob("**/*.spool")) and len(records_of(builder)) == 400


def test_a_spool_writes_the_files_of_tfds(tmp_path, ready) -> None:
    builder = ready(make_music(tmp_path / "music"))
    features, file_format = score_features(), builder.info.file_format
    records = list(builder.as_data_source("train"))
    assert len(records) > 10
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(), theirs.mkdir()
    template = builder._get_filename_template("train")
    spool = Spool(ours / "train.spool", "train", features)
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    writer_ = writer.Writer(
        serializer, template.replace(data_dir=theirs), "train", False, writer.ExampleWriter(file_format)
    )
    for record in records:
        spool.add(record["id"].decode(), record)
    for record in reversed(records):
        writer_.write(record["id"].decode(), features.encode_example(record))
    info = spool.write(template.replace(data_dir=ours), file_format)
    assert (info.shard_lengths, info.num_bytes) == writer_.finalize()
    assert [path.name for path in ours.iterdir()] == [path.name for path in theirs.iterdir()]
    assert all((theirs / path.name).read_bytes() == path.read_bytes() for path in ours.iterdir())


def test_beam_prepares_the_same_data_set(tmp_path, ready) -> None:
    pytest.importorskip("apache_beam")
    folder = make_music(tmp_path / "music")
    (folder / "bad.mid").write_bytes(b"text")
    (folder / "zz.mid").write_bytes((folder / "deep/2/piece 002.mid").read_bytes())
    local = ready(folder)
    beam = prepare("midi_folder", str(tmp_path / "beam"), path=str(folder), beam=["--runner=DirectRunner"])
    assert local.data_path != beam.data_path and dict(local.info.metadata) == dict(beam.info.metadata)
    texts = [Path(builder.data_path, "refusals.json").read_text() for builder in (local, beam)]
    assert texts[0] == texts[1] and "duplicate" in texts[0]
    for split in local.info.splits:
        mine, theirs = local.as_data_source(split), beam.as_data_source(split)
        assert len(mine) == len(theirs) > 0
        for one, other in zip(mine, theirs, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path, capsys) -> None:
    found = {}
    for num_files in (1_000, 20_000):
        folder = make_many_files(tmp_path / str(num_files), num_files, num_notes=256)
        command = [sys.executable, "-c", PREPARE, tmp_path / f"data{num_files}", folder]
        result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        found[num_files] = measured = json.loads(result.stdout)
        assert measured["pieces"] == num_files
        with capsys.disabled():
            print(f"\n{num_files:,} files, {num_files / measured['seconds']:.0f} files/s, peaks in MiB: {measured}")
    few, many = found.values()
    assert many["size"] > few["size"] + 40  # records in memory would be seen
    assert many["SELF"] < few["SELF"] + 24 and many["CHILDREN"] < few["CHILDREN"] + 24
