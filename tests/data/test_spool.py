"""Records on the disk: the same as the writers of TFDS leave."""

from pathlib import Path

import numpy as np
import pytest
from musicvae_jax.data.datasets.features import score_features
from tensorflow_datasets.core import example_serializer, writer

from musicvae_jax.data.datasets import prepare
from musicvae_jax.data.datasets.spool import Spool
from tests.data.folder_music import make_music


def test_a_spool_writes_what_the_writer_of_tfds_writes(tmp_path, ready) -> None:
    builder = ready(make_music(tmp_path / "music"))
    features = score_features()
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    records = list(builder.as_data_source("train"))
    written = []
    for name in ("spool", "tfds"):
        target = tmp_path / name
        target.mkdir()
        template = builder._get_filename_template("train").replace(data_dir=target)
        if name == "spool":
            spool = Spool(target / "train.spool", "train", features)
            for record in records:
                spool.add(record["id"].decode(), record)
            info = spool.write(template, builder.info.file_format)
            lengths, size = info.shard_lengths, info.num_bytes
        else:
            own = writer.Writer(serializer, template, "train", False, writer.ExampleWriter(builder.info.file_format))
            for record in reversed(records):
                own.write(record["id"].decode(), features.encode_example(record))
            lengths, size = own.finalize()
        written.append((list(lengths), size, {path.name: path.read_bytes() for path in target.iterdir()}))
    assert written[0] == written[1] and sum(written[0][0]) == len(records) > 10


def test_beam_writes_the_same(tmp_path, ready) -> None:
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
        for one, other in zip(mine, theirs, strict=True):  # in the same order, too
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
