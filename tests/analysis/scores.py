"""Scores for tests."""

import numpy as np

from musicvae_jax.codec.score import Score

SCALE = [(beat, 1, 60 + step) for beat, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]


def make_score(notes, measures=2, metre=(4, 4), tempo=120.0, title=""):
    """Notes are (onset in quarters, duration in quarters, pitch) or (onset, duration, pitch, track)."""
    rows = [(round(on * 480), round(long * 480), pitch, 80, *(track or (0,))) for on, long, pitch, *track in notes]
    rows.sort(key=lambda row: (row[0], row[2], row[4], row[1]))
    bars = [(bar * metre[0] * 1920 // metre[1], *metre) for bar in range(measures)]
    shapes = np.array(rows, np.int32).reshape(-1, 5), np.array(bars, np.int32).reshape(-1, 3)
    return Score(*shapes, tempo=tempo, title=title)
