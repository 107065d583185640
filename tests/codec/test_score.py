"""Scores as values."""

import dataclasses

import numpy as np

from musicvae_jax.codec.score import check_score, join
from tests.data.melodies import random_melody


def test_joined_scores_follow_each_other():
    """Notes, measures, chords and phrases of each part are its own, moved by what is before it."""
    parts = [
        dataclasses.replace(
            random_melody(seed, 2 + seed),
            chords=np.array([(0, 480, 0, 1), (960, 480, 7, 128)], np.int32),
            phrase_ends=np.array([960, 1920], np.int32),
        )
        for seed in range(3)
    ]
    whole, start = join(parts), 0
    check_score(whole)
    assert whole.num_measures == 9 and whole.title == parts[0].title and whole.end == sum(part.end for part in parts)
    for part in parts:
        for name in ("notes", "measures", "chords"):
            moved = getattr(part, name) + np.eye(1, getattr(part, name).shape[1], dtype=np.int32) * start
            assert set(map(tuple, moved.tolist())) <= set(map(tuple, getattr(whole, name).tolist()))
        assert set((part.phrase_ends + start).tolist()) <= set(whole.phrase_ends.tolist())
        start += part.end
    assert len(whole.notes) == sum(len(part.notes) for part in parts)
    np.testing.assert_array_equal(parts[1].measures[0], random_melody(1, 3).measures[0])  # left as they were
