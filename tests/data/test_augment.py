"""Each augmentation changes only what it says it changes, and depends only on the seed and the position."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, Score, VoicesCodec
from musicvae_jax.codec.attributes import ATTRIBUTES
from musicvae_jax.codec.base import Codec
from musicvae_jax.config import ConfigError
from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.data.augment import Augmentation, augment
from musicvae_jax.data.pipeline import make_train_iterator
from musicvae_jax.data.random_bits import uniform
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import Batch, until_end
from tests.codec.music import chorales, performances
from tests.data.melodies import melodies, random_melody

MELODY, VOICES = MelodyCodec(slots=64), VoicesCodec(slots=64)
PERFORMANCE = PerformanceCodec(slots=32, positions=72, tracks=4)
PITCHES = (0, 127)  # pitches of the piece: transposition cannot move these
COLUMN = {attribute.name: number for number, attribute in enumerate(ATTRIBUTES)}
SCORES: dict[Codec, st.SearchStrategy[Score]] = {
    MELODY: melodies(),
    VOICES: chorales(),
    PERFORMANCE: performances(),
}


def windows(score: Score, codec: Codec, measures: int = 4) -> Batch:
    source = WindowSource([score], codec, measures, 1)
    return source.gather(np.arange(len(source)))


def augmented(batch: Batch, codec: Codec, seed: int, pitches: tuple[int, int] = PITCHES, **changes: float) -> Batch:
    before = batch.tokens.copy()
    after, _ = augment(
        batch,
        codec,
        Augmentation(**changes),  # type: ignore[arg-type]
        seed=seed,
        positions=np.arange(len(batch.index)) + 100,
        pitches=np.tile(pitches, (len(batch.index), 1)),
    )
    np.testing.assert_array_equal(batch.tokens, before)  # a batch may be cached and must not change
    return after


def assert_canonical(batch: Batch, codec: Codec) -> None:
    """Asserts that the windows have the form of encoded music."""
    assert batch.tokens.dtype == np.int32 and batch.mask.dtype == bool
    allowed = codec.slot_mask(batch.metre)
    np.testing.assert_array_equal(batch.mask, until_end(batch.tokens, allowed, codec.fields))
    assert not batch.tokens[~batch.mask].any()
    for number, field in enumerate(codec.fields):
        assert (batch.tokens[..., number] < field.size).all() and (batch.tokens >= 0).all()


def assert_kept(batch: Batch, before: Batch, codec: Codec, but: set[str]) -> None:
    found, expected = window_attributes(batch, codec), window_attributes(before, codec)
    kept = [column for name, column in COLUMN.items() if name not in but]
    for span, values in found.items():
        for column in kept:
            name = f"{ATTRIBUTES[column].name} of a {span}"
            np.testing.assert_allclose(
                values[..., column], expected[span][..., column], rtol=1e-5, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("codec", SCORES, ids=lambda codec: type(codec).__name__)
@given(st.data(), st.integers(0, 1000))
@settings(max_examples=25)
def test_transposition_changes_only_the_mean_pitch(codec, data, seed):
    score = data.draw(SCORES[codec])
    batch = windows(score, codec)
    pitches = codec.pitch_range(batch.tokens) or (60, 60)
    moved = augmented(batch, codec, seed, pitches, transpose=12)
    assert_canonical(moved, codec)
    assert_kept(moved, batch, codec, {"mean_pitch"})


@given(performances(), st.integers(0, 1000), st.sampled_from([0.2, 1.0]))
@settings(max_examples=50)
def test_velocity_scaling_changes_only_the_dynamics_and_by_one_factor(score, seed, most):
    batch = windows(score, PERFORMANCE)
    scaled = augmented(batch, PERFORMANCE, seed, velocity_scale=most)
    assert_canonical(scaled, PERFORMANCE)
    assert_kept(scaled, batch, PERFORMANCE, {"mean_velocity", "velocity_spread", "crescendo_slope"})
    column = [field.name for field in PERFORMANCE.fields].index("velocity")
    for row in range(len(batch.index)):
        notes = PERFORMANCE.is_onset(batch.tokens[row]).any(-1)
        old, new = (PERFORMANCE.levels[part.tokens[row][notes][:, column]] for part in (batch, scaled))
        step = 2.51  # half a level and rounding; the ranges of factors that the notes allow must overlap
        if len(old):
            assert ((new - step) / old).max() <= ((new + step) / old).min()
            assert ((new - step) / old).max() <= 1 + most and ((new + step) / old).min() >= 1 / (1 + most)
        order = np.argsort(old)
        assert (np.diff(new[order])[np.diff(old[order]) == 0] == 0).all() and (np.diff(new[order]) >= 0).all()


@given(st.lists(st.integers(8, 120), min_size=2, max_size=12), st.integers(0, 1000))
def test_velocity_scaling_keeps_a_crescendo(velocities, seed):
    velocities.sort()
    notes = np.array([(160 * n, 160, 60, velocity, 0) for n, velocity in enumerate(velocities)], np.int32)
    score = Score(notes, np.array([(0, 4, 4)], np.int32))
    batch = windows(score, PERFORMANCE, 1)
    scaled = augmented(batch, PERFORMANCE, seed, velocity_scale=1.0)
    found = window_attributes(scaled, PERFORMANCE)["window"][0, 0, COLUMN["crescendo_slope"]]
    assert found >= -1e-6


def test_velocity_factors_are_symmetric_and_clip_nothing():
    notes = np.array([(480 * n, 480, 60, velocity, 0) for n, velocity in enumerate((48, 64, 80))], np.int32)
    batch = windows(Score(notes, np.array([(0, 4, 4)], np.int32)), PERFORMANCE, 1)
    many = Batch(*(np.repeat(part, 2000, 0) for part in batch[:4]))
    scaled = augmented(many, PERFORMANCE, 0, velocity_scale=0.5)
    level = PERFORMANCE.levels[scaled.tokens[:, 0, :3, 3]]
    factor = np.log(level[:, 2] / 80)
    assert abs(factor.mean()) < 5 * factor.std() / math.sqrt(2000) + 0.02  # half a level
    assert factor.min() < math.log(1 / 1.4) and factor.max() > math.log(1.4)
    loud = many._replace(tokens=np.where(many.tokens == 19, 30, many.tokens))  # 80 becomes 124
    level = PERFORMANCE.levels[augmented(loud, PERFORMANCE, 0, velocity_scale=9.0).tokens[:, 0, :3, 3]]
    # The loudest can grow by 127 / 124, and so can the others, up to half a level.
    assert (level[:, :2].max(0) <= np.array([48, 64]) * 127 / 124 + 2).all() and level[:, 2].max() == 127


def notes_by_voice(batch: Batch, codec: Codec, row: int) -> dict[int, list[tuple[int, ...]]]:
    found = codec.notes(batch.tokens[[row]], batch.mask[[row]], batch.metre[[row]])
    table = np.stack([*found[1:]], -1).tolist()
    return {voice: [tuple(note) for note in table if note[-1] == voice] for voice in {note[-1] for note in table}}


@pytest.mark.parametrize("codec", [VOICES, PERFORMANCE], ids=lambda codec: type(codec).__name__)
@given(st.data(), st.integers(0, 1000), st.sampled_from([0.2, 0.9]))
@settings(max_examples=40)
def test_voices_are_dropped_completely_and_one_always_stays(codec, data, seed, probability):
    batch = windows(data.draw(SCORES[codec]), codec)
    fewer = augmented(batch, codec, seed, voice_dropout=probability)
    assert_canonical(fewer, codec)
    np.testing.assert_array_equal(fewer.metre, batch.metre)
    for row in range(len(batch.index)):
        before, after = notes_by_voice(batch, codec, row), notes_by_voice(fewer, codec, row)
        assert bool(after) == bool(before)
        assert after.items() <= before.items()


@pytest.mark.parametrize("codec", [VOICES, PERFORMANCE], ids=lambda codec: type(codec).__name__)
def test_voices_are_dropped_with_their_probability(codec):
    notes = [(480 * n, 480, 60 + voice, 80, voice) for n in range(4) for voice in range(4)]
    batch = windows(Score(np.array(notes, np.int32), np.array([(0, 4, 4)], np.int32)), codec, 1)
    many = Batch(*(np.repeat(part, 4000, 0) for part in batch[:4]))
    fewer = augmented(many, codec, 1, voice_dropout=0.5)
    found = codec.notes(fewer.tokens, fewer.mask, fewer.metre)
    left = np.bincount(found.row[found.measure == 0][found.onset == 0], minlength=4000)
    # Each of four voices stays with probability 1/2. With probability 1/16 none would, and one is kept.
    assert left.min() == 1
    assert abs(left.mean() - (2 + 1 / 16)) < 5 / math.sqrt(4000)


@given(performances(), st.integers(0, 1000), st.sampled_from([0.3, 1.0]))
@settings(max_examples=60)
def test_timing_jitter_moves_onsets_by_one_step_and_keeps_their_order(score, seed, probability):
    batch = windows(score, PERFORMANCE)
    moved = augmented(batch, PERFORMANCE, seed, timing_jitter=probability)
    assert_canonical(moved, PERFORMANCE)
    np.testing.assert_array_equal(moved.tokens[..., 1:], batch.tokens[..., 1:])
    old, new = batch.tokens[..., 0], moved.tokens[..., 0]
    assert (np.abs(new - old) <= 1).all() and ((old == 0) == (new == 0)).all()
    both = batch.mask[..., 1:] & (old[..., 1:] > 0)
    np.testing.assert_array_equal(np.sign(np.diff(new, axis=-1))[both], np.sign(np.diff(old, axis=-1))[both])
    kept = {"note_density", "mean_pitch", "pitch_range", "contour", "mean_interval", "pitch_class_entropy"}
    kept |= {"scale_consistency", "mean_velocity", "velocity_spread"}
    count = [len(PERFORMANCE.notes(part.tokens, part.mask, part.metre).row) for part in (batch, moved)]
    assert count[0] == count[1]
    assert_kept(moved, batch, PERFORMANCE, set(COLUMN) - kept)


@given(st.sampled_from([(4, 48), (3, 36), (1, 12)]), st.data(), st.integers(0, 1000))
def test_timing_jitter_keeps_onsets_apart_and_in_their_measure(metre, data, seed):
    quarters, num_positions = metre
    places = sorted(data.draw(st.sets(st.integers(0, num_positions - 1) | st.just(num_positions - 1), max_size=16)))
    notes = np.array([(40 * place, 40, 60, 80, 0) for place in places], np.int32).reshape(-1, 5)
    batch = windows(Score(notes, np.array([(0, quarters, 4)], np.int32)), PERFORMANCE, 1)
    many = Batch(*(np.repeat(part, 50, 0) for part in batch[:4]))
    new = augmented(many, PERFORMANCE, seed, timing_jitter=1.0).tokens[:, 0, : len(places), 0]
    assert (np.diff(new, axis=1) > 0).all() and (new >= 1).all() and (new <= num_positions).all()


def test_timing_jitter_moves_onsets_both_ways_with_its_probability():
    notes = np.array([(480 * n, 240, 60 + pitch, 80, 0) for n in range(4) for pitch in (0, 4)], np.int32)
    batch = windows(Score(notes, np.array([(0, 4, 4)], np.int32)), PERFORMANCE, 1)
    many = Batch(*(np.repeat(part, 4000, 0) for part in batch[:4]))
    shift = augmented(many, PERFORMANCE, 2, timing_jitter=0.4).tokens[:, 0, :8, 0] - many.tokens[:, 0, :8, 0]
    assert (shift[:, ::2] == shift[:, 1::2]).all()  # a chord moves together
    error = 5 * math.sqrt(0.2 * 0.8 / 12000)
    assert abs((shift[:, 2:] == 1).mean() - 0.2) < error and abs((shift[:, 2:] == -1).mean() - 0.2) < error
    assert (shift[:, :2] >= 0).all()  # no earlier than the start of the measure


def performance_source() -> WindowSource:
    scores = []
    for seed in range(6):
        melody = random_melody(seed, 6)
        notes = melody.notes.copy()
        notes[:, 4] = np.arange(len(notes)) % 3
        scores.append(dataclasses.replace(melody, notes=notes))
    return WindowSource(scores, PERFORMANCE, 4, 1)


ALL: dict[str, Any] = {"transpose": 5, "velocity_scale": 0.3, "voice_dropout": 0.3, "timing_jitter": 0.3}


def test_draws_depend_only_on_the_seed_and_the_position():
    source = performance_source()
    whole = make_train_iterator(source, 12, seed=3, **ALL)
    half = [make_train_iterator(source, 12, seed=3, process_index=n, process_count=2, **ALL) for n in range(2)]
    resumed = make_train_iterator(source, 12, seed=3, **ALL)
    batches = [next(whole) for _ in range(4)]
    parts = [[next(iterator) for _ in range(4)] for iterator in half]
    resumed.set_state({**resumed.get_state(), "next_batch": 2})
    third = next(resumed)
    for iterator in (whole, *half, resumed):
        iterator.close()
    for number, batch in enumerate(batches):
        for mine, one, other in zip(batch[:4], parts[0][number][:4], parts[1][number][:4], strict=True):
            np.testing.assert_array_equal(mine, np.concatenate([one, other]))
    np.testing.assert_array_equal(third.tokens, batches[2].tokens)
    assert not np.array_equal(batches[0].tokens, source.cut(batches[0].index).tokens)


@pytest.mark.parametrize("name", ALL)
def test_a_state_with_other_augmentation_is_refused(name):
    source = performance_source()
    state = make_train_iterator(source, 4, **ALL).get_state()
    with pytest.raises(ValueError, match=rf"{name} = {ALL[name]}, this run has 0"):
        make_train_iterator(source, 4, **{**ALL, name: 0}).set_state(state)


@pytest.mark.parametrize(
    ("codec", "settings_", "message"),
    [
        (MELODY, {"velocity_scale": 0.2}, "velocity_scale = 0.2: allowed is 0, or a codec with velocities"),
        (MELODY, {"voice_dropout": 0.2}, "voice_dropout = 0.2: allowed is 0, or a codec of several voices"),
        (VOICES, {"timing_jitter": 0.2}, "timing_jitter = 0.2: allowed is 0, or codec 'performance'"),
        (PerformanceCodec(), {"voice_dropout": 0.2}, "a codec of several voices; this one is PerformanceCodec"),
        (PerformanceCodec(velocities=1), {"velocity_scale": 0.2}, "a codec with velocities"),
    ],
)
def test_augmentation_that_a_codec_cannot_do_is_refused(codec, settings_, message):
    source = WindowSource([random_melody(0, 4)], codec, 4, 4)
    with pytest.raises(ConfigError, match=message):
        make_train_iterator(source, 4, **settings_)


def test_numbers_outside_their_range_are_refused():
    with pytest.raises(ValueError, match=r"voice_dropout = 1\.5: allowed"):
        Augmentation(voice_dropout=1.5)
    with pytest.raises(ValueError, match="transpose = -1: allowed"):
        Augmentation(transpose=-1)


def test_uniform_numbers_are_uniform_and_independent():
    draws = uniform(0, 3, np.arange(20000), 4)
    assert draws.shape == (20000, 4) and draws.min() >= 0 and draws.max() < 1
    assert abs(draws.mean(0) - 0.5).max() < 5 / math.sqrt(12 * 20000)
    assert abs(np.corrcoef(draws.T) - np.eye(4)).max() < 5 / math.sqrt(20000)
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 5 / math.sqrt(20000)
    np.testing.assert_array_equal(uniform(0, 3, np.arange(5), 2), draws[:5, :2])
