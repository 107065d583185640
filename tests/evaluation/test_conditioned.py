"""Detectors hear what notes say and nothing else; a model that repeats real music is heard as real music is."""

import dataclasses

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.score import Metre, Score
from musicvae_jax.config import UserError
from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.load import load_training, load_windows
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation import conditioned
from musicvae_jax.evaluation.conditioned import condition_figures
from musicvae_jax.evaluation.detectors import HEARD, fit_detector, note_features
from musicvae_jax.evaluation.figures import ConditionFigures
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.figures import build, flatten
from musicvae_jax.types import Batch
from tests.data.melodies import SIXTEENTH, random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

CODEC, FOUR = MelodyCodec(), Metre(4, 4)
NAMES = ("key", "mode", "metre", "style", "note_density")


def windows(scores: list[Score], measures: int = 4) -> Batch:
    source = WindowSource(scores, CODEC, measures, measures)
    return source.gather(np.arange(len(source)))


def scale_tune(seed: int, tonic: int, metre: Metre = FOUR, long: int = 4) -> Score:
    """Eighths of a major scale that end on its tonic; the first note of each measure lasts `long` sixteenths."""
    rng = np.random.default_rng(seed)
    scale = tonic + 60 + np.array([0, 2, 4, 5, 7, 9, 11])
    notes = []
    for measure in range(4):
        tick, end = measure * metre.ticks, (measure + 1) * metre.ticks
        while tick < end:
            length = SIXTEENTH * (long if tick % metre.ticks == 0 else 2)
            notes.append((tick, min(length, end - tick), rng.choice(scale), 80, 0))
            tick += length
    notes[-1] = (*notes[-1][:2], tonic + 60, 80, 0)
    measures = np.column_stack([np.arange(4) * metre.ticks, np.tile(metre, (4, 1))])
    return Score(np.array(notes, np.int32), measures.astype(np.int32))


@pytest.mark.parametrize("name", ["key", "style"])
def test_keys_are_heard_from_notes_that_were_not_fitted(name):
    labels = np.arange(60) % 3
    fit, held = (
        windows([scale_tune(first + seed, [0, 2, 7][label]) for seed, label in enumerate(labels)]) for first in (0, 100)
    )
    detector = fit_detector(name, fit, CODEC, np.where(np.arange(60) < 55, labels, np.nan))
    assert detector is not None
    accuracy = (detector(held, CODEC) == labels).mean()
    assert accuracy > 0.9 if name == "key" else accuracy < 0.7  # style is heard relative to the key


def test_a_metre_is_heard_without_bar_lines():
    """The same notes under other bar lines have the same features, and accents give the metre away."""
    metres, labels = (FOUR, Metre(3, 4)), np.arange(40) % 2
    fit, held = (
        windows([scale_tune(first + seed, 0, metres[label]) for seed, label in enumerate(labels)]) for first in (0, 100)
    )
    detector = fit_detector("metre", fit, CODEC, labels.astype(float))
    assert detector is not None and (detector(held, CODEC) == labels).mean() > 0.9
    tune = random_melody(0, 6, metre=Metre(2, 4))
    starts = np.arange(3) * FOUR.ticks
    barred = dataclasses.replace(tune, measures=np.column_stack([starts, [[4, 4]] * 3]).astype(np.int32))
    one, other = (note_features(windows([score], 6), CODEC) for score in (tune, barred))
    for name in HEARD:
        np.testing.assert_allclose(one[name], other[name], atol=1e-12)


def test_features_of_a_window_are_its_own_and_finite_without_notes():
    scores = [random_melody(seed, 4) for seed in range(4)]
    silent = dataclasses.replace(scores[0], notes=scores[0].notes[:0])
    together = note_features(windows([*scores, silent]), CODEC)
    for name, values in together.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values[2], note_features(windows([scores[2]]), CODEC)[name][0], atol=1e-12)


def test_transposition_turns_the_profiles_of_the_key_and_leaves_the_others():
    scores = [random_melody(seed, 4) for seed in range(6)]
    higher = [dataclasses.replace(score, notes=score.notes + np.array([0, 0, 5, 0, 0])) for score in scores]
    before, after = note_features(windows(scores), CODEC), note_features(windows(higher), CODEC)
    np.testing.assert_allclose(
        after["key"].reshape(6, 3, 12), np.roll(before["key"].reshape(6, 3, 12), 5, -1), atol=1e-12
    )
    np.testing.assert_allclose(after["metre"], before["metre"], atol=1e-12)


def test_one_class_needs_no_detector():
    batch = windows([random_melody(seed, 4) for seed in range(4)])
    assert fit_detector("mode", batch, CODEC, np.array([0, 0, np.nan, 0])) is None


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir, "attributes": True}, model={"conditions": NAMES})
    folder = write_workdir(tmp_path_factory.mktemp("conditions"), config)
    styles = ("hornpipe", "jig", "reel")
    (folder / "conditions.json").write_text(Conditions(NAMES, styles, {"note_density": (1.5, 0.5)}).to_json())
    return load_workdir(folder)


def test_a_model_that_repeats_real_music_is_heard_as_real_music(vae, monkeypatch):
    asked = []

    def repeat(vae, held, conditions, guidance, seed):
        asked.append(np.isfinite(conditions).any(0))
        assert guidance == (2.0 if asked[-1].any() else None)
        return held

    monkeypatch.setattr(conditioned, "_make", repeat)
    figures = condition_figures(vae, "validation", num_windows=256, guidance=2.0)
    assert figures is not None
    assert figures.guidance == 2.0
    assert set(figures.heard) == set(NAMES)
    for found in figures.heard.values():
        assert found.real == found.alone == found.together == found.unasked
    assert figures.diversity == figures.diversity_unasked  # pairs of one family count here, and not below
    assert figures.diversity_of_held_out == pytest.approx(figures.diversity, rel=0.05)
    assert figures.heard["note_density"].real == pytest.approx(1, abs=1e-6)
    assert figures.heard["key"].real > 0.5 and figures.heard["style"].windows < figures.heard["key"].windows
    # None, all, and each one alone.
    assert [tuple(row) for row in asked] == [(False,) * 5, (True,) * 5, *(tuple(row) for row in np.eye(5, dtype=bool))]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_few_windows_have_figures_or_none(vae, number):
    figures = condition_figures(vae, "validation", num_windows=number)
    assert figures is None if number == 1 else figures is not None and figures.windows == number


def test_figures_of_a_model_that_was_not_trained_are_those_of_chance(vae):
    """It hears nothing, so what it makes depends on its conditions at random; the file has every figure."""
    figures = condition_figures(vae, "validation", num_windows=64)
    assert figures is not None
    assert figures.heard["key"].alone < figures.heard["key"].real
    assert figures.perplexity_elbo != pytest.approx(figures.perplexity_elbo_told, rel=1e-6)
    assert build(ConditionFigures, flatten(figures)) == figures


def test_training_windows_are_told_and_others_are_not(vae):
    told, held = load_training(vae.config), load_windows(vae.config, "train")
    assert told.conditions and told.conditions.names == NAMES and "jig" in told.conditions.styles
    assert np.isfinite(told.gather(np.arange(4)).conditions[:, 0]).all()
    assert held.conditions is None and held.gather(np.arange(4)).conditions == ()


def test_samples_have_the_labels_that_were_asked_for(vae):
    asked = {"key": "Eb", "mode": "dorian", "metre": "3/4", "style": "reel"}
    scores = vae.sample(3, conditions=asked, measures=7)
    for score in scores:
        assert (score.fifths, score.mode, score.style, str(score.metre(0))) == (-5, "dorian", "reel", "3/4")
        assert score.num_measures == 7
    guided = vae.sample(3, conditions=asked, measures=7, guidance=4.0)
    assert not all(np.array_equal(one.notes, two.notes) for one, two in zip(scores, guided, strict=True))
    assert [(score.fifths, score.num_measures) for score in guided] == [(-5, 7)] * 3
    with pytest.raises(UserError, match=r"guidance = 0\.5: allowed is 1 or more"):
        vae.sample(1, conditions=asked, guidance=0.5)
    with pytest.raises(UserError, match="that of the conditions, 3/4, or none"):
        vae.sample(1, conditions=asked, metre="4/4")
    with pytest.raises(UserError, match="did you mean style"):
        vae.sample(1, conditions={"styel": "reel"})


def test_sampling_without_conditions_is_sampling_with_none_known(vae):
    plain, empty = vae.sample(2, metre="4/4", seed=1), vae.sample(2, metre="4/4", seed=1, conditions={})
    for one, other in zip(plain, empty, strict=True):
        np.testing.assert_array_equal(one.notes, other.notes)
    other = vae.sample(2, metre="4/4", seed=1, conditions={"key": "C"})
    assert not all(np.array_equal(one.notes, two.notes) for one, two in zip(plain, other, strict=True))
