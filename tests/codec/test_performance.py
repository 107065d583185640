"""Laws of the codec of performances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import Metre, MusicError, PerformanceCodec, check_score, make_codec
from musicvae_jax.codec.performance import END
from musicvae_jax.config import CodecConfig, ConfigError
from musicvae_jax.types import existing_fields, until_end
from tests.codec.music import METRES, assert_same, score_of
from tests.codec.polyphony import performances

FINE = PerformanceCodec(tracks=3)
SMALL = PerformanceCodec(("0", "1/3", "1/2"), slots=5, positions=18, longest=3, velocities=4)
PLAIN = PerformanceCodec(("0",), slots=3, positions=5, longest=2, velocities=1, tracks=2)
CODECS = st.sampled_from([FINE, SMALL, PLAIN])
DENSE = performances(max_notes=60, pitches=(60, 62))


@st.composite
def token_arrays(draw, codec, max_measures=3):
    metre = np.array(draw(st.lists(st.sampled_from(METRES), min_size=1, max_size=max_measures)), np.int32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [draw(st.integers(1, field.size)) for field in codec.fields]  # small ones make notes meet
    shape = (len(metre), codec.slots)
    return np.stack([rng.integers(0, size, shape) for size in sizes], -1).astype(np.int32), metre


@given(CODECS, performances() | DENSE)
def test_decoding_the_encoded_score_is_quantising_it(codec, score):
    encoded, quantised = codec.encode(score), codec.quantise(score)
    assert_same(codec.decode(encoded.tokens, encoded.metre), quantised)
    check_score(quantised)
    assert_same(codec.quantise(quantised), quantised)
    assert codec.encode(quantised).dropped == {}


@given(CODECS, performances() | DENSE)
def test_no_note_disappears_uncounted(codec, score):
    encoded = codec.encode(score)
    lost = encoded.dropped.get("collision", 0) + encoded.dropped.get("slots", 0)
    num_notes = codec.is_onset(encoded.tokens).any(-1).sum()
    assert num_notes == encoded.mask.sum() - len(encoded.mask)  # every measure ends in END
    assert num_notes + lost == len(score.notes)
    moved = codec.quantise(score).notes
    assert len(np.setdiff1d(moved[:, 0], score.notes[:, 0])) <= encoded.dropped.get("off_grid", 0)
    changed = encoded.dropped.get("duration", 0) + encoded.dropped.get("off_grid_end", 0)
    assert len(np.setdiff1d(moved[:, 1], score.notes[:, 1])) <= changed


@given(CODECS, performances() | DENSE)
def test_rows_are_sorted_end_in_end_and_are_empty_after_it(codec, score):
    tokens, mask, metre, _ = codec.encode(score)
    assert tokens.dtype == metre.dtype == np.int32
    lengths = mask.sum(1)
    np.testing.assert_array_equal(mask, np.arange(codec.slots) < lengths[:, None])
    np.testing.assert_array_equal(mask, until_end(tokens, codec.slot_mask(metre), codec.fields))
    exists = existing_fields(tokens, mask, codec.fields)
    assert not tokens[~exists].any()
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        assert row[length - 1, 0] == END
        notes = [(note[0], note[1], note[-1] if codec.tracks > 1 else 0) for note in row[: length - 1].tolist()]
        assert notes == sorted(set(notes))


@given(st.data(), CODECS)
def test_any_tokens_decode(data, codec):
    tokens, metre = data.draw(token_arrays(codec))
    score = codec.decode(tokens, metre)
    check_score(score)
    canonical = codec.encode(score)
    assert set(canonical.dropped) <= {"slots"}  # only of a full row without END
    if not canonical.dropped:
        assert_same(codec.decode(canonical.tokens, metre), score)
    shuffled = np.random.default_rng(0).permuted(np.arange(codec.slots))
    unended = np.maximum(tokens, np.eye(len(codec.fields), dtype=np.int32)[0])  # without END the order is free
    assert_same(codec.decode(unended[:, shuffled], metre), codec.decode(unended, metre))


@given(st.data(), CODECS)
def test_after_the_end_nothing_counts(data, codec):
    tokens, metre = data.draw(token_arrays(codec))
    mask = until_end(tokens, np.ones(tokens.shape[:2], bool), codec.fields)
    exists = existing_fields(tokens, mask, codec.fields)
    other = np.where(exists, tokens, data.draw(token_arrays(codec, 1))[0][0, 0])
    assert_same(codec.decode(other, metre), codec.decode(tokens, metre))


@given(st.data(), CODECS)
def test_notes_of_windows_are_the_notes_of_their_scores(data, codec):
    pairs = [data.draw(token_arrays(codec)) for _ in range(2)]
    longest = max(len(metre) for _, metre in pairs)
    tokens, metre = (
        np.stack([np.pad(a, [(0, longest - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays])
        for arrays in zip(*pairs, strict=True)
    )
    notes = codec.notes(tokens, codec.slot_mask(metre), metre)
    keys = np.stack([notes.row, notes.measure, notes.onset, notes.pitch, notes.track])
    assert (np.lexsort(keys[::-1]) == np.arange(keys.shape[1])).all()
    for row in range(2):
        score, mine = codec.decode(tokens[row], metre[row]), notes.row == row
        onset = score.measures[notes.measure[mine], 0] + notes.onset[mine]
        rows = np.stack([onset, *(column[mine] for column in notes[3:])], -1)
        np.testing.assert_array_equal(rows, score.notes)


@given(CODECS, performances(), st.integers(-70, 70))
def test_transposing_there_and_back_is_the_identity(codec, score, semitones):
    tokens = codec.encode(score).tokens
    bounds = codec.pitch_range(tokens)
    if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones <= 127:
        with pytest.raises(MusicError, match="allowed: 0 to 127"):
            codec.transpose(tokens, semitones)
        return
    moved = codec.transpose(tokens, semitones)
    assert codec.pitch_range(moved) == (bounds and (bounds[0] + semitones, bounds[1] + semitones))
    np.testing.assert_array_equal(codec.transpose(moved, -semitones), tokens)
    assert not moved[~codec.is_onset(moved).any(-1)].any()  # END and padding stay what they are


def test_tokens_literally():
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


def test_a_note_to_the_end_of_the_piece_stays_one():
    codec = PerformanceCodec(("0", "1/2"), positions=8, longest=4, velocities=1)
    score = score_of([(720, 1200, 60, 80, 0)])  # 1200 is no class; the piece ends there
    encoded = codec.encode(score)
    assert encoded.dropped == {}
    assert_same(codec.decode(encoded.tokens, encoded.metre), score)


def test_a_full_measure_drops_the_least_heard():
    codec = PerformanceCodec(slots=5)
    chord = [(0, 480, pitch, velocity, 0) for pitch, velocity in [(40, 20), (52, 84), (55, 80), (59, 84), (76, 20)]]
    encoded = codec.encode(score_of([*chord, (960, 480, 60, 40, 0)]))
    assert encoded.dropped == {"slots": 2}
    assert encoded.tokens[0, :, 1].tolist() == [40, 52, 76, 60, 0]  # of the equally loud and long the first stays


def test_of_notes_in_one_place_the_longest_stays():
    rows = [(0, 240, 60, 120, 0), (5, 480, 60, 40, 0), (9, 480, 60, 64, 0)]
    score = FINE.quantise(score_of(rows))
    assert score.notes.tolist() == [[0, 480, 60, 64, 0]]
    assert FINE.encode(score_of(rows)).dropped == {"collision": 2, "off_grid": 1}


def test_tracks_beyond_the_last_join_it():
    rows = [(0, 480, 50 + track, 80, track) for track in (0, 2, 5, 7)]
    encoded = FINE.encode(score_of(rows))
    assert encoded.dropped == {"track": 1}
    assert FINE.decode(encoded.tokens, encoded.metre).notes[:, 4].tolist() == [0, 1, 2, 2]
    assert PerformanceCodec().encode(score_of(rows)).dropped == {"track": 3}


def test_fields_that_say_nothing_are_left_out():
    names = lambda codec: [field.name for field in codec.fields]  # noqa: E731
    assert names(FINE) == ["position", "pitch", "duration", "velocity", "track"]
    assert names(PerformanceCodec()) == ["position", "pitch", "duration", "velocity"]
    assert names(PLAIN) == ["position", "pitch", "duration", "track"]
    assert [field.end for field in FINE.fields] == [END, None, None, None, None]


@given(st.integers(1, 64), st.sampled_from([4, 8, 16, 32, 64]))
def test_loudness_levels_are_distinct_and_near(velocities, fine):
    levels = PerformanceCodec(velocities=velocities).levels
    assert len(levels) == velocities and (np.diff(levels) > 0).all() and 1 <= levels[0] <= levels[-1] <= 127
    finest = PerformanceCodec(velocities=fine).levels
    assert np.abs(finest - np.arange(fine, 0, -1)[::-1] * 128 // fine).max() <= 1
    assert np.abs(finest[:, None] - np.arange(1, 128)).min(0).max() <= 128 // fine


def test_a_metre_that_does_not_fit():
    codec = PerformanceCodec(positions=47)
    for refuse in (codec.encode, codec.quantise):
        with pytest.raises(MusicError, match="measure 1: metre: 4/4 needs 48 positions; allowed: up to 47"):
            refuse(score_of([]))
    with pytest.raises(MusicError, match="48 positions"):
        codec.slot_mask(np.array([[4, 4]]))
    assert codec.slot_mask(np.array([[3, 4], [0, 0]])).tolist() == [[True] * 64, [False] * 64]


def test_a_position_that_the_metre_lacks_is_no_note():
    tokens = np.zeros((1, 64, 5), np.int32)
    tokens[0, 0] = [1 + 36, 60, 11, 19, 0]
    assert len(FINE.decode(tokens, np.array([Metre(4, 4)])).notes) == 1
    assert len(FINE.decode(tokens, np.array([Metre(3, 4)])).notes) == 0


def test_windows_start_with_what_starts_there():
    encoded = FINE.encode(score_of([(0, 3840, 60, 80, 0), (1920, 480, 64, 80, 0)], [(0, 4, 4), (1920, 4, 4)]))
    np.testing.assert_array_equal(FINE.first_slots(encoded.tokens, encoded.mask), encoded.tokens[:, 0])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"slots": 1}, "slots is 1; allowed: 2 and up"),
        ({"velocities": 65}, "velocities is 65; allowed: 1 to 64"),
        ({"tracks": 0}, "tracks is 0"),
        ({"longest": 0}, "longest is 0"),
        ({"subdivisions": ("1/2",)}, "the first 0"),
    ],
)
def test_settings_that_cannot_be(setting, says):
    with pytest.raises(ConfigError, match=says):
        PerformanceCodec(**setting)


def test_the_config_names_the_codec():
    config = CodecConfig(name="performance", subdivisions=FINE.subdivisions, slots=64, tracks=3)
    assert make_codec(config) == FINE
    with pytest.raises(ConfigError, match="slots = 1"):
        CodecConfig(name="performance", slots=1)
    with pytest.raises(ConfigError, match="velocities = 65"):
        CodecConfig(velocities=65)
