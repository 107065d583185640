"""Window signatures and the dealing out of connected components."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from musicvae_jax.codec.grid_codec import MelodyCodec
from musicvae_jax.codec.score import Metre, Score
from musicvae_jax.data.splits import assign, component_sizes, components, sharing, window_signatures
from tests.data.melodies import melodies, random_melody

CODEC = MelodyCodec()
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
items_of_pieces = st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=12)


def signatures(score: Score, length: int = 4) -> list[bytes]:
    return window_signatures(CODEC.encode(score), CODEC, length)


@given(melodies(), st.integers(-30, 30), st.integers(1, 5))
def test_signatures_do_not_depend_on_the_key(score: Score, semitones: int, length: int) -> None:
    moved = score.notes.copy()
    moved[:, 2] += semitones
    assert signatures(score, length) == signatures(dataclasses.replace(score, notes=moved), length)


@given(melodies(min_measures=4), st.integers(1, 3), st.data())
def test_a_signature_depends_on_its_window_alone(score: Score, length: int, data: st.DataObject) -> None:
    encoded = CODEC.encode(score)
    start = data.draw(st.integers(0, len(encoded.metre) - length))
    window = np.s_[start : start + length]
    alone = CODEC.decode(encoded.tokens[window], encoded.metre[window])
    # What sounds on from before the window is struck again in it.
    sounding = [note for note in CODEC.quantise(score).notes if note[0] < score.measures[start, 0] < note[0] + note[1]]
    assume(not sounding)
    assert set(signatures(alone, length)) <= set(signatures(score, length))


@given(melodies(min_measures=1, max_measures=4), st.integers(0, 200))
def test_a_change_that_can_be_heard_changes_the_signature(score: Score, number: int) -> None:
    assume(len(score.notes) > 1)
    notes = score.notes.copy()
    notes[number % len(notes), 2] += 1
    assert signatures(score, 4) != signatures(dataclasses.replace(score, notes=notes), 4)


def test_the_metre_is_heard() -> None:
    common = random_melody(0, 4)
    halves = dataclasses.replace(common, measures=np.array([[960 * measure, 2, 4] for measure in range(8)], np.int32))
    cut = dataclasses.replace(common, measures=common.measures - [0, 2, 2] + [0, 0, 0])
    assert cut.metre(0) == Metre(2, 2)
    assert len({tuple(signatures(score)) for score in (common, halves, cut)}) == 3


def test_a_short_piece_is_one_window_and_silence_none() -> None:
    assert len(signatures(random_melody(0, 2))) == 1
    assert len(signatures(random_melody(0, 9))) == 6
    silence = dataclasses.replace(random_melody(0, 9), notes=np.zeros((0, 5), np.int32))
    held = dataclasses.replace(silence, notes=np.array([[0, silence.end, 60, 80, 0]], np.int32))
    assert signatures(silence) == signatures(held) == []


@given(items_of_pieces)
def test_components_are_what_can_be_reached(pieces: list[set[int]]) -> None:
    labels = components(pieces)
    for start in range(len(pieces)):
        reached = {start}
        while True:
            heard = set().union(*(pieces[piece] for piece in reached))
            wider = reached | {piece for piece, items in enumerate(pieces) if items & heard}
            if wider == reached:
                break
            reached = wider
        assert set(np.flatnonzero(labels == labels[start]).tolist()) == reached
        assert labels[start] == min(reached)
    assert sum(size * count for size, count in component_sizes(labels).items()) == len(pieces)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_components_are_dealt_out_whole_and_the_same_in_any_order(groups: list[int], random) -> None:
    ids = [f"book/{number:04d}" for number in range(len(groups))]
    labels = components([{group} for group in groups])
    splits = dict(zip(ids, assign(ids, labels, SHARES), strict=True))
    for group in set(groups):
        assert len({splits[id] for id, mine in zip(ids, groups, strict=True) if mine == group}) == 1
    counts = Counter(splits.values())
    assert counts["validation"] <= round(0.1 * len(ids)) and counts["test"] <= round(0.1 * len(ids))
    largest = max(Counter(groups).values())
    assert any(
        len([id for id, mine in zip(ids, groups, strict=True) if mine == group and splits[id] == "train"]) == largest
        for group in groups
    )
    shuffled = list(range(len(ids)))
    random.shuffle(shuffled)
    relabelled = components([{groups[number]} for number in shuffled])
    again = assign([ids[number] for number in shuffled], relabelled, SHARES)
    assert dict(zip([ids[number] for number in shuffled], again, strict=True)) == splits


def test_the_shares_are_met_when_components_are_small() -> None:
    ids = [f"book/{number:04d}" for number in range(1000)]
    counts = Counter(assign(ids, np.arange(1000), SHARES))
    assert counts == {"train": 800, "validation": 100, "test": 100}


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="allowed are shares that add up to 1"):
        assign([], np.array([], np.int64), {"train": 0.5})


@given(items_of_pieces, items_of_pieces)
def test_sharing_is_a_common_item(pieces: list[set[int]], others: list[set[int]]) -> None:
    assert sharing(pieces, others).tolist() == [any(mine & theirs for theirs in others) for mine in pieces]
