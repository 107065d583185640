"""Laws of window signatures, connected components and splits."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.score import Metre, Score
from musicvae_jax.data.splits import assign, component_sizes, components, sharing, window_signatures
from tests.codec.oracle import quantise
from tests.data.melodies import melodies, random_melody

CODEC = MelodyCodec()
signatures_of_pieces = st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=12)


def signatures(score: Score, length: int = 4) -> list[bytes]:
    return window_signatures(CODEC.encode(score), CODEC, length)


@given(melodies(), st.integers(-30, 30), st.integers(1, 5))
def test_signatures_do_not_depend_on_the_key(score: Score, semitones: int, length: int) -> None:
    moved = score.notes + np.array([0, 0, semitones, 0, 0], np.int32)
    assert signatures(score, length) == signatures(dataclasses.replace(score, notes=moved), length)


@given(melodies(min_measures=4), st.integers(1, 3), st.data())
def test_a_signature_depends_on_its_window_only(score: Score, length: int, data: st.DataObject) -> None:
    encoded = CODEC.encode(score)
    first = data.draw(st.integers(0, len(encoded.metre) - length))
    window = np.s_[first : first + length]
    alone = CODEC.decode(encoded.tokens[window], encoded.metre[window])
    start = score.measures[first, 0]  # decode cannot start a note that sounds across this border
    assume(not [note for note in quantise(CODEC, score).notes if note[0] < start < note[0] + note[1]])
    assert set(signatures(alone, length)) <= set(signatures(score, length))


@given(melodies(max_measures=4), st.integers(0, 200))
def test_another_interval_gives_another_signature(score: Score, number: int) -> None:
    assume(len(score.notes) > 1)
    notes = score.notes.copy()
    notes[number % len(notes), 2] += 1
    assert signatures(score) != signatures(dataclasses.replace(score, notes=notes))


def test_another_metre_gives_another_signature() -> None:
    common = random_melody(0, 4)
    halves = dataclasses.replace(common, measures=np.array([[960 * measure, 2, 4] for measure in range(8)], np.int32))
    cut = dataclasses.replace(common, measures=common.measures - [0, 2, 2])
    assert cut.metre(0) == Metre(2, 2)
    assert len({tuple(signatures(score)) for score in (common, halves, cut)}) == 3


def test_a_short_piece_has_one_window_and_silence_has_none() -> None:
    assert len(signatures(random_melody(0, 2))) == 1
    assert len(signatures(random_melody(0, 9))) == 6
    silence = dataclasses.replace(random_melody(0, 9), notes=np.zeros((0, 5), np.int32))
    held = dataclasses.replace(silence, notes=np.array([[0, silence.end, 60, 80, 0]], np.int32))
    assert signatures(silence) == signatures(held) == []


@given(signatures_of_pieces)
def test_components_are_what_can_be_reached(pieces: list[set[int]]) -> None:
    labels = components(pieces)
    for first in range(len(pieces)):
        reached: set[int] = {first}
        before: set[int] = set()
        while reached != before:
            before, found = reached, set().union(*(pieces[piece] for piece in reached))
            reached = reached | {piece for piece, items in enumerate(pieces) if items & found}
        assert set(np.flatnonzero(labels == labels[first]).tolist()) == reached
        assert labels[first] == min(reached)
    assert sum(size * count for size, count in component_sizes(labels).items()) == len(pieces)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_components_stay_whole_and_the_order_of_pieces_does_not_matter(groups: list[int], random) -> None:
    ids = [f"book/{number:04d}" for number in range(len(groups))]

    def split_of(numbers):
        labels = components([{groups[number]} for number in numbers])
        return dict(zip([ids[number] for number in numbers], assign([ids[n] for n in numbers], labels), strict=True))

    order = list(range(len(ids)))
    splits = split_of(order)
    by_group = {group: {splits[id] for id, mine in zip(ids, groups, strict=True) if mine == group} for group in groups}
    assert all(len(found) == 1 for found in by_group.values())
    sizes, counts = Counter(groups), Counter(splits.values())
    assert counts["validation"] <= round(0.1 * len(ids)) and counts["test"] <= round(0.1 * len(ids))
    assert any(by_group[group] == {"train"} for group in groups if sizes[group] == max(sizes.values()))
    random.shuffle(order)
    assert split_of(order) == splits


def test_small_components_meet_the_shares() -> None:
    ids = [f"book/{number:04d}" for number in range(1000)]
    assert Counter(assign(ids, np.arange(1000))) == {"train": 800, "validation": 100, "test": 100}
    with pytest.raises(ValueError, match="add up to 1"):
        assign([], np.array([], np.int64), {"train": 0.5})


@given(signatures_of_pieces, signatures_of_pieces)
def test_sharing_is_a_common_signature(pieces: list[set[int]], others: list[set[int]]) -> None:
    assert sharing(pieces, others).tolist() == [any(piece & other for other in others) for piece in pieces]
