"""A trained model as a notebook uses it."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from musicvae_jax import SamplingConfig, evaluate, load_windows, load_workdir
from musicvae_jax.codec import Metre, MusicError
from musicvae_jax.config import ConfigError, UserError
from musicvae_jax.figures import flatten
from musicvae_jax.inference import encode
from musicvae_jax.models import sampling
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.workdir import WorkdirError, open_workdir
from tests.codec.music import score_of
from tests.data.melodies import random_melody
from tests.tiny import CONFIG, replace


@pytest.fixture(scope="module")
def vae(trained_workdir):
    return load_workdir(trained_workdir)


@pytest.fixture(scope="module")
def tunes(vae):
    source = load_windows(vae.config, "test")
    return [source.score(number) for number in (0, len(source) - 1)]


def test_an_evaluation_is_finite_consistent_and_reproducible(vae):
    result = evaluate(vae, "test", num_examples=20, iwae_draws=2)  # 20 windows leave padding rows in the last batch
    assert (result.split, result.num_examples, result.step) == ("test", 20, vae.step)
    assert all(np.isfinite(value) for name, value in flatten(result).items() if name != "split")
    bound = result.iwae
    assert bound and bound.draws == 2
    # Two draws are a little better than one, over the same windows and tokens.
    assert bound.nll == pytest.approx(result.nll + result.kl, rel=0.05)
    assert np.log(bound.perplexity) / bound.nll == pytest.approx(np.log(result.perplexity) / result.nll)
    (level,) = result.levels.values()
    assert sum(level.kl_per_dim.values()) == pytest.approx(level.kl) == pytest.approx(result.kl, rel=1e-5)
    assert level.kl_per_phrase == pytest.approx(result.kl_per_phrase, rel=1e-5)
    assert evaluate(vae, "test", num_examples=20) == dataclasses.replace(result, iwae=None)


def test_padding_rows_do_not_count(vae):
    """Twelve windows, in a batch of 16 and in one of 24; only the pairing of windows may differ."""
    exact = dataclasses.replace(vae, config=replace(vae.config, train={"batch_size": 24}))
    padded, other = (flatten(evaluate(model, "validation", num_examples=12)) for model in (vae, exact))
    assert padded.pop("split") == other.pop("split")
    for name in [name for name in padded if name == "onset_f1_swapped" or name.endswith("mutual_information")]:
        del padded[name], other[name]  # the draws of I(x; z) follow the order of the windows
    assert padded == pytest.approx(other, rel=1e-4)


def test_samples_have_the_metre_and_length_asked_for(vae):
    for score in vae.sample(3, metre=Metre(6, 8), measures=1, seed=1):
        assert score.num_measures == 1 and score.metre(0) == Metre(6, 8)
    metres = {str(score.metre(0)) for score in vae.sample(20)}
    assert len(metres) > 1 and metres <= set(vae.metres)


def test_metres_are_drawn_by_their_training_frequencies(vae, monkeypatch):
    rare = dataclasses.replace(vae, metres={"4/4": 9, "3/4": 1})
    monkeypatch.setattr(
        type(vae), "decode", lambda self, _, metre, **__: np.zeros((*self.mask(metre).shape, 1), np.int32)
    )
    num = 2000
    share = np.mean([score.metre(0) == Metre(3, 4) for score in rare.sample(num, measures=1)])
    assert abs(share - 0.1) < 5 * np.sqrt(0.1 * 0.9 / num)  # five standard errors


def test_samples_depend_on_the_seed_alone(vae):
    same, again, other = (vae.sample(2, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.notes, b.notes) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a.notes, b.notes) for a, b in zip(same, other, strict=True))


def test_reconstruction_keeps_metres_tempo_and_key(vae, tunes):
    for tune in tunes:
        copy = vae.reconstruct(tune)
        np.testing.assert_array_equal(copy.measures, tune.measures)
        assert copy.tempo == tune.tempo and copy.fifths == tune.fifths


def test_a_perfect_model_reconstructs_the_piece(vae, monkeypatch):
    """A window that begins with a rest begins with HOLD; this must not prolong the last note of the window before."""
    ticks, measures = 1920, vae.config.data.measures
    starts = [0, measures - 1, measures + 1, 2 * measures]  # in measures; there is a rest at the border
    notes = [(ticks * start, ticks, 60 + start, 80, 0) for start in starts]
    score = score_of(notes, [(ticks * number, 4, 4) for number in range(2 * measures + 1)])
    monkeypatch.setattr(type(vae), "reconstruct_tokens", lambda _, batch, **__: np.asarray(batch.tokens))
    copy = vae.reconstruct(score)
    np.testing.assert_array_equal(copy.notes[:, :3], score.notes[:, :3])
    np.testing.assert_array_equal(copy.measures, score.measures)


def test_latents_of_another_shape_are_refused(vae, tunes):
    batch = _first(vae, tunes[0])
    z = np.asarray(vae.encode(batch)["global"].loc)
    for latents, said in (
        ({"global": z[:, 0]}, r"'global' are of shape \(1, \d+\); allowed is \[batch, time, dim\] = \(1, 1, \d+\)"),
        ({"global": np.repeat(z, 3, 0)}, r"of shape \(3, 1, \d+\)"),
        ({"fine": z}, r"'global' are missing: given are fine"),
    ):
        with pytest.raises(UserError, match=said):
            vae.decode(latents, batch.metre)


def test_interpolation_starts_and_ends_at_the_pieces(vae, tunes):
    path = vae.interpolate(*tunes, steps=4)
    assert len(path) == 4
    for end, tune in ((path[0], tunes[0]), (path[-1], tunes[1])):
        batch = _first(vae, tune)
        first_window = vae.scores(vae.reconstruct_tokens(batch), batch.metre)[0]
        np.testing.assert_array_equal(end.notes, first_window.notes)
    with pytest.raises(ValueError, match="steps = 1"):
        vae.interpolate(*tunes, steps=1)


def _first(vae, tune):
    batch = vae.windows(tune)
    return type(batch)(*(leaf[:1] for leaf in batch))


def num_compiled() -> list[int]:
    """For how many shapes the encoder and the sampler were compiled."""
    compiled: list[Any] = [encode, sampling._sample_tokens]
    return [function._cache_size() for function in compiled]


def test_pieces_of_many_lengths_compile_once(vae):
    measures = vae.config.data.measures
    vae.reconstruct(random_melody(0, 4 * measures + 1))  # five windows, as eight
    before = num_compiled()
    for windows in (6, 7, 8):
        vae.reconstruct(random_melody(windows, windows * measures))
    assert num_compiled() == before


def test_a_negative_seed_is_refused(vae):
    tune = random_melody(0, 4)
    batch = vae.windows(tune)
    latents = {level: gaussian.loc for level, gaussian in vae.encode(batch).items()}
    for call in (
        lambda: vae.decode(latents, batch.metre, seed=-1),
        lambda: vae.reconstruct(tune, seed=-1),
        lambda: vae.reconstruct_tokens(batch, seed=-1),
        lambda: vae.interpolate(tune, tune, steps=2, seed=-1),
        lambda: vae.sample(1, seed=-1),
        lambda: evaluate(vae, "test", seed=-1),
    ):
        with pytest.raises(ConfigError, match="seed = -1: allowed is 0 or more"):
            call()


def test_a_long_metre_is_refused_by_name(vae):
    with pytest.raises(MusicError, match="12/8"):
        vae.sample(1, metre=Metre(12, 8))


def test_sampling_settings_reach_the_sampler(vae):
    greedy = vae.sample(2, metre=Metre(4, 4), sampling=SamplingConfig(temperature=0.0))
    top_one = vae.sample(2, metre=Metre(4, 4), sampling=SamplingConfig(top_k=1))
    assert all(np.array_equal(a.notes, b.notes) for a, b in zip(greedy, top_one, strict=True))


def test_a_float64_run_is_not_loaded_into_float32(tmp_path):
    config = replace(CONFIG, model={"dtype": "float64"})
    with pytest.raises(ConfigError, match=r"dtype = 'float64' needs JAX_ENABLE_X64=1"):
        load_workdir(open_workdir(tmp_path, config))


def test_loading_closes_what_it_opens(trained_workdir, monkeypatch):
    closed, close = [], Checkpoints.close

    def noted(self):
        closed.append(self.folder)
        close(self)

    monkeypatch.setattr(Checkpoints, "close", noted)
    load_workdir(trained_workdir)
    with pytest.raises(WorkdirError, match="no checkpoint 'worst': allowed is latest or best"):
        load_workdir(trained_workdir, "worst")
    assert len(closed) == 2
