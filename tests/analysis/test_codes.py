"""Codes: what moves, what stays, and attributes in musical units."""

import numpy as np
import pytest

from musicvae_jax.analysis.codes import (
    check_attribute,
    latents_of_measures,
    make_code,
    measure,
    move,
    quarters_a_measure,
    repeat_code,
)
from musicvae_jax.codec import Metre
from musicvae_jax.config import UserError
from musicvae_jax.evaluation.likeness import NAMES
from tests.analysis.played import load_untrained, play
from tests.data.melodies import random_melody


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_untrained(tmp_path_factory.mktemp("codes"))


@pytest.fixture(scope="module")
def code(vae):
    return make_code(vae, vae.windows(random_melody(3, 7, metre=Metre(3, 4))))


def test_a_move_of_nothing_is_the_posterior_and_details_stay_where_the_frame_goes(vae, code):
    still = move(vae, code, "global", np.zeros_like(code.means["global"]))
    for level, z in code.means.items():
        np.testing.assert_allclose(still[level], z, atol=1e-4)
    shift = np.zeros_like(code.means["local"])
    shift[..., 2] = 1.5
    moved = move(vae, code, "local", shift)
    np.testing.assert_allclose(moved["global"], code.means["global"], atol=1e-5)
    there = (code.means["local"] != 0).any(-1, keepdims=True)
    np.testing.assert_allclose(moved["local"], (code.means["local"] + shift) * there, atol=1e-5)
    assert np.abs(moved["fine"] - code.means["fine"]).max() > 0.01
    back = code._replace(means=moved)
    np.testing.assert_allclose(move(vae, back, "local", -shift)["fine"], code.means["fine"], atol=1e-3)


def test_copies_have_the_rows_of_the_code(code):
    copies = repeat_code(code, 3)
    for level, z in code.means.items():
        np.testing.assert_array_equal(copies.means[level], np.concatenate([z] * 3))


def test_note_density_is_counted_in_measures(vae):
    z = np.zeros((1, 4, 2))
    z[0, :, 0] = [-1, 0, 1, 2]  # 2, 4, 6, 8 notes
    metre = np.tile([3, 4], (1, 4, 1)).astype(np.int32)
    tokens = np.where(vae.mask(metre)[..., None], play(z, vae.codec.slots), 0)
    column = NAMES.index("note_density")
    np.testing.assert_allclose(measure(vae, tokens, metre, 1)[0, :, column], [2, 4, 6, 8], rtol=1e-6)
    np.testing.assert_allclose(measure(vae, tokens, metre, 2)[0, :, column], [3, 7], rtol=1e-6)
    np.testing.assert_allclose(quarters_a_measure(metre, 4), 3)


def test_a_latent_is_of_a_measure_if_it_spans_it(vae):
    chosen = np.array([[False, False, True, False]])
    assert latents_of_measures(vae, "local", chosen).tolist() == [[False, True]]
    assert latents_of_measures(vae, "global", chosen).tolist() == [[True]]
    np.testing.assert_array_equal(latents_of_measures(vae, "fine", chosen), chosen)


def test_tempo_and_what_is_not_heard_are_refused(vae):
    with pytest.raises(UserError, match="'tempo': the tempo is metadata of a piece, no latent has it"):
        check_attribute(vae, "tempo")
    for name in ("mean_velocity", "loudness"):
        with pytest.raises(UserError, match=f"attribute = '{name}': allowed is one of note_density"):
            check_attribute(vae, name)
