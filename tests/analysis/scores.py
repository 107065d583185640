"""Scores made by hand."""

import numpy as np

from musicvae_jax.codec.score import Score


def make_score(notes, measures=2, metre=(4, 4), tempo=120.0, title=""):
    """Notes are (onset in quarters, duration in quarters, pitch), or with the track as a fourth."""
    rows = sorted(
        (round(on * 480), round(long * 480), pitch, 80, *(track or (0,))) for on, long, pitch, *track in notes
    )
    length = metre[0] * 1920 // metre[1]
    bars = [(start * length, *metre) for start in range(measures)]
    rows.sort(key=lambda row: (row[0], row[2], row[4]))
    return Score(
        np.array(rows, np.int32).reshape(-1, 5), np.array(bars, np.int32).reshape(-1, 3), tempo=tempo, title=title
    )


SCALE = [(beat, 1, 60 + step) for beat, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]
