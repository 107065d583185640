"""The stream of batches does not depend on who makes it, nor on where it is resumed."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec, PerformanceCodec
from musicvae_jax.codec.grid_codec import FIRST_PITCH
from musicvae_jax.codec.score import Score
from musicvae_jax.config import Config, DataConfig, TrainConfig
from musicvae_jax.data.load import load_batches, load_windows
from musicvae_jax.data.pipeline import TrainIterator, make_eval_batches, make_train_iterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import Batch
from tests.data.melodies import random_melody

CODEC = MelodyCodec()
SCORES = [random_melody(seed, 5 + seed % 7) for seed in range(12)]
SOURCE = WindowSource(SCORES, CODEC, measures=4, hop=2, min_measures=2, attributes=True)


def take(iterator: TrainIterator, count: int) -> list[Batch]:
    try:
        return [next(iterator) for _ in range(count)]
    finally:
        iterator.close()


def stream(count: int, batch_size: int = 4, start: int = 0, **options: Any) -> list[Batch]:
    iterator = make_train_iterator(SOURCE, batch_size, **{"seed": 3, "transpose": 5, **options})
    iterator.set_state({**iterator.get_state(), "next_batch": start})
    return take(iterator, count)


def join(batches: list[Batch]) -> Batch:
    tokens, mask, metre, index = map(np.concatenate, zip(*(batch[:4] for batch in batches), strict=True))
    spans = batches[0].attributes or {}
    attributes = {span: np.concatenate([batch.attributes[span] for batch in batches]) for span in spans}
    return Batch(tokens, mask, metre, index, attributes)


def assert_same(one: Batch, other: Batch) -> None:
    np.testing.assert_equal(tuple(one), tuple(other))


@given(st.integers(0, 2**40), st.integers(0, 50), st.integers(0, 6))
@settings(max_examples=15)
def test_a_resumed_iterator_continues_the_straight_run(seed: int, before: int, after: int) -> None:
    straight = make_train_iterator(SOURCE, 6, seed=seed, transpose=5)
    for _ in range(before):
        next(straight)
    state = straight.get_state()
    expected = take(straight, after + 1)
    fresh = make_train_iterator(SOURCE, 6, seed=seed, transpose=5)
    next(fresh)
    fresh.set_state(state)
    assert fresh.get_state() == state
    assert_same(join(take(fresh, after + 1)), join(expected))


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_share_the_global_batch_by_rows(process_count: int) -> None:
    shards = [stream(20, 12, process_index=p, process_count=process_count) for p in range(process_count)]
    for step, batch in enumerate(stream(20, 12)):
        assert_same(join([shard[step] for shard in shards]), batch)


def test_the_stream_does_not_depend_on_the_batch_size() -> None:
    assert_same(join(stream(30, 4)), join(stream(12, 10)))


def test_worker_processes_make_the_same_stream() -> None:
    assert_same(join(stream(7, num_workers=2, start=5)), join(stream(7, start=5)))


def test_every_epoch_has_every_window_once_in_another_order() -> None:
    epochs = [batch.index.tolist() for seed in (0, 1) for batch in stream(3, len(SOURCE), seed=seed)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(len(SOURCE)))
    assert len(set(map(tuple, epochs))) == len(epochs)


def test_the_order_is_the_same_on_every_machine() -> None:
    (batch,) = stream(1, 8, seed=0)
    assert batch.index.tolist() == [16, 40, 19, 38, 41, 32, 13, 0]
    assert shifts_of(batch, SOURCE) == [4, 5, 2, -1, -5, 4, 3, 3]


def shifts_of(batch: Batch, source: WindowSource) -> list[int]:
    """By how many semitones each row was transposed."""
    plain = source.gather(batch.index)
    onsets = CODEC.is_onset(plain.tokens)
    return [int((batch.tokens[row] - plain.tokens[row])[onsets[row]][0]) for row in range(len(onsets))]


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=20)
def test_transposition_moves_onsets_only_and_can_be_undone(seed: int, limit: int) -> None:
    (moved,) = stream(1, 32, seed=seed, transpose=limit)
    plain = SOURCE.gather(moved.index)
    onsets = CODEC.is_onset(plain.tokens)
    np.testing.assert_array_equal(CODEC.is_onset(moved.tokens), onsets)
    np.testing.assert_array_equal(moved.tokens[~onsets], plain.tokens[~onsets])
    for row, (tokens, before) in enumerate(zip(moved.tokens, plain.tokens, strict=True)):
        shifts = np.unique((tokens - before)[onsets[row]])
        assert len(shifts) == 1 and abs(shifts[0]) <= limit
        np.testing.assert_array_equal(CODEC.transpose(tokens, -int(shifts[0])), before)


def with_first_pitch(score: Score, pitch: int) -> Score:
    notes = score.notes.copy()
    notes[0, 2] = pitch
    return dataclasses.replace(score, notes=notes)


def test_transpositions_are_uniform_and_stay_in_range() -> None:
    middle = random_melody(0, 8, 50, 70)
    for score, allowed in (
        (with_first_pitch(middle, 1), range(-1, 6)),
        (with_first_pitch(middle, 126), range(-5, 2)),
        (middle, range(-5, 6)),
    ):
        source = WindowSource([score], CODEC, 4, 1, 4)
        (batch,) = take(make_train_iterator(source, 5000, seed=0, transpose=5), 1)
        pitches = batch.tokens[CODEC.is_onset(batch.tokens)] - FIRST_PITCH
        assert pitches.min() >= 0 and pitches.max() <= 127
        values, counts = np.unique(shifts_of(batch, source), return_counts=True)
        assert values.tolist() == list(allowed)
        expected = 5000 / len(allowed)
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)  # 5 standard errors


@given(st.integers(1, 40), st.sampled_from([1, 2, 4]), st.one_of(st.none(), st.integers(1, 100)))
def test_evaluation_covers_every_window_exactly_once(rows: int, process_count: int, num_examples: int | None) -> None:
    options: dict[str, Any] = {"num_examples": num_examples, "process_count": process_count}
    batch_size = rows * process_count
    shards = [list(make_eval_batches(SOURCE, batch_size, process_index=p, **options)) for p in range(process_count)]
    assert len({len(shard) for shard in shards}) == 1
    batches = [join(list(parts)) for parts in zip(*shards, strict=True)]
    assert all(len(batch.index) == batch_size for batch in batches)
    whole = join(batches)
    real = whole.index >= 0
    assert not whole.mask[~real].any() and not whole.metre[~real].any() and not whole.tokens[~real].any()
    for batch in batches:  # the windows of a batch are far apart
        assert (np.diff(batch.index[batch.index >= 0]) >= len(batches)).all()
    assert len(set(whole.index[real].tolist())) == real.sum()
    assert real.sum() == min(num_examples or len(SOURCE), len(SOURCE))
    assert (~real).sum() < batch_size
    plain = SOURCE.gather(whole.index[real])
    for part, expected in zip(whole[:4], plain[:4], strict=True):
        np.testing.assert_array_equal(part[real], expected)
    for span, values in whole.attributes.items():
        np.testing.assert_array_equal(values[real], plain.attributes[span])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size = 5"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"process_index": 2, "process_count": 2}, "process_index = 2"),
        ({"transpose": -1}, "transpose = -1"),
        ({"num_workers": -1}, "num_workers = -1"),
        ({"seed": -1}, "seed = -1"),
        (
            {"source": WindowSource([random_melody(0, 2)], CODEC, 4, 4, 4)},
            "no training windows: 1 pieces, refused .*short",
        ),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_train_iterator(**{"source": SOURCE, "batch_size": 4, **arguments})


def test_the_state_of_another_stream_is_refused() -> None:
    state = make_train_iterator(SOURCE, 4, seed=1).get_state()
    with pytest.raises(ValueError, match="batch_size = 4, this run has 8"):
        make_train_iterator(SOURCE, 8, seed=1).set_state(state)
    with pytest.raises(ValueError, match="num_examples = 0: allowed"):
        make_eval_batches(SOURCE, 4, num_examples=0)


def test_batches_are_those_of_the_config() -> None:
    source = WindowSource([random_melody(seed, 6) for seed in range(3)], PerformanceCodec(slots=12, tracks=2), 2, 1)
    augmentation: dict[str, Any] = {"transpose": 3, "velocity_scale": 0.2, "voice_dropout": 0.3, "timing_jitter": 0.4}
    config = Config(data=DataConfig(**augmentation), train=TrainConfig(seed=5, batch_size=6))
    whole, *parts = (
        load_batches(config, source, process_index=index, process_count=count)
        for index, count in ((0, 1), (0, 2), (1, 2))
    )
    identity = {"num_windows": len(source), "batch_size": 6, "seed": 5, **augmentation}
    assert whole.get_state() == {"next_batch": 0, **identity}
    assert_same(join([batch for part in parts for batch in take(part, 1)]), join(take(whole, 1)))


def test_only_training_windows_overlap_or_are_left_out(folk_data_dir) -> None:
    """Other splits cover every measure once, whatever the config says about training."""

    def num_windows(split, **changes):
        return len(load_windows(Config(data=DataConfig(data_dir=folk_data_dir, measures=4, **changes)), split))

    usual, overlapping, long = {"hop": 4}, {"hop": 1}, {"hop": 4, "min_measures": 4}
    assert num_windows("test", **usual) == num_windows("test", **overlapping) == num_windows("test", **long)
    assert num_windows("train", **long) < num_windows("train", **usual) < num_windows("train", **overlapping)
