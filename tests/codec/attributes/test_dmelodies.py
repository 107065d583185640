"""The factors of dMelodies as attributes of two measures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec.attributes.dmelodies import FACTORS, NUM_EIGHTHS, REST, are_melodies, read_factors, to_melody
from musicvae_jax.codec.score import Metre
from musicvae_jax.data.datasets.dmelodies import NUM_MELODIES, to_factors
from tests.codec.attributes.windows import one_window

numbers = st.integers(0, NUM_MELODIES - 1)
NAMES = [f"dmelodies_{name}" for name in FACTORS]


def notes_of(melody, first_measure=0):
    """Notes of an eighth each: (measure, onset, duration, pitch)."""
    return [
        (first_measure + place // 8, 240 * (place % 8), 240, int(pitch))
        for place, pitch in enumerate(melody)
        if pitch != REST
    ]


@given(st.tuples(numbers, numbers))
def test_a_melody_has_its_factors_wherever_it_stands(pair):
    factors = to_factors(np.array(pair))
    notes = [note for place, melody in enumerate(to_melody(factors)) for note in notes_of(melody, 2 * place)]
    found = one_window(notes, *[Metre(4, 4)] * 4, spans=(1, 2, 4))
    np.testing.assert_array_equal(np.stack([found["2_measures"][name] for name in NAMES], -1), factors)
    for span in ("measure", "phrase"):
        assert all(np.isnan(found[span][name]).all() for name in NAMES)


def test_other_metres_and_half_a_melody_have_no_factors():
    melody = to_melody(to_factors(np.array(5)))
    for metres in ([Metre(4, 4), Metre(2, 2)], [Metre(4, 4)], [Metre(3, 4), Metre(3, 4)], [Metre(5, 4), Metre(3, 4)]):
        ends = [metre.ticks for metre in metres]
        notes = [note for note in notes_of(melody) if note[0] < len(ends) and note[1] < ends[note[0]]]
        found = one_window(notes, *metres, spans=(2,))["2_measures"]
        assert all(np.isnan(found[name]).all() for name in NAMES), metres


@given(numbers, st.integers(8, 15), st.integers(REST, 127))
def test_a_change_of_measure_2_leaves_the_factors_of_measure_1(number, eighth, pitch):
    factors = to_factors(np.array(number))
    melody = to_melody(factors)
    melody[eighth] = pitch
    read = dict(zip(FACTORS, read_factors(melody), strict=True))
    of_measure_2 = ("rhythm_2", "arpeggio_3", "arpeggio_4")
    for name, value in zip(FACTORS, factors, strict=True):
        assert name in of_measure_2 or read[name] == value
    full = (melody[8:] != REST).sum() == 6
    assert all(np.isfinite(read[name]) == full for name in of_measure_2)
    assert not are_melodies(melody) or (to_melody(read_factors(melody).astype(int)) == melody).all()


@pytest.mark.parametrize(
    ("chord", "lost"),
    [
        ([60, 64, 67], []),
        ([60, 65, 67], ["scale"]),  # a fourth is no third
        ([59, 63, 66], ["tonic", "octave"]),  # below C4
        ([96, 100, 103], ["tonic", "octave"]),  # above the octaves
    ],
)
def test_what_the_first_chord_does_not_say_is_undefined(chord, lost):
    melody = to_melody(np.zeros(9, int))
    melody[:3] = chord
    read = dict(zip(FACTORS, read_factors(melody), strict=True))
    assert [name for name in FACTORS if np.isnan(read[name])] == sorted(lost, key=list(FACTORS).index)


def test_silence_says_nothing():
    assert np.isnan(read_factors(np.full(NUM_EIGHTHS, REST))).all()
    assert not are_melodies(np.full((2, NUM_EIGHTHS), REST)).any()
