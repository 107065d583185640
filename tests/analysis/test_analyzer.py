"""The analyzer of a run: its methods are the functions, its directions are kept in the workdir."""

import numpy as np
import pytest

from musicvae_jax import LatentAnalyzer, write_midi
from musicvae_jax.analysis import analyzer as module
from musicvae_jax.analysis.codes import measure
from musicvae_jax.analysis.directions import DirectionData
from musicvae_jax.analysis.steering import attribution_figures, edit_figures, path_figures
from musicvae_jax.config import UserError
from tests.analysis.played import load_untrained, make_player
from tests.analysis.test_directions import made
from tests.data.melodies import random_melody

PIECE = random_melody(3, 12)


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory):
    """Of the decoder that is known, with windows of its music instead of a data set."""
    folder = tmp_path_factory.mktemp("analyzer")
    vae = make_player(load_untrained(folder))
    found = LatentAnalyzer(folder / "run", vae=vae)
    fitted = made(vae, 64)
    spans = {name: own.span for name, own in vae.config.levels.on.items()}
    measured = {name: measure(vae, fitted.windows.tokens, fitted.windows.metre, span) for name, span in spans.items()}
    found._data = DirectionData(fitted, measured, made(vae, 16))
    return found


def test_a_run_is_loaded_in_one_call(analyzer, tmp_path):
    path = tmp_path / "tune.mid"
    write_midi(PIECE, path)
    found = LatentAnalyzer(analyzer.workdir)
    for level, z in found.code(path).means.items():
        np.testing.assert_allclose(z, analyzer.code(PIECE).means[level], atol=1e-5)
    several = analyzer.code([PIECE, path], 4)
    assert several.windows.index.tolist() == [4, 4]
    with pytest.raises(UserError, match="pieces"):
        analyzer.code([])


def test_directions_are_found_once(analyzer, monkeypatch):
    first = analyzer.find_directions("mean_pitch")
    assert (analyzer.workdir / "directions" / "mean_pitch.json").is_file()
    monkeypatch.setattr(module, "find_directions", None)
    assert analyzer.find_directions("mean_pitch") == first
    with pytest.raises(UserError, match="tempo is metadata"):
        analyzer.find_directions("tempo")


def test_an_edit_does_what_it_says(analyzer):
    edit = analyzer.edit(PIECE, {"mean_pitch": 3}, measures=range(4, 8))
    assert edit.spans == (4, 5, 6, 7)
    np.testing.assert_allclose(edit.realised["mean_pitch"], 3, atol=0.5)
    for options, said in (({"level": "loud"}, "level = 'loud'"), ({"measures": [12]}, "0 to 11")):
        with pytest.raises(UserError, match=said):
            analyzer.edit(PIECE, {"mean_pitch": 3}, **options)


def test_figures_of_a_decoder_that_obeys(analyzer, monkeypatch):
    from musicvae_jax.analysis import steering

    monkeypatch.setattr(steering, "scores_of_split", lambda *_: [random_melody(seed, 8) for seed in range(4)])
    found = edit_figures(analyzer, "mean_pitch", "fine", num=4)
    assert found.unchanged == 1 and found.spans == 16 and found.r2 > 0.9 and found.error < 0.5 < found.asked
    monkeypatch.setattr(analyzer, "windows", lambda *_: made(analyzer.vae, 6).windows)
    paths = path_figures(analyzer, num=3, steps=4)
    assert paths.pairs == 3 and paths.smoothness >= 1 and 0 <= paths.ends <= 1
    used = attribution_figures(analyzer, num=2)
    assert -1 <= used.correlation <= 1 and used.total != used.shuffled


def test_a_traversal_and_a_path_of_a_piece(analyzer):
    grid = analyzer.traverse_dimension(PIECE, "fine/rhythm[0]", (-1, 1), 3)
    assert grid.shifts.tolist() == [-1, 0, 1] and len(grid.scores[0]) == 3
    later = analyzer.traverse_dimension(PIECE, "fine/rhythm[0]", (-1, 1), 3, start=4)
    same = analyzer.traverse_dimension(analyzer.vae.windows(PIECE, [4]), "fine/rhythm[0]", (-1, 1), 3)
    np.testing.assert_array_equal(later.attributes, same.attributes)
    assert not np.array_equal(later.attributes, grid.attributes, equal_nan=True)
    assert len(grid.attribute_names) == grid.attributes.shape[-1]
    with pytest.raises(UserError, match="range = 3: allowed is two numbers"):
        analyzer.traverse_dimension(PIECE, "fine/rhythm[0]", 3)
    path = analyzer.interpolate(PIECE, PIECE, 3, starts=(0, 4))
    assert len(path.scores) == 3 and path.distances.max() > 0
    table = analyzer.embed([PIECE, random_melody(4, 3), random_melody(5, 3)])
    assert analyzer.nearest(table, "Melody 3", num=1)[0][0] in {"Melody 4", "Melody 5"}
    assert len(analyzer.cluster(table, "fine", 2).kmeans) == 3
