"""Laws of the codec of performances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import Metre, PerformanceCodec
from musicvae_jax.codec.performance import END
from musicvae_jax.types import existing_fields, until_end
from tests.codec.music import assert_same, score_of
from tests.codec.test_codecs import DENSE, FINE, PLAIN, SMALL, token_arrays

CODECS = st.sampled_from([FINE, SMALL, PLAIN])


@given(CODECS, DENSE)
def test_measures_are_sorted_notes_then_end_then_nothing(codec, score):
    tokens, mask, metre, _ = codec.encode(score)
    lengths = mask.sum(1)
    np.testing.assert_array_equal(mask, np.arange(codec.slots) < lengths[:, None])
    np.testing.assert_array_equal(mask, until_end(tokens, codec.slot_mask(metre), codec.fields))
    assert not tokens[~existing_fields(tokens, mask, codec.fields)].any()
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        assert row[length - 1, 0] == END
        notes = [(note[0], note[1], note[-1] if codec.tracks > 1 else 0) for note in row[: length - 1].tolist()]
        assert notes == sorted(set(notes))


@given(st.data(), CODECS)
def test_the_order_of_notes_does_not_matter(data, codec):
    tokens, metre = data.draw(token_arrays(codec))
    shuffled = np.random.default_rng(0).permuted(np.arange(codec.slots))
    tokens = np.maximum(tokens, np.eye(len(codec.fields), dtype=np.int32)[0])  # without END
    assert_same(codec.decode(tokens[:, shuffled], metre), codec.decode(tokens, metre))


@given(st.data(), CODECS)
def test_tokens_after_end_do_not_matter(data, codec):
    tokens, metre = data.draw(token_arrays(codec))
    mask = until_end(tokens, np.ones(tokens.shape[:2], bool), codec.fields)
    exists = existing_fields(tokens, mask, codec.fields)
    other = np.where(exists, tokens, data.draw(token_arrays(codec, 1))[0][0, 0])
    assert_same(codec.decode(other, metre), codec.decode(tokens, metre))


def test_tokens_by_hand():
    codec = PerformanceCodec(("0", "1/2"), slots=4, positions=8, longest=4, velocities=16, tracks=2)
    assert codec.durations.tolist() == [240, 480, 720, 960, 1440, 1920]
    assert codec.levels.tolist() == [*range(8, 121, 8), 127]
    rows = [(0, 480, 48, 80, 1), (0, 480, 72, 127, 0), (720, 1200, 60, 9, 0)]
    encoded = codec.encode(score_of(rows, [(0, 4, 4), (1920, 3, 4)]))
    assert encoded.tokens.tolist() == [
        [[1, 48, 1, 9, 1], [1, 72, 1, 15, 0], [4, 60, 3, 0, 0], [0] * 5],
        [[0] * 5] * 4,
    ]
    assert encoded.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert encoded.dropped == {"off_grid_end": 1}  # 1200 is half-way between 960 and 1440: the shorter


def test_a_note_to_the_end_of_the_piece_still_lasts_to_it():
    codec = PerformanceCodec(("0", "1/2"), positions=8, longest=4, velocities=1)
    score = score_of([(720, 1200, 60, 80, 0)])  # 1200 is no class, but the piece ends there
    encoded = codec.encode(score)
    assert encoded.dropped == {}
    assert_same(codec.decode(encoded.tokens, encoded.metre), score)


def test_a_full_measure_drops_inner_then_quiet_then_short_notes():
    chord = [(0, 480, pitch, velocity, 0) for pitch, velocity in [(40, 20), (52, 84), (55, 80), (59, 84), (76, 20)]]
    encoded = PerformanceCodec(slots=5).encode(score_of([*chord, (960, 480, 60, 40, 0)]))
    assert encoded.dropped == {"slots": 2}
    assert encoded.tokens[0, :, 1].tolist() == [40, 52, 76, 60, 0]  # of equally loud and long notes the first stays


def test_of_notes_at_one_position_the_longest_then_loudest_stays():
    encoded = FINE.encode(score_of([(0, 240, 60, 120, 0), (5, 480, 60, 40, 0), (9, 480, 60, 64, 0)]))
    assert FINE.decode(encoded.tokens, encoded.metre).notes.tolist() == [[0, 480, 60, 64, 0]]
    assert encoded.dropped == {"collision": 2, "off_grid": 1}


def test_tracks_beyond_the_last_join_it():
    rows = [(0, 480, 50 + track, 80, track) for track in (0, 2, 5, 7)]
    encoded = FINE.encode(score_of(rows))
    assert encoded.dropped == {"track": 1}
    assert FINE.decode(encoded.tokens, encoded.metre).notes[:, 4].tolist() == [0, 1, 2, 2]
    assert PerformanceCodec().encode(score_of(rows)).dropped == {"track": 3}


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        (FINE, ["position", "pitch", "duration", "velocity", "track"]),
        (SMALL, ["position", "pitch", "duration", "velocity"]),
        (PLAIN, ["position", "pitch", "duration", "track"]),
    ],
)
def test_fields_of_one_class_are_left_out(codec, names):
    assert [field.name for field in codec.fields] == names
    assert [field.end for field in codec.fields] == [END] + [None] * (len(names) - 1)


@given(st.integers(1, 64), st.sampled_from([4, 8, 16, 32, 64]))
def test_loudness_levels_are_distinct_and_evenly_spaced(velocities, fine):
    levels = PerformanceCodec(velocities=velocities).levels
    assert len(levels) == velocities and (np.diff(levels) > 0).all() and 1 <= levels[0] <= levels[-1] <= 127
    finest = PerformanceCodec(velocities=fine).levels
    assert np.abs(finest - np.arange(1, fine + 1) * 128 // fine).max() <= 1
    assert np.abs(finest[:, None] - np.arange(1, 128)).min(0).max() <= 128 // fine


def test_padding_has_no_slots_and_a_position_outside_the_metre_is_no_note():
    assert FINE.slot_mask(np.array([[3, 4], [0, 0]])).tolist() == [[True] * 64, [False] * 64]
    tokens = np.zeros((1, 64, 5), np.int32)
    tokens[0, 0] = [1 + 36, 60, 11, 19, 0]
    assert len(FINE.decode(tokens, np.array([Metre(4, 4)])).notes) == 1
    assert len(FINE.decode(tokens, np.array([Metre(3, 4)])).notes) == 0


def test_a_window_does_not_hear_notes_that_began_before_it():
    encoded = FINE.encode(score_of([(0, 3840, 60, 80, 0), (1920, 480, 64, 80, 0)], [(0, 4, 4), (1920, 4, 4)]))
    np.testing.assert_array_equal(FINE.first_slots(encoded.tokens, encoded.mask), encoded.tokens[:, 0])
