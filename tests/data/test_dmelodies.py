"""dMelodies: the factors and their melodies, both ways, and the data set made of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.grid_codec import MelodyCodec
from musicvae_jax.codec.score import check_score
from musicvae_jax.data.datasets import dmelodies, load_split, prepare
from musicvae_jax.data.datasets import to_score as read_back
from musicvae_jax.data.datasets.dmelodies import DMelodies, deal_out, to_score
from musicvae_jax.data.datasets.dmelodies_factors import (
    FACTORS,
    NUM_MELODIES,
    REST,
    from_steps,
    to_factors,
    to_index,
    to_steps,
)
from musicvae_jax.data.windows import WindowSource

numbers = st.integers(0, NUM_MELODIES - 1)
R = REST


def test_the_first_and_the_last_melody_by_hand() -> None:
    # C major in octave 4, the first six eighths of each measure, all chords up: C E G, F A C, G B D, C E G.
    first = [60, 64, 67, 65, 69, 72, R, R, 67, 71, 74, 60, 64, 67, R, R]
    assert to_steps(to_factors(0)).tolist() == first
    # B blues in octave 6 (the root is 60 + 24 + 11), the last six eighths, all chords down.
    last = [R, R, 101, 98, 95, 107, 104, 100, R, R, 109, 105, 101, 101, 98, 95]
    assert NUM_MELODIES == 1_354_752
    assert to_factors(NUM_MELODIES - 1).tolist() == [11, 2, 2, 27, 27, 1, 1, 1, 1]
    assert to_steps(to_factors(NUM_MELODIES - 1)).tolist() == last


def test_one_in_between_by_hand() -> None:
    # D minor, octave 5: the root is 74. Rhythm 1 is (0 1 2 3 4 6), rhythm 2 (0 1 2 3 4 7); chords 2 and 3 down.
    # I = D F A, IV = G Bb D, V = A C# E.
    factors = np.array([2, 1, 1, 1, 2, 0, 1, 1, 0])
    expected = [74, 77, 81, 86, 82, R, 79, R, 88, 85, 81, 74, 77, R, R, 81]
    assert to_steps(factors).tolist() == expected
    sizes = [12, 3, 3, 28, 28, 2, 2, 2, 2]
    assert list(FACTORS.values()) == sizes
    number = 0
    for value, size in zip(factors.tolist(), sizes, strict=True):  # the last factor is fastest
        number = number * size + value
    assert to_index(factors) == number


@given(st.lists(numbers, min_size=1, max_size=50))
def test_numbers_factors_and_melodies_are_one_to_one(index: list[int]) -> None:
    factors = to_factors(np.array(index))
    steps = to_steps(factors)
    assert factors.dtype == np.int32 and steps.dtype == np.int8
    np.testing.assert_array_equal(from_steps(steps), factors)
    np.testing.assert_array_equal(to_index(factors), index)
    sounding = steps[steps != REST]
    assert sounding.size == 12 * len(index) and sounding.min() >= 60 and sounding.max() <= 109
    assert to_factors(np.array([index, index])).shape == (2, len(index), 9)


def test_a_sample_of_melodies_is_distinct() -> None:
    steps = to_steps(to_factors(np.arange(0, NUM_MELODIES, 23)))
    assert len(np.unique(steps, axis=0)) == len(steps) == 58_903


@pytest.mark.slow
def test_all_melodies_are_distinct() -> None:
    index = np.arange(NUM_MELODIES)
    steps = to_steps(to_factors(index))
    assert len(np.unique(np.ascontiguousarray(steps).view("V16"))) == NUM_MELODIES
    np.testing.assert_array_equal(to_index(from_steps(steps)), index)
    assert steps[steps != REST].min() == 60 and steps.max() == 109


@given(numbers, st.integers(0, 15), st.integers(-1, 127))
def test_what_is_no_melody_is_refused(number: int, place: int, value: int) -> None:
    steps = to_steps(to_factors(number))
    steps[place] = value
    try:
        factors = from_steps(steps)
    except ValueError as error:
        assert str(steps.tolist()) in str(error)  # noqa: PT017 -- both outcomes are right, for different values
    else:
        np.testing.assert_array_equal(to_steps(factors), steps)
    with pytest.raises(ValueError, match="allowed: what to_steps gives"):
        from_steps(np.full(16, REST))
    with pytest.raises(ValueError, match="out of bounds"):
        to_factors(np.array(NUM_MELODIES))
    with pytest.raises(ValueError, match="invalid entry"):
        to_index(np.array([12, 0, 0, 0, 0, 0, 0, 0, 0]))


@given(numbers)
def test_the_melody_codec_reads_the_factors_back(number: int) -> None:
    """Nothing is lost on the way from factors to tokens: the grid's slots 0, 2, 4, ... are the eighths."""
    factors = to_factors(np.array(number))
    score = to_score(factors, to_steps(factors))
    check_score(score)
    codec = MelodyCodec(slots=16)
    encoded = codec.encode(score)
    assert not encoded.dropped
    tokens = encoded.tokens[..., 0].reshape(16, 2)
    onsets = tokens[:, 0] >= 2
    np.testing.assert_array_equal(from_steps(np.where(onsets, tokens[:, 0] - 2, REST)), factors)
    assert (tokens[:, 1] == 0).all()  # every note lasts an eighth, and its second half is a hold
    assert score.chords[:, 2].tolist() == [(factors[0] + root) % 12 for root in (0, 5, (7, 7, 6)[factors[2]], 0)]
    assert score.chords[0, 0] == score.notes[0, 0] and score.chords[-1, :2].sum() == score.end


def test_the_key_is_the_scales() -> None:
    keys = {}
    for tonic in range(12):
        for scale in range(3):
            factors = np.array([tonic, 0, scale, 0, 0, 0, 0, 0, 0])
            score = to_score(factors, to_steps(factors))
            keys[tonic, score.mode] = score.fifths
    assert [keys[tonic, "major"] for tonic in range(12)] == [0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5]
    assert [keys[tonic, "minor"] for tonic in (9, 4, 2, 0)] == [0, 1, -1, -3]
    assert {keys[tonic, "blues"] for tonic in range(12)} == {None}


def test_splits_are_dealt_out_evenly_and_agree() -> None:
    some, more = deal_out(2_000), deal_out(20_000)
    for split, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        assert len(some[split]) == pytest.approx(share * 2_000, abs=1)
        for other in more:
            if other != split:
                assert not set(some[split]) & set(more[other])
        values = to_factors(more[split])
        for column, size in enumerate(FACTORS.values()):  # every factor is uniform, by a bound of six sigma
            counts = np.bincount(values[:, column], minlength=size)
            mean = len(values) / size
            assert np.abs(counts - mean).max() < 6 * np.sqrt(mean)


def test_the_data_set_holds_the_melodies_with_their_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DMelodies.BUILDER_CONFIGS[0], "num_melodies", 300)
    monkeypatch.setattr(dmelodies, "NUM_MELODIES", 3_000)  # hashes of all of them take a second
    info = prepare("dmelodies", str(tmp_path)).info
    assert info.metadata["factors"] == FACTORS
    assert {name: split.num_examples for name, split in info.splits.items()} == {
        "train": 210,
        "validation": 60,
        "test": 30,
    }
    seen = []
    for split in info.splits:
        records = load_split("dmelodies", str(tmp_path), split)
        for record in records[:]:
            score = read_back(record)
            factors = record["factors"]
            assert factors.dtype == np.int32 and record["id"] == f"dmelodies/{to_index(factors):07d}"
            np.testing.assert_array_equal(score.notes, to_score(factors, to_steps(factors)).notes)
            seen.append(int(to_index(factors)))
    assert len(set(seen)) == len(seen) == 300
    assert len(WindowSource(records, MelodyCodec(slots=16), measures=2, hop=2)) == 30


def test_unknown_configs_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dmelodies has no config 'ful': did you mean full"):
        prepare("dmelodies/ful", str(tmp_path))
    with pytest.raises(ValueError, match="folk_tunes has no config 'full': it has none"):
        prepare("folk_tunes/full", str(tmp_path))
