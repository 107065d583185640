"""Laws that hold for all codecs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import (
    Codec,
    MelodyCodec,
    MusicError,
    PerformanceCodec,
    Score,
    VoicesCodec,
    check_score,
    kept_shares,
    make_codec,
    select_track,
)
from musicvae_jax.config import CodecConfig, ConfigError
from tests.codec.music import METRES, SIXTEENTHS, assert_same, chorales, performances, score_of, scores
from tests.codec.oracle import quantise

MELODY, VOICES = MelodyCodec(), VoicesCodec()
TRIPLETS = MelodyCodec(("0", "1/4", "1/3", "1/2", "2/3", "3/4"), 30)
FINE = PerformanceCodec(tracks=3)
SMALL = PerformanceCodec(("0", "1/3", "1/2"), slots=5, positions=18, longest=3, velocities=4)
PLAIN = PerformanceCodec(("0",), slots=3, positions=5, longest=2, velocities=1, tracks=2)

MELODIES = scores() | scores(jitter=25) | scores(legato=40) | scores(SIXTEENTHS)
CHORALES = chorales() | chorales(jitter=25) | chorales(legato=40)
DENSE = performances() | performances(max_notes=60, pitches=(60, 62))
MUSIC: dict[Codec, st.SearchStrategy[Score]] = {
    MELODY: MELODIES,
    TRIPLETS: MELODIES,
    VOICES: CHORALES,
    FINE: DENSE,
    SMALL: DENSE,
    PLAIN: DENSE,
}
every_codec = pytest.mark.parametrize("codec", MUSIC, ids=["melody", "triplets", "voices", "fine", "small", "plain"])


@st.composite
def token_arrays(draw, codec, max_measures=3):
    metre = np.array(draw(st.lists(st.sampled_from(METRES), min_size=1, max_size=max_measures)), np.int32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [draw(st.integers(1, field.size)) for field in codec.fields]  # small ones make notes coincide
    shape = (len(metre), codec.slots)
    tokens = np.stack([rng.integers(0, size, shape) for size in sizes], -1)
    sparse = rng.random(tokens.shape) < draw(st.sampled_from([0.4, 1]))
    return np.where(sparse, tokens, 0).astype(np.int32), metre


def error_of(call, score):
    """The place and reason of a refusal; None without one."""
    try:
        call(score)
    except MusicError as error:
        return error.place, error.reason
    return None


@every_codec
@given(st.data())
@settings(max_examples=60)
def test_decoding_the_encoded_score_is_quantising_it(codec, data):
    score = data.draw(MUSIC[codec])
    refused = error_of(codec.encode, score)
    assert refused == error_of(lambda score: quantise(codec, score), score)
    if refused:
        return
    encoded, quantised = codec.encode(score), quantise(codec, score)
    assert_same(codec.decode(encoded.tokens, encoded.metre), quantised)
    check_score(quantised)
    assert_same(quantise(codec, quantised), quantised)
    assert codec.encode(quantised).dropped == {}
    assert encoded.tokens.dtype == encoded.metre.dtype == np.int32 and not encoded.tokens[~encoded.mask].any()
    # No note is lost or moved without being counted.
    dropped = {"collision": 0, "slots": 0, "off_grid": 0, "off_grid_end": 0, "overlap": 0, "duration": 0}
    dropped |= encoded.dropped
    assert codec.is_onset(encoded.tokens).sum() + dropped["collision"] + dropped["slots"] == len(score.notes)
    assert len(np.setdiff1d(quantised.notes[:, 0], score.notes[:, 0])) <= dropped["off_grid"]
    if isinstance(codec, PerformanceCodec):
        changed = dropped["duration"] + dropped["off_grid_end"]
        assert len(np.setdiff1d(quantised.notes[:, 1], score.notes[:, 1])) <= changed


@given(st.sampled_from([MELODY, TRIPLETS]), scores() | scores(jitter=40, legato=200))
def test_a_skyline_is_never_refused(codec, score):
    codec.encode(select_track(score, "skyline"))


@every_codec
@given(st.data())
@settings(max_examples=50)
def test_any_tokens_decode_to_a_score_whose_tokens_decode_to_it(codec, data):
    tokens, metre = data.draw(token_arrays(codec))
    score = codec.decode(tokens, metre)
    check_score(score)
    canonical = codec.encode(score)
    np.testing.assert_array_equal(canonical.metre, metre)
    full = isinstance(codec, PerformanceCodec) and "slots" in canonical.dropped  # a measure without END
    assert full or canonical.dropped == {}
    if not full:
        assert_same(codec.decode(canonical.tokens, metre), score)


@every_codec
@given(st.data())
@settings(max_examples=40)
def test_notes_of_windows_are_the_notes_of_their_scores(codec, data):
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
        score, mine = codec.decode(tokens[row], metre[row]), notes.row == row  # decode leaves padding measures out
        assert score.num_measures == len(pairs[row][1])
        onset = score.measures[notes.measure[mine], 0] + notes.onset[mine]
        rows = np.stack([onset, *(column[mine] for column in notes[3:])], -1)
        np.testing.assert_array_equal(rows, score.notes)


@every_codec
@given(st.data(), st.integers(-70, 70))
@settings(max_examples=40)
def test_transposing_there_and_back_is_the_identity(codec, data, semitones):
    tokens, _ = data.draw(token_arrays(codec))
    bounds = codec.pitch_range(tokens)
    if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones <= 127:
        with pytest.raises(MusicError, match="allowed: 0 to 127"):
            codec.transpose(tokens, semitones)
        return
    moved = codec.transpose(tokens, semitones)
    assert moved.dtype == tokens.dtype
    assert codec.pitch_range(moved) == (bounds and (bounds[0] + semitones, bounds[1] + semitones))
    np.testing.assert_array_equal(codec.transpose(moved, -semitones), tokens)
    others = ~codec.is_onset(tokens)
    np.testing.assert_array_equal(moved[others], tokens[others])


@pytest.mark.parametrize(
    ("codec", "metre", "says"),
    [
        (MELODY, (12, 8), "12/8 needs 24 slots; allowed: up to 18"),
        (MELODY, (4, 3), "allowed"),
        (VOICES, (0, 4), "0/4"),
        (PerformanceCodec(positions=47), (4, 4), "4/4 needs 48 positions; allowed: up to 47"),
    ],
)
def test_a_metre_that_does_not_fit_is_refused(codec, metre, says):
    with pytest.raises(MusicError, match=f"measure 2: metre: .*{says}"):
        codec.encode(score_of([], [(0, 2, 4), (960, *metre)]))
    with pytest.raises(MusicError, match=says):
        codec.slot_mask(np.array([metre]))


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (np.full((1, 18, 1), 130), "allowed: 0 to 129"),
        (np.zeros((1, 18)), r"allowed: \[measure, slot, 1\]"),
        (np.zeros((1, 12, 1)), "4/4 needs 16 slots; the tokens have 12"),
    ],
)
def test_tokens_outside_the_vocabulary_and_wrong_shapes_are_refused(tokens, says):
    with pytest.raises(MusicError, match=says):
        MELODY.decode(tokens.astype(np.int32), np.array([[4, 4]]))


@pytest.mark.parametrize(
    ("config", "codec"),
    [
        (CodecConfig(), MELODY),
        (CodecConfig(subdivisions=TRIPLETS.subdivisions, slots=30), TRIPLETS),
        (CodecConfig(name="voices", slots=24, voices=3), VoicesCodec(slots=24, voices=3)),
        (CodecConfig(name="performance", subdivisions=FINE.subdivisions, slots=64, tracks=3), FINE),
    ],
)
def test_a_config_and_its_codec_have_the_same_settings(config, codec):
    assert make_codec(config) == codec


@pytest.mark.parametrize(
    "subdivisions", [(), ("1/4",), ("0", "1"), ("0", "1/2", "1/4"), ("0", "0"), ("0", "1/7"), ("0", "x"), ("0", "1/0")]
)
@pytest.mark.parametrize("codec", [MELODY, FINE])
def test_subdivisions_that_make_no_grid_are_refused(codec, subdivisions):
    with pytest.raises(ConfigError, match=r"subdivisions.*allowed"):
        dataclasses.replace(codec, subdivisions=subdivisions)


@pytest.mark.parametrize(
    ("codec", "name", "value"),
    [
        (MELODY, "slots", 0),
        (VOICES, "voices", 0),
        (FINE, "slots", 1),
        (FINE, "velocities", 65),
        (FINE, "tracks", 0),
        (FINE, "longest", 0),
        (FINE, "positions", 0),
    ],
)
def test_settings_outside_their_range_are_refused(codec, name, value):
    with pytest.raises(ConfigError, match=rf"{name} = {value}: allowed is"):
        dataclasses.replace(codec, **{name: value})


def test_kept_shares_by_hand():
    chord = [(0, 480, 60, 80, 0), (0, 480, 64, 80, 0)]
    piece = [(0, 480, 60, 81, 0), (490, 470, 62, 80, 0), (960, 480, 64, 127, 0), (970, 470, 65, 80, 1)]
    pieces = [score_of(chord), score_of(piece)]
    assert kept_shares(pieces, VOICES) == {"pieces": 0.5, "notes": 1, "onsets": 0.5, "velocities": 0.75}
    assert kept_shares(pieces, MELODY)["pieces"] == 0
    assert kept_shares([], MELODY) == {"pieces": 1, "notes": 1, "onsets": 1, "velocities": 1}


@given(performances(max_notes=60, pitches=(60, 64)))
def test_kept_shares_are_those_of_the_quantised_score(score):
    codec = PerformanceCodec(slots=9, velocities=64, tracks=4)
    shares, kept = kept_shares([score], codec), quantise(codec, score).notes
    if len(score.notes):
        assert shares["notes"] == len(kept) / len(score.notes)
        onsets = set(map(tuple, score.notes[:, [0, 2, 4]].tolist()))
        stayed = sum((row[0], row[2], row[4]) in onsets for row in kept.tolist())
        assert shares["onsets"] * len(score.notes) <= stayed + 1e-9
    assert shares["pieces"] == 1 and shares["velocities"] == shares["notes"]  # 64 levels are two apart
