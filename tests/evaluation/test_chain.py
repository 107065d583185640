"""Chains of windows: music of any length."""

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest

from musicvae_jax.codec import Metre
from musicvae_jax.codec.grid_codec import FIRST_PITCH, HOLD, REST
from musicvae_jax.config import UserError
from musicvae_jax.evaluation import chain
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.models.sampling import SamplingConfig
from musicvae_jax.rng import stream
from tests.data.melodies import random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

LONGEST = 4
GREEDY = SamplingConfig(temperature=0.0)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_workdir(write_workdir(tmp_path_factory.mktemp("chain") / "run"))


@pytest.mark.parametrize("spans", [(4, 1), (2, 1), (3, 1), (0, 0)])
@pytest.mark.parametrize("longest", [1, 2, 4, 8])
def test_windows_cover_every_measure_once_beyond_what_they_share(spans, longest):
    local, fine = ({"dim": 4, "span": span} if span else {"dim": 0, "span": 0} for span in spans)
    config = replace(LEVELS_CONFIG, data={"measures": longest}, local=local, fine=fine)
    shared = chain.overlap(config)
    assert 0 <= shared < longest and (shared or longest == 1)
    for measures in range(1, 30):
        starts, covered = chain.window_starts(config, measures), list[int]()
        for number, start in enumerate(starts):
            covered += range(start + (shared if number else 0), start + longest)
        assert covered[:measures] == list(range(measures)) and len(covered) - measures < longest


def test_a_long_piece_begins_as_a_short_one_and_has_its_length(vae):
    short, long = (vae.sample(2, metre="3/4", measures=measures, seed=3) for measures in (LONGEST, 11))
    border = LONGEST * Metre(3, 4).ticks
    for one, other in zip(short, long, strict=True):
        assert other.num_measures == 11
        np.testing.assert_array_equal(one.notes[:, [0, 2]], other.notes[other.notes[:, 0] < border][:, [0, 2]])


def test_the_shared_phrase_keeps_its_latents_and_the_top_latent_goes_on(vae, monkeypatch):
    seen: list[tuple[dict, Any, np.ndarray]] = []
    decode = type(vae).decode

    def watch(self, latents, metre, **options):
        tokens = decode(self, latents, metre, **options)
        seen.append(({name: np.asarray(z) for name, z in latents.items()}, options["known"], tokens))
        return tokens

    monkeypatch.setattr(type(vae), "decode", watch)
    vae.sample(2, metre="4/4", measures=8, seed=1)
    assert len(seen) == 3
    for (before, _, tokens), (after, known, new) in itertools.pairwise(seen):
        np.testing.assert_array_equal(after["local"][:, :1], before["local"][:, 1:])
        np.testing.assert_array_equal(after["fine"][:, :2], before["fine"][:, 2:])
        np.testing.assert_array_equal(known[:, :2].reshape(2, -1)[:, 1:], tokens[:, 2:].reshape(2, -1)[:, 1:])
        np.testing.assert_array_equal(new[:, :2], known[:, :2])
        assert (known[:, 2:] == -1).all()
        assert np.abs(after["global"] - before["global"]).max() > 0
        assert np.abs(after["fine"][:, 2:] - before["fine"][:, :2]).max() > 0


def test_the_next_top_latent_is_a_draw_from_the_prior_near_the_last(vae):
    num = 4096
    window = np.full((num, LONGEST, 2), 4, np.int32)
    before = {"global": np.random.default_rng(0).normal(size=(num, 1, 6))}
    after = np.asarray(chain.next_top(vae, window, before, {}, stream(jax.random.key(0), "test")))
    values, size = after.ravel(), after.size
    assert abs(values.mean()) < 5 / np.sqrt(size) and abs(values.var() - 1) < 5 * np.sqrt(2 / size)
    found = np.corrcoef(before["global"].ravel(), values)[0, 1]
    assert abs(found - np.sqrt(1 - chain.CHANGE**2)) < 5 * chain.CHANGE**2 / np.sqrt(size)


def test_a_note_is_held_across_the_seam_if_the_decoder_says_so(vae, monkeypatch):
    """A note that begins in measure 4 is held in all measures after it."""

    def decode(_, latents, metre, *, known=None, **__):
        tokens = np.full((*metre.shape[:2], vae.codec.slots, 1), HOLD, np.int32)
        if known is None:
            tokens[:, 3, 8] = FIRST_PITCH + 60
        return np.where(known >= 0, known, tokens) if known is not None else tokens

    monkeypatch.setattr(type(vae), "decode", decode)
    (score,) = vae.sample(1, metre="4/4", measures=7)
    ticks = Metre(4, 4).ticks
    assert score.notes[:, :3].tolist() == [[3 * ticks + ticks // 2, 3 * ticks + ticks // 2, 60]]


@pytest.mark.parametrize(("began", "told"), [(FIRST_PITCH + 60, FIRST_PITCH + 60), (REST, HOLD)])
def test_a_window_of_a_chain_begins_as_one_of_training(vae, monkeypatch, began, told):
    """A note that sounds at the seam starts anew for the decoder, and a rest there is a hold."""
    seen = []

    def decode(_, latents, metre, *, known=None, **__):
        tokens = np.full((*metre.shape[:2], vae.codec.slots, 1), HOLD, np.int32)
        if known is None:
            tokens[:, 1, 8] = began
            return tokens
        seen.append(known[:, 0, 0])
        return np.where(known >= 0, known, tokens)

    monkeypatch.setattr(type(vae), "decode", decode)
    vae.sample(1, metre="4/4", measures=8)
    np.testing.assert_array_equal(seen, [[[told]], [[told]]])


def test_variants_and_paths_of_any_length(vae):
    piece, other = random_melody(3, 11), random_melody(4, 9)
    for score in vae.resample(piece, "global", 2, start=1, measures=9):
        np.testing.assert_array_equal(score.measures[:, 1:], piece.measures[1:10, 1:])
    other = dataclasses.replace(other, tempo=4 * piece.tempo)
    tempos = [point.tempo for point in vae.interpolate(piece, other, 3)]
    np.testing.assert_allclose(tempos, piece.tempo * np.array([1, 2, 4]))
    path = vae.interpolate(piece, other, 2, starts=(3, 0), measures=8)
    for end, score, start in zip(path, (piece, other), (3, 0), strict=True):
        assert end.num_measures == 8
        # The first window is that of the piece at the measure that was named.
        window = vae.windows(score, [start])
        (alone,) = vae.scores(vae.reconstruct_tokens(window), window.metre)
        border = LONGEST * Metre(4, 4).ticks
        np.testing.assert_array_equal(end.notes[end.notes[:, 0] < border][:, [0, 2]], alone.notes[:, [0, 2]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 11}, "start = 11: allowed is 0 to 10"),
        ({"start": -1}, "start = -1"),
        ({"start": 2, "measures": 10}, "measures = 10: allowed is 1 to 9: 2 of the piece's 11 lie before"),
        ({"measures": 0}, "measures = 0"),
    ],
)
def test_measures_that_a_piece_does_not_have_are_refused(vae, options, said):
    with pytest.raises(UserError, match=said):
        vae.resample(random_melody(3, 11), "global", **options)


def test_a_model_of_one_measure_has_chains(tmp_path):
    config = replace(LEVELS_CONFIG, data={"measures": 1, "hop": 1}, local={"dim": 0, "span": 0}, fine={"dim": 0})
    one = load_workdir(write_workdir(tmp_path / "one", config))
    (score,) = one.sample(1, metre="2/4", measures=3)
    assert score.num_measures == 3 and (score.notes[:, 0] + score.notes[:, 1] <= score.end).all()
