"""Tables of latents."""

import numpy as np
import pytest

from musicvae_jax.analysis.corpus import embed, find_music, labels_of, load_embedding, save_embedding
from musicvae_jax.codec import write_midi
from musicvae_jax.config import UserError
from tests.analysis.played import load_untrained
from tests.codec.music import score_of
from tests.data.melodies import random_melody

PIECES = [random_melody(1, 5), random_melody(2, 3)]


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_untrained(tmp_path_factory.mktemp("corpus"))


def test_a_row_is_a_window_and_a_column_a_dim(vae, tmp_path):
    table, refusals = embed(vae, PIECES)
    assert not refusals and table.piece.tolist() == [0, 0, 1] and table.measure.tolist() == [0, 4, 0]
    posterior = vae.encode(PIECES[0])
    for level, name, time, dim in (("global", "global/rhythm[3]", 0, 3), ("fine", "fine/rhythm[1]", 2, 1)):
        column = table.latents[:2, table.columns.index(f"{name}@{time}")]
        expected = np.asarray(posterior[level].loc)[:, time, dim].copy()
        if level == "fine":
            expected[1] = np.nan  # the second window has one measure
        np.testing.assert_allclose(column, expected, rtol=1e-5)
    for level in ("global", "local", "fine"):
        assert np.isfinite(table.pieces(level)).all() and table.pieces(level).shape == (2, vae.config.levels[level].dim)
    assert table.names_of_pieces() == ["Melody 1", "Melody 2"]
    labels = table.labels | {"title": np.array(["tune"] * 3)}
    assert table._replace(labels=labels).names_of_pieces() == ["tune (melody/1)", "tune (melody/2)"]
    with pytest.raises(UserError, match="level = 'loud': allowed is global or local or fine"):
        table.pieces("loud")
    save_embedding(table, tmp_path / "table.npz")
    again = load_embedding(tmp_path / "table.npz")
    np.testing.assert_array_equal(again.latents, table.latents)
    assert again.columns == table.columns and again.labels["title"].tolist() == table.labels["title"].tolist()


def test_a_folder_is_its_pieces_and_what_cannot_be_read_is_listed(vae, tmp_path):
    for number, piece in enumerate(PIECES):
        write_midi(piece, tmp_path / f"{number}.mid")
    write_midi(score_of([(0, 960, 48, 80, 0), (0, 480, 60, 80, 0)]), tmp_path / "chords.mid")
    (tmp_path / "notes.txt").write_text("no music")
    table, refusals = embed(vae, tmp_path)
    np.testing.assert_allclose(table.latents, embed(vae, PIECES)[0].latents, atol=1e-5)
    assert [error.reason for error in refusals] == ["polyphonic"]
    assert len(find_music(tmp_path)) == 3
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path.parent / "empty", "has no music")):
        (tmp_path.parent / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=said):
            find_music(folder)


def test_labels_name_the_book_of_an_id_alone():
    assert labels_of(PIECES[0]) | {"title": ""} == {
        "title": "", "source": "melody/1", "book": "melody", "key": "", "mode": "", "metre": "4/4", "style": ""
    }  # fmt: skip
    assert labels_of(score_of([]))["book"] == ""
