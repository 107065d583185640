"""Distances of windows against loops, on constructed copies."""

import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, Metre, PerformanceCodec
from musicvae_jax.codec.base import Codec
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.novelty import TRANSPOSITIONS, mean_distance, nearest_distances, token_distances
from musicvae_jax.types import existing_fields, until_end
from tests.data.melodies import random_melody

MELODY = MelodyCodec(slots=16)
PERFORMANCE = PerformanceCodec(("0", "1/2"), slots=9, positions=8, tracks=2)


def music(codec: Codec, seeds):
    """Tokens and metres of one window each, in 4/4 and 3/4 in turn."""
    scores = [random_melody(seed, 2, metre=Metre(3 + seed % 2, 4)) for seed in seeds]
    batch = WindowSource(scores, codec, 2, 2).gather(np.arange(len(scores)))
    return batch.tokens, batch.metre


def distance(codec: Codec, one, other, metre) -> float:
    """Token by token."""
    mask = codec.slot_mask(metre)
    first, second = (existing_fields(part, until_end(part, mask, codec.fields), codec.fields) for part in (one, other))
    differ = [
        not (here and there and a == b)
        for here, there, a, b in zip(first.flat, second.flat, one.flat, other.flat, strict=True)
        if here or there
    ]
    return float(np.mean(differ))


@pytest.mark.parametrize("codec", [MELODY, PERFORMANCE])
def test_the_mean_distance_is_over_pairs_of_the_same_metres(codec):
    tokens, metre = music(codec, range(7))
    pairs = [(i, j) for i in range(7) for j in range(i) if i % 2 == j % 2]
    expected = np.mean([distance(codec, tokens[i], tokens[j], metre[i]) for i, j in pairs])
    assert mean_distance(tokens, metre, codec) == pytest.approx(expected)
    families = np.array([0, 1, 0, 3, 0, 5, 6])
    others = [(i, j) for i, j in pairs if families[i] != families[j]]
    expected = np.mean([distance(codec, tokens[i], tokens[j], metre[i]) for i, j in others])
    assert mean_distance(tokens, metre, codec, families) == pytest.approx(expected)


@pytest.mark.parametrize("codec", [MELODY, PERFORMANCE])
def test_two_windows_are_as_far_apart_as_their_tokens_say(codec):
    tokens, metre = music(codec, range(0, 12, 2))  # all in 3/4
    other = tokens[::-1]
    expected = [distance(codec, *pair) for pair in zip(tokens, other, metre, strict=True)]
    np.testing.assert_allclose(token_distances(tokens, other, metre, codec), expected)
    assert not token_distances(tokens, tokens, metre, codec).any()
    nothing = np.zeros_like(tokens)
    assert not token_distances(nothing, nothing, np.zeros_like(metre), codec).any()  # windows of padding


def test_constants_and_single_windows():
    tokens, metre = music(MELODY, [4, 4, 4])
    assert mean_distance(tokens, metre, MELODY) == 0
    assert np.isnan(mean_distance(tokens[:1], metre[:1], MELODY))
    assert np.isnan(mean_distance(tokens, metre, MELODY, np.zeros(3, int)))


@pytest.mark.parametrize("codec", [MELODY, PERFORMANCE])
def test_the_nearest_distance_is_over_known_windows_and_keys(codec):
    tokens, metre = music(codec, range(5))
    known, known_metre = music(codec, range(20, 27))
    found = nearest_distances(tokens, metre, known, known_metre, codec)
    for row in range(5):
        expected = [
            distance(codec, tokens[row], codec.transpose(other, semitones), metre[row])
            for other, when in zip(known, known_metre, strict=True)
            if (when == metre[row]).all()
            for semitones in TRANSPOSITIONS
        ]
        assert found[row] == pytest.approx(min(expected))


@pytest.mark.parametrize("codec", [MELODY, PERFORMANCE])
def test_a_copy_is_found_in_every_key(codec):
    known, metre = music(codec, range(12))
    for semitones in (-6, 0, 5):
        copies = codec.transpose(known[::3], semitones)
        assert (nearest_distances(copies, metre[::3], known, metre, codec) == 0).all()
    assert (nearest_distances(codec.transpose(known, 9), metre, known, metre, codec) > 0.1).all()
    fresh, fresh_metre = music(codec, range(40, 50))
    assert (nearest_distances(fresh, fresh_metre, known, metre, codec) > 0.1).all()


def test_without_a_known_window_of_the_metre_there_is_no_distance():
    tokens, metre = music(MELODY, [0, 1])
    found = nearest_distances(tokens, metre, tokens[:1], metre[:1], MELODY)
    assert found[0] == 0 and np.isnan(found[1])
