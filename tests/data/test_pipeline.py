"""The stream of batches: the same whoever makes it and wherever it was resumed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec.grid_codec import FIRST_PITCH, MelodyCodec
from musicvae_jax.codec.score import Score
from musicvae_jax.data.pipeline import TrainIterator, make_eval_batches, make_train_iterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.types import Batch
from tests.data.melodies import random_melody

CODEC = MelodyCodec()
SOURCE = WindowSource(
    [random_melody(seed, 5 + seed % 7) for seed in range(12)], CODEC, measures=4, hop=2, min_measures=2
)


def take(iterator: TrainIterator, count: int) -> list[Batch]:
    try:
        return [next(iterator) for _ in range(count)]
    finally:
        iterator.close()


def join(batches: list[Batch]) -> Batch:
    return Batch(*map(np.concatenate, zip(*(batch[:4] for batch in batches), strict=True)))


def assert_same(one: Batch, other: Batch) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


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
    started = make_train_iterator(SOURCE, 6, seed=seed, transpose=5, start=before)
    assert_same(join(take(started, after + 1)), join(expected))


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_share_the_global_batch_by_rows(process_count: int) -> None:
    whole = take(make_train_iterator(SOURCE, 12, seed=7, transpose=5), 20)
    shards = [
        take(make_train_iterator(SOURCE, 12, seed=7, transpose=5, process_index=p, process_count=process_count), 20)
        for p in range(process_count)
    ]
    for step, batch in enumerate(whole):
        assert_same(join([shard[step] for shard in shards]), batch)


def test_the_stream_does_not_depend_on_the_batch_size() -> None:
    one = join(take(make_train_iterator(SOURCE, 4, seed=3, transpose=5), 30))
    assert_same(one, join(take(make_train_iterator(SOURCE, 10, seed=3, transpose=5), 12)))


def test_worker_processes_make_the_same_stream() -> None:
    with_workers = make_train_iterator(SOURCE, 4, seed=3, transpose=5, num_workers=2, start=5)
    assert_same(
        join(take(with_workers, 7)), join(take(make_train_iterator(SOURCE, 4, seed=3, transpose=5, start=5), 7))
    )


def test_every_epoch_has_every_window_once_in_another_order() -> None:
    epochs = [
        batch.index.tolist()
        for seed in (0, 1)
        for batch in take(make_train_iterator(SOURCE, len(SOURCE), seed=seed), 3)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(len(SOURCE)))
    assert len(set(map(tuple, epochs))) == len(epochs)


def test_the_order_is_the_same_on_every_machine() -> None:
    batch = next(make_train_iterator(SOURCE, 8, seed=0, transpose=5))
    assert batch.index.tolist() == [16, 40, 19, 38, 41, 32, 13, 0]
    assert shifts_of(batch, SOURCE) == [4, 5, 2, -1, -5, 4, 3, 3]


def shifts_of(batch: Batch, source: WindowSource) -> list[int]:
    """By how many semitones each row was moved."""
    plain = source.gather(batch.index)
    onsets = CODEC.is_onset(plain.tokens)
    return [int((batch.tokens[row] - plain.tokens[row])[onsets[row]][0]) for row in range(len(onsets))]


@given(st.integers(0, 1000), st.integers(1, 12))
@settings(max_examples=20)
def test_transposition_moves_onsets_only_and_can_be_undone(seed: int, limit: int) -> None:
    moved = next(make_train_iterator(SOURCE, 32, seed=seed, transpose=limit))
    plain = SOURCE.gather(moved.index)
    onsets = CODEC.is_onset(plain.tokens)
    np.testing.assert_array_equal(CODEC.is_onset(moved.tokens), onsets)
    np.testing.assert_array_equal(moved.tokens[~onsets], plain.tokens[~onsets])
    for row, (tokens, before) in enumerate(zip(moved.tokens, plain.tokens, strict=True)):
        shifts = np.unique((tokens - before)[onsets[row]])
        assert len(shifts) == 1 and abs(shifts[0]) <= limit
        np.testing.assert_array_equal(CODEC.transpose(tokens, -int(shifts[0])), before)


def test_transpositions_are_uniform_and_stay_in_range() -> None:
    middle = random_melody(0, 8, 50, 70)
    for score, allowed in (
        (with_first_pitch(middle, 1), range(-1, 6)),
        (with_first_pitch(middle, 126), range(-5, 2)),
        (middle, range(-5, 6)),
    ):
        source = WindowSource([score], CODEC, 4, 1, 4)
        batch = next(make_train_iterator(source, 5000, seed=0, transpose=5))
        pitches = batch.tokens[CODEC.is_onset(batch.tokens)] - FIRST_PITCH
        assert pitches.min() >= 0 and pitches.max() <= 127
        values, counts = np.unique(shifts_of(batch, source), return_counts=True)
        assert values.tolist() == list(allowed)
        expected = 5000 / len(allowed)
        assert abs(counts - expected).max() < 5 * np.sqrt(expected)  # 5 standard errors


def with_first_pitch(score: Score, pitch: int) -> Score:
    notes = score.notes.copy()
    notes[0, 2] = pitch
    return dataclasses.replace(score, notes=notes)


@given(st.integers(1, 40), st.sampled_from([1, 2, 4]), st.one_of(st.none(), st.integers(1, 100)))
def test_evaluation_covers_every_window_exactly_once(rows: int, process_count: int, num_examples: int | None) -> None:
    batch_size = rows * process_count
    shards = [
        list(
            make_eval_batches(
                SOURCE, batch_size, num_examples=num_examples, process_index=p, process_count=process_count
            )
        )
        for p in range(process_count)
    ]
    assert len({len(shard) for shard in shards}) == 1
    batches = [join(list(parts)) for parts in zip(*shards, strict=True)]
    assert all(len(batch.index) == batch_size for batch in batches)
    whole = join(batches)
    real = whole.index >= 0
    assert not whole.mask[~real].any() and not whole.metre[~real].any() and not whole.tokens[~real].any()
    for batch in batches:  # of many pieces
        assert (np.diff(batch.index[batch.index >= 0]) >= len(batches)).all()
    assert len(set(whole.index[real].tolist())) == real.sum()
    assert real.sum() == min(num_examples or len(SOURCE), len(SOURCE))
    assert (~real).sum() < batch_size
    assert_same(Batch(*(array[real] for array in whole[:4])), SOURCE.gather(whole.index[real]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size = 5: allowed is a multiple of process_count = 2"),
        ({"batch_size": 0}, "batch_size = 0: allowed"),
        ({"process_index": 2, "process_count": 2}, "process_index = 2: allowed is 0 to process_count - 1 = 1"),
        ({"transpose": -1}, "transpose = -1: allowed is 0 or more"),
        ({"num_workers": -1}, "num_workers = -1: allowed is 0 or more"),
        ({"seed": -1}, "seed = -1: allowed is 0 or more"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_train_iterator(SOURCE, **{"batch_size": 4, **arguments})


def test_a_source_without_windows_is_refused_with_the_reasons() -> None:
    with pytest.raises(ValueError, match=r"no training windows: 1 pieces, refused \{'short': 1\}"):
        make_train_iterator(WindowSource([random_melody(0, 2)], CODEC, 4, 4, 4), 4)


def test_the_state_of_another_stream_is_refused() -> None:
    state = make_train_iterator(SOURCE, 4, seed=1).get_state()
    with pytest.raises(ValueError, match="batch_size = 4, this run has 8"):
        make_train_iterator(SOURCE, 8, seed=1).set_state(state)
    with pytest.raises(ValueError, match="num_examples = 0: allowed"):
        make_eval_batches(SOURCE, 4, num_examples=0)
