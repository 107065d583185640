"""The scripts that time things, at their smallest: the figures are no matter, that they come is."""

import json

import pytest
from matplotlib.image import imread

from musicvae_jax.analysis.scaling import plot_scaling

WIDTHS = ("--model.dim", 16, "--model.num-heads", 2, "--train.batch-size", 4)
DEPTHS = ("--model.encoder-slot-layers", 1, "--model.encoder-measure-layers", 0, "--model.conductor-layers", 0)
SMALL = (*WIDTHS, *DEPTHS)


@pytest.mark.slow
def test_scaling_writes_what_it_prints(tmp_path, call) -> None:
    figures, picture = tmp_path / "new" / "scaling.json", tmp_path / "new" / "scaling.png"
    sizes = ("--measures", 1, 2, "--batch-size", 4, "--sampled", 1, "--rounds", 1)
    status, out, error = call("scaling.py", "debug", *sizes, *SMALL, "--json", figures, "--png", picture)
    assert status == 0, error
    found = json.loads(figures.read_text())
    assert set(found) == {"batch_size", "training_seconds_per_measure", "sampled_measures", "sampling_seconds"}
    for measures, seconds in found["training_seconds_per_measure"].items():
        assert f"{measures:>3} measures {seconds * int(measures) * 4 * 1000:9.1f} ms" in out
    assert set(found["sampling_seconds"]) == {f"{c}-{n}" for c in ("none", "previous", "flat") for n in (1, 64)}
    assert imread(picture).std() > 0.01
    assert {path.name for path in figures.parent.iterdir()} == {"scaling.json", "scaling.png"}  # no half of one


def test_the_benchmark_says_what_everything_takes(folk_data_dir, call) -> None:
    data = ("--data.data-dir", folk_data_dir, "--data.measures", 1)
    status, out, error = call("benchmark.py", "debug", "--repeats", 1, "--no-cold", *SMALL, *data)
    assert status == 0, error
    for said in ("parameters", "training step", "input pipeline alone", "sampler, 64 x 1 measures", "peak memory"):
        assert said in out


@pytest.mark.parametrize("longest", [1.0, 3.0])
def test_the_line_of_the_aim_says_what_it_is(longest, monkeypatch, tmp_path) -> None:
    texts: list[str] = []
    save = "musicvae_jax.analysis.figures.Page.save"
    monkeypatch.setattr(save, lambda page, _: texts.extend(t.get_text() for ax in page.figure.axes for t in ax.texts))
    plot_scaling({16: 1.0, 64: longest}, tmp_path / "a.png")
    assert texts == ["aim: at most 1.15"]
