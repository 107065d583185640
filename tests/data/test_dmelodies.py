"""dMelodies: factors to melodies and back, and the data set."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.attributes.dmelodies import FACTORS, REST, to_melody
from musicvae_jax.codec.score import check_score
from musicvae_jax.data.datasets import dmelodies
from musicvae_jax.data.datasets.dmelodies import (
    NUM_MELODIES,
    DMelodies,
    choose_splits,
    from_melody,
    melody_score,
    to_factors,
    to_index,
)
from musicvae_jax.data.prepare import list_styles, prepare, split_records
from musicvae_jax.data.records import to_score
from musicvae_jax.data.windows import WindowSource

numbers = st.integers(0, NUM_MELODIES - 1)
R = REST


@pytest.mark.parametrize(
    ("factors", "number", "melody"),
    [
        # C major in octave 4, the first six eighths of each measure, all chords up: C E G, F A C, G B D, C E G.
        ([0] * 9, 0, [60, 64, 67, 65, 69, 72, R, R, 67, 71, 74, 60, 64, 67, R, R]),
        # D minor in octave 5 (the root is 74), chords 2 and 3 down: D F A, G Bb D, A C# E.
        ([2, 1, 1, 1, 2, 0, 1, 1, 0], 276_454, [74, 77, 81, 86, 82, R, 79, R, 88, 85, 81, 74, 77, R, R, 81]),
        # B blues in octave 6 (the root is 95), the last six eighths of each measure, all chords down.
        (
            [11, 2, 2, 27, 27, 1, 1, 1, 1],
            NUM_MELODIES - 1,
            [R, R, 101, 98, 95, 107, 104, 100, R, R, 109, 105, 101, 101, 98, 95],
        ),
    ],
    ids=["first", "between", "last"],
)
def test_melodies_by_hand(factors: list[int], number: int, melody: list[int]) -> None:
    assert list(FACTORS.values()) == [12, 3, 3, 28, 28, 2, 2, 2, 2] and NUM_MELODIES == 1_354_752
    assert to_factors(number).tolist() == factors
    assert to_index(np.array(factors)) == number
    assert to_melody(np.array(factors)).tolist() == melody


@given(st.lists(numbers, min_size=1, max_size=50))
def test_numbers_factors_and_melodies_are_one_to_one(index: list[int]) -> None:
    factors = to_factors(np.array(index))
    melodies = to_melody(factors)
    assert factors.dtype == np.int32 and melodies.dtype == np.int8
    np.testing.assert_array_equal(from_melody(melodies), factors)
    np.testing.assert_array_equal(to_index(factors), index)
    sounding = melodies[melodies != REST]
    assert sounding.size == 12 * len(index) and sounding.min() >= 60 and sounding.max() <= 109
    assert to_factors(np.array([index, index])).shape == (2, len(index), 9)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(23, id="sample")])
def test_melodies_are_distinct(step: int) -> None:
    index = np.arange(0, NUM_MELODIES, step)
    melodies = to_melody(to_factors(index))
    assert len(np.unique(np.ascontiguousarray(melodies).view("V16"))) == len(index)
    np.testing.assert_array_equal(to_index(from_melody(melodies)), index)


@given(numbers, st.integers(0, 15), st.integers(-1, 127))
def test_other_melodies_and_factors_are_refused(number: int, eighth: int, pitch: int) -> None:
    melody = to_melody(to_factors(number))
    melody[eighth] = pitch
    try:
        factors = from_melody(melody)
    except ValueError as error:
        assert str(melody.tolist()) in str(error)  # noqa: PT017 -- some changes give another melody of the data set
    else:
        np.testing.assert_array_equal(to_melody(factors), melody)
    with pytest.raises(ValueError, match="allowed"):
        from_melody(np.full(16, REST))
    with pytest.raises(ValueError, match="out of bounds"):
        to_factors(np.array(NUM_MELODIES))
    with pytest.raises(ValueError, match="invalid entry"):
        to_index(np.array([12, 0, 0, 0, 0, 0, 0, 0, 0]))


@given(numbers)
def test_tokens_hold_the_factors(number: int) -> None:
    """The even slots of the grid are the eighths."""
    factors = to_factors(np.array(number))
    score = melody_score(factors)
    check_score(score)
    encoded = MelodyCodec(slots=16).encode(score)
    assert not encoded.dropped
    tokens = encoded.tokens[..., 0].reshape(16, 2)
    onsets = tokens[:, 0] >= 2
    np.testing.assert_array_equal(from_melody(np.where(onsets, tokens[:, 0] - 2, REST)), factors)
    assert (tokens[:, 1] == 0).all()  # a note lasts an eighth, so its second slot is HOLD
    assert score.chords[:, 2].tolist() == [(factors[0] + root) % 12 for root in (0, 5, (7, 7, 6)[factors[2]], 0)]
    assert score.chords[0, 0] == score.notes[0, 0] and score.chords[-1, :2].sum() == score.end


def test_the_key_is_that_of_the_scale() -> None:
    keys = {}
    for tonic in range(12):
        for scale in range(3):
            score = melody_score(np.array([tonic, 0, scale, 0, 0, 0, 0, 0, 0]))
            keys[tonic, score.mode] = score.fifths
    assert [keys[tonic, "major"] for tonic in range(12)] == [0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5]
    assert [keys[tonic, "minor"] for tonic in (9, 4, 2, 0)] == [0, 1, -1, -3]
    assert {keys[tonic, "blues"] for tonic in range(12)} == {None}


def test_splits_have_their_shares_and_agree_between_configs() -> None:
    few, many = choose_splits(2_000), choose_splits(20_000)
    for split, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        assert len(few[split]) == pytest.approx(share * 2_000, abs=1)
        assert not any(set(few[split]) & set(many[other]) for other in many if other != split)
        values = to_factors(many[split])
        for column, size in enumerate(FACTORS.values()):  # every factor is uniform, within six standard errors
            counts = np.bincount(values[:, column], minlength=size)
            mean = len(values) / size
            assert np.abs(counts - mean).max() < 6 * np.sqrt(mean)


def test_the_data_set_holds_the_melodies_with_their_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DMelodies.BUILDER_CONFIGS[0], "num_melodies", 300)
    monkeypatch.setattr(dmelodies, "NUM_MELODIES", 3_000)  # fewer hashes, faster
    builder = prepare("dmelodies", str(tmp_path))
    assert builder.info.metadata["factors"] == FACTORS
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {"train": 210, "validation": 60, "test": 30}
    seen = set()
    for split in builder.info.splits:
        records = split_records(builder, split)
        for record in records:
            factors = record["factors"]
            assert factors.dtype == np.int32 and record["id"] == f"dmelodies/{to_index(factors):07d}"
            np.testing.assert_array_equal(to_score(record).notes, melody_score(factors).notes)
            seen.add(int(to_index(factors)))
    assert len(seen) == 300
    assert len(WindowSource(records, MelodyCodec(slots=16), measures=2, hop=2)) == 30
    assert list_styles("dmelodies", str(tmp_path)) == ("dmelodies",)
