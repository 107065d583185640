"""Samples beside held-out music: sets against themselves, copies, and what a model draws."""

import dataclasses

import numpy as np
import pytest

from musicvae_jax import load_workdir
from musicvae_jax.codec import MelodyCodec, Metre
from musicvae_jax.config import UserError
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation import samples
from musicvae_jax.evaluation.novelty import nearest_distances
from musicvae_jax.evaluation.samples import Music, RealMusic, compare_music, draw_music, real_music, sample_figures
from musicvae_jax.models.sampling import sample_tokens
from tests.data.melodies import random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

CODEC = MelodyCodec(slots=16)


def music(seeds) -> Music:
    scores = [random_melody(seed, 8, metre=Metre(3 + seed % 2, 4)) for seed in seeds]
    batch = WindowSource(scores, CODEC, 8, 8).gather(np.arange(len(scores)))
    return Music(batch.tokens, batch.metre, np.arange(len(scores)))


@pytest.fixture(scope="module")
def real() -> RealMusic:
    held_out, known = music(range(40)), music(range(100, 200))
    distances = nearest_distances(held_out.tokens, held_out.metre, known.tokens, known.metre, CODEC)
    return RealMusic(held_out, known, distances)


def test_held_out_music_against_itself(real):
    """One window in twenty is below the threshold, by its definition."""
    found = compare_music(real.held_out.tokens, real, CODEC)
    assert found.windows == 40
    assert list(found.overlap.values()) == pytest.approx([1.0] * len(found.overlap))
    assert found.diversity == found.diversity_of_held_out > 0.4
    assert found.nearest == found.nearest_of_held_out and found.memorised == pytest.approx(2 / 40)


def test_a_copy_of_the_training_music_is_found(real):
    rows = np.arange(40)  # known music alternates in metre as held-out music does
    copies = CODEC.transpose(real.known.tokens[rows], 4)
    found = compare_music(copies, real, CODEC)
    assert found.memorised == 1 and found.nearest == 0
    half = np.where((rows < 20)[:, None, None, None], copies, real.held_out.tokens)
    assert 0.5 <= compare_music(half, real, CODEC).memorised < 0.6
    known = real._replace(distances=np.zeros(40))  # every held-out window is a copy, too
    assert compare_music(copies, known, CODEC).memorised == 1


def test_constant_samples_have_no_diversity_and_no_overlap(real):
    same = np.zeros_like(real.held_out.tokens)
    same[:, :, ::4] = 62
    found = compare_music(same, real, CODEC)
    assert found.diversity == 0 and found.memorised == 0
    assert found.overlap["mean_pitch"] < 0.1 and found.overlap["pitch_range"] < 0.1
    silent = compare_music(np.zeros_like(same), real, CODEC)
    assert np.isnan(silent.overlap["mean_pitch"]) and silent.overlap["note_density"] < 0.1


def test_training_music_stands_beside_the_samples(real):
    found = compare_music(real.held_out.tokens, real, CODEC)
    assert set(found.overlap_of_training) == set(found.overlap)
    assert 0.6 < found.overlap_of_training["mean_pitch"] < 1


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir})
    return load_workdir(write_workdir(tmp_path_factory.mktemp("samples") / "run", config, seed=1))


def test_samples_have_the_metres_of_held_out_windows(vae):
    metre = np.array([[[4, 4]] * 4, [[6, 8]] * 4, [[3, 4]] * 4] * 12, np.int32)
    drawn = draw_music(vae, metre, seed=2)
    assert drawn.shape == (36, 4, vae.codec.slots, 1)
    assert (drawn[~vae.codec.slot_mask(metre)] == 0).all() and drawn[vae.codec.slot_mask(metre)].any()
    np.testing.assert_array_equal(drawn, draw_music(vae, metre, seed=2))
    assert len({row.tobytes() for row in drawn}) == 36
    assert (draw_music(vae, metre, seed=3) != drawn).any()


def test_music_is_decoded_from_the_latents_of_its_own_posteriors(vae, monkeypatch):
    """Of another window other latents, and only of that one."""
    seen = []

    def watch(model, variables, latents, *rest):
        seen.append({name: np.asarray(z) for name, z in latents.items()})
        return sample_tokens(model, variables, latents, *rest)

    monkeypatch.setattr(samples, "sample_tokens", watch)
    held_out = real_music(vae.config, vae.codec, "validation", 12).held_out
    changed = held_out.tokens.copy()
    changed[2] = held_out.tokens[3]
    for tokens in (held_out.tokens, changed):
        draw_music(vae, held_out.metre, seed=2, music=tokens)
    one, other = seen
    for name, z in one.items():
        moved = np.abs(z - other[name])[: len(changed)].max((1, 2)) > 1e-4
        np.testing.assert_array_equal(np.flatnonzero(moved), [2], name)


def test_figures_of_a_model_are_of_whole_windows(vae):
    real = real_music(vae.config, vae.codec, "validation", 24)
    assert (real.held_out.metre > 0).all() and (real.known.metre > 0).all() and len(real.held_out.metre) <= 24
    found = sample_figures(vae, "validation", num_windows=24, seed=2, real=real)
    assert found.windows == len(real.held_out.metre)
    held_out = real.held_out
    decoded = draw_music(vae, held_out.metre, seed=2, music=held_out.tokens)
    assert found == compare_music(draw_music(vae, held_out.metre, seed=2), real, vae.codec, decoded)
    assert found.overlap_of_posteriors == compare_music(decoded, real, vae.codec).overlap != found.overlap
    assert found.memorised == 0 and found.nearest > found.threshold  # noise is like no tune
    longer = dataclasses.replace(vae.config, data=dataclasses.replace(vae.config.data, measures=300, min_measures=1))
    with pytest.raises(UserError, match="all windows of 'validation' are shorter than a window of the model"):
        real_music(longer, vae.codec, "validation", 5)
