"""A trained model in a notebook's hands."""

import dataclasses

import numpy as np
import pytest

from musicvae_jax import SamplingConfig, evaluate, evaluate_baselines, inference, load_windows, load_workdir
from musicvae_jax.codec import Metre, MusicError
from musicvae_jax.config import ConfigError, UserError
from musicvae_jax.models import sampling
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.workdir import WorkdirError, open_workdir
from tests.codec.music import score_of
from tests.data.melodies import random_melody
from tests.tiny import CONFIG, replace

KEYS = {
    "split", "num_examples", "step", "perplexity", "onset_perplexity", "perplexity_elbo", "nll", "kl", "kl_per_phrase",
    "kl_global", "kl_global_per_phrase", "kl_global_per_latent", "kl_global_rhythm", "kl_per_dim_global",
    "accuracy_teacher_forced", "accuracy_teacher_forced_onsets", "accuracy_free_running",
    "accuracy_free_running_onsets", "onset_f1", "onset_f1_swapped", "active_units_a_global", "active_units_b_global",
    "active_units_a_raw_global", "active_units_b_raw_global", "active_units_a_global_rhythm",
    "active_units_b_global_rhythm", "active_units_a_raw_global_rhythm", "active_units_b_raw_global_rhythm",
    "kl_global_rhythm_per_phrase", "kl_global_rhythm_per_latent", "mutual_information_global",
    "mutual_information_global_rhythm",
}  # fmt: skip


@pytest.fixture(scope="module")
def vae(trained_workdir):
    return load_workdir(trained_workdir)


@pytest.fixture(scope="module")
def tunes(vae):
    source = load_windows(vae.config, "test")
    return [source.score(number) for number in (0, len(source) - 1)]


def test_evaluation_has_its_figures(vae):
    # 20 is no multiple of the batch: padding must not count.
    result = evaluate(vae, "test", num_examples=20, iwae_draws=2)
    bound, perplexity = result.pop("nll_iwae_2"), result.pop("perplexity_iwae_2")
    # Two draws are a little better than one, and every figure is of the same windows and tokens.
    assert bound == pytest.approx(result["nll"] + result["kl"], rel=0.05)
    assert np.log(perplexity) / bound == pytest.approx(np.log(result["perplexity"]) / result["nll"])
    assert set(result) == KEYS
    assert result["num_examples"] == 20
    assert result == evaluate(vae, "test", num_examples=20)
    dims = result["kl_per_dim_global"]
    assert all(np.isfinite(value) for value in (result | dims).values() if isinstance(value, int | float))
    assert sum(dims.values()) == pytest.approx(result["kl_global"])
    assert result["kl_global"] == pytest.approx(result["kl"], rel=1e-5)
    baselines = evaluate_baselines(vae, "test", num_examples=20)
    assert 1 < baselines["baseline_markov3_perplexity"] < baselines["baseline_unigram_perplexity"] < 130


def test_baselines_do_not_depend_on_how_training_windows_overlap(vae):
    """A measure that is seen four times is no commoner than before, but nothing is rare then, and smoothing is off."""
    assert vae.config.data.measures > 1
    per_hop = [
        evaluate_baselines(
            dataclasses.replace(vae, config=replace(vae.config, data={"hop": hop, "min_measures": measures})), "test"
        )
        for hop, measures in ((1, vae.config.data.measures), (vae.config.data.measures, 1))
    ]
    assert per_hop[0] == per_hop[1]


def test_padding_rows_do_not_count(vae):
    """Twelve windows in batches of 8, half a batch of padding, and of 4; only who is paired with whom may differ."""
    smaller = dataclasses.replace(vae, config=replace(vae.config, train={"batch_size": 4}))
    padded, whole = (evaluate(model, "validation", num_examples=12) for model in (vae, smaller))
    dims, others = padded.pop("kl_per_dim_global"), whole.pop("kl_per_dim_global")
    assert dims == pytest.approx(others, rel=1e-4)
    assert padded.pop("split") == whole.pop("split")
    for name in [name for name in padded if name == "onset_f1_swapped" or name.startswith("mutual")]:
        del padded[name], whole[name]  # the draws of I(x; z) come in the order of the windows
    assert padded == pytest.approx(whole, rel=1e-4)


def test_samples_have_the_metre_and_length_asked_for(vae):
    for score in vae.sample(3, metre=Metre(6, 8), measures=1, seed=1):
        assert score.num_measures == 1 and score.metre(0) == Metre(6, 8)
    metres = {str(score.metre(0)) for score in vae.sample(20)}
    assert len(metres) > 1 and metres <= set(vae.metres)


def test_metres_are_drawn_by_their_training_frequencies(vae, monkeypatch):
    """Within five standard errors."""
    rare = dataclasses.replace(vae, metres={"4/4": 9, "3/4": 1})
    monkeypatch.setattr(
        type(vae), "decode", lambda self, _, metre, **__: np.zeros((*self.mask(metre).shape, 1), np.int32)
    )
    num = 2000
    share = np.mean([score.metre(0) == Metre(3, 4) for score in rare.sample(num, measures=1)])
    assert abs(share - 0.1) < 5 * np.sqrt(0.1 * 0.9 / num)


def test_samples_depend_on_the_seed_alone(vae):
    same, again, other = (vae.sample(2, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.notes, b.notes) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a.notes, b.notes) for a, b in zip(same, other, strict=True))


def test_reconstruction_keeps_the_frame(vae, tunes):
    for tune in tunes:
        copy = vae.reconstruct(tune)
        np.testing.assert_array_equal(copy.measures, tune.measures)
        assert copy.tempo == tune.tempo and copy.fifths == tune.fifths


def test_what_a_perfect_model_reconstructs_is_the_piece(vae, monkeypatch):
    """A window that begins with a rest begins with HOLD, which must not prolong the note before it."""
    ticks, measures = 1920, vae.config.data.measures
    starts = [0, measures - 1, measures + 1, 2 * measures]  # in measures; the second rests across a border
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


def test_a_long_metre_is_refused_by_name(vae):
    with pytest.raises(MusicError, match="12/8"):
        vae.sample(1, metre=Metre(12, 8))


def test_sampling_settings_reach_the_sampler(vae):
    greedy = vae.sample(2, metre=Metre(4, 4), sampling=SamplingConfig(temperature=0.0))
    top_one = vae.sample(2, metre=Metre(4, 4), sampling=SamplingConfig(top_k=1))
    assert all(np.array_equal(a.notes, b.notes) for a, b in zip(greedy, top_one, strict=True))


def test_an_unknown_checkpoint_kind_is_refused(trained_workdir):
    with pytest.raises(WorkdirError, match="'worst': allowed is latest or best"):
        load_workdir(trained_workdir, "worst")


def test_a_float64_run_is_not_loaded_into_float32(tmp_path):
    config = replace(CONFIG, model={"dtype": "float64"})
    with pytest.raises(ConfigError, match=r"dtype = 'float64' needs JAX_ENABLE_X64=1"):
        load_workdir(open_workdir(tmp_path, config))


def test_loading_leaves_nothing_open(trained_workdir, monkeypatch):
    closed, close = [], Checkpoints.close

    def noted(self):
        closed.append(self.folder)
        close(self)

    monkeypatch.setattr(Checkpoints, "close", noted)
    load_workdir(trained_workdir)
    with pytest.raises(WorkdirError, match="no checkpoint 'worst'"):
        load_workdir(trained_workdir, "worst")
    assert len(closed) == 2


def test_pieces_of_many_lengths_compile_once(vae, tunes):
    """Windows are filled up to a power of two: five to eight take the shape of eight."""
    compiled = inference.encode, sampling._sample_tokens
    sizes = []
    for measures in (9, 10, 12, 14, 16):  # of windows of two measures
        vae.reconstruct(random_melody(measures, measures))
        sizes.append([function._cache_size() for function in compiled])
    assert all(size == sizes[0] for size in sizes)


def test_a_negative_seed_is_refused(vae, tunes):
    batch = vae.windows(tunes[0])
    latents = {level: gaussian.loc for level, gaussian in vae.encode(batch).items()}
    for call in (
        lambda: vae.decode(latents, batch.metre, seed=-1),
        lambda: vae.reconstruct(tunes[0], seed=-1),
        lambda: vae.reconstruct_tokens(batch, seed=-1),
        lambda: vae.interpolate(*tunes, steps=2, seed=-1),
    ):
        with pytest.raises(ConfigError, match="seed = -1"):
            call()
