"""The scripts that measure time, on the smallest sizes. The times do not matter here."""

import json

import pytest
from configs import DEBUG
from configs.options import options

from tests.pictures import assert_picture

WIDTHS = ("--model.dim", 16, "--model.num-heads", 2, "--train.batch-size", 4)
DEPTHS = ("--model.encoder-slot-layers", 1, "--model.encoder-measure-layers", 0, "--model.conductor-layers", 0)
SMALL = (*WIDTHS, *DEPTHS)


@pytest.mark.slow
def test_scaling_writes_the_results_that_it_prints(tmp_path, call):
    results, picture = tmp_path / "new" / "scaling.json", tmp_path / "new" / "scaling.png"
    sizes = ("--measures", 1, 2, "--batch-size", 4, "--sampled", 1, "--rounds", 1)
    status, out, error = call("scaling.py", "debug", *sizes, *SMALL, "--json", results, "--png", picture)
    assert status == 0, error
    found = json.loads(results.read_text())
    assert set(found) == {"batch_size", "training_seconds_per_measure", "sampled_measures", "sampling_seconds"}
    for measures, seconds in found["training_seconds_per_measure"].items():
        assert f"{measures:>3} measures {seconds * int(measures) * 4 * 1000:9.1f} ms" in out
    assert set(found["sampling_seconds"]) == {f"{c}-{n}" for c in ("none", "previous", "flat") for n in (1, 64)}
    assert_picture(picture)
    assert {path.name for path in results.parent.iterdir()} == {"scaling.json", "scaling.png"}  # no temporary files


def test_the_benchmark_prints_all_results(folk_data_dir, call):
    data = ("--data.data-dir", folk_data_dir, "--data.measures", 1)
    status, out, error = call("benchmark.py", "debug", "--repeats", 1, "--no-cold", *SMALL, *data)
    assert status == 0, error
    for said in ("parameters", "training step", "input pipeline alone", "sampler, 64 x 1 measures", "peak memory"):
        assert said in out


@pytest.mark.slow
def test_the_table_of_options_has_what_was_measured(tmp_path, call):
    results = tmp_path / "new" / "options.json"
    flags = ("--options", "--repeats", 1, "--data.measures", 1)
    status, _, error = call("benchmark.py", "debug", *flags, *SMALL, "--only", "intervalls")
    assert status == 2 and "only = 'intervalls': allowed is a known name: did you mean intervals" in error
    status, out, error = call("benchmark.py", "debug", *flags, *SMALL, "--only", "intervals")
    assert status == 0 and "skip" not in out, error
    status, out, error = call("benchmark.py", "debug", *flags, *SMALL, "--json", results)
    assert status == 0, error
    rows = json.loads(results.read_text())
    assert list(rows) == list(options(DEBUG))
    assert rows["intervals"]["parameters"] > rows["plain"]["parameters"] == rows["dropout"]["parameters"]
    assert rows["context flat"]["peak_bytes"] > 0
    for name, row in rows.items():
        assert any(line.startswith(name) and f"{row['parameters']:,}" in line for line in out.splitlines())
