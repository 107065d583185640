"""The chords of POP909: their roots, and where they begin."""

import numpy as np
import pytest
from musicvae_jax.data.datasets.pop909_chords import chord_rows, find_root

C, D, E, F, G, A, B = 0, 2, 4, 5, 7, 9, 11


@pytest.mark.parametrize(
    ("classes", "bass", "root"),
    [
        ([C, E, G], C, C),
        ([C, E, G], E, C),  # a sixth chord
        ([C, E, G], G, C),
        ([A, C, E, G], A, A),  # a seventh on A ...
        ([A, C, E, G], C, C),  # ... is a sixth on C over C,
        ([A, C, E, G], E, A),  # and over neither bass a seventh
        ([G, B, D, F], F, G),
        ([C, F, G], C, C),  # suspended
        ([C, F, G], F, F),
        ([B, D, F], D, B),
        ([C], C, C),
        ([C, G], C, C),
        ([C, D, E, F], C, -1),
    ],
)
def test_roots_by_hand(classes: list[int], bass: int, root: int) -> None:
    assert find_root(sum(1 << number for number in classes), bass) == root
    for semitones in range(12):  # the law behind the examples
        moved = sum(1 << (number + semitones) % 12 for number in classes)
        expected = (root + semitones) % 12 if root >= 0 else -1
        assert find_root(moved, (bass + semitones) % 12) == expected


def test_chords_are_the_onsets_of_the_track() -> None:
    notes = np.array([[0, 960, 60, 90, 1], [0, 900, 64, 90, 1], [0, 960, 67, 90, 1], [480, 480, 62, 90, 1]])
    assert chord_rows(notes).tolist() == [[0, 480, C, 0b10010001], [480, 480, D, 0b100]]
    assert chord_rows(notes[:0]).shape == (0, 4)
