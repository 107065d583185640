"""Variants of a piece below it."""

import pytest
from matplotlib.image import imread

from musicvae_jax.analysis.report import write_variants
from musicvae_jax.analysis.variants import plot_variants
from musicvae_jax.codec import read_midi
from tests.analysis.scores import SCALE, make_score

ORIGINAL = make_score(SCALE, title="A scale for $5")


def test_the_share_of_notes_that_stayed(tmp_path) -> None:
    half = make_score([*SCALE[:4], *((beat, 1, 40) for beat in range(4, 8))])
    shares = plot_variants(ORIGINAL, [ORIGINAL, half, make_score([]), make_score([(0, 1, 90)])], tmp_path / "a.png")
    assert shares == [1.0, 0.5, 0.0, 0.0]
    tall = imread(tmp_path / "a.png").shape[0]
    plot_variants(ORIGINAL, [half], tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[0] < tall
    with pytest.raises(ValueError, match="variants is empty"):
        plot_variants(ORIGINAL, [], tmp_path / "b.png")


def test_a_folder_of_variants(tmp_path) -> None:
    write_variants(ORIGINAL, [ORIGINAL, make_score(SCALE[:3])], tmp_path / "new" / "tune.abc")
    stems = ["tune.abc.original", "tune.abc_0", "tune.abc_1"]
    names = {f"{stem}.{kind}" for stem in stems for kind in ("mid", "wav")} | {"tune.abc.png"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names
    assert len(read_midi(tmp_path / "new" / "tune.abc_1.mid").notes) == 3
