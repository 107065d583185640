"""Laws of the codec of voices."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec, MusicError, Part, VoicesCodec, check_score, make_codec
from musicvae_jax.codec.grid_codec import FIRST_PITCH
from musicvae_jax.config import CodecConfig, ConfigError
from tests.codec.music import METRES, SIXTEENTHS, assert_same, score_of, scores
from tests.codec.polyphony import chorales

CODEC = VoicesCodec()
ONE = VoicesCodec(voices=1)
MELODY = MelodyCodec()


@st.composite
def token_arrays(draw, codec):
    metre = np.array(draw(st.lists(st.sampled_from(METRES), min_size=1, max_size=3)), np.int32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (len(metre), codec.slots, len(codec.fields))
    tokens = np.where(rng.random(shape) < 0.6, rng.integers(0, 2, shape), rng.integers(0, 130, shape))
    return tokens.astype(np.int32), metre


def refusal(call, score):
    """What a call says against a score, or nothing."""
    try:
        call(score)
    except MusicError as error:
        return str(error)
    return ""


@given(chorales() | chorales(jitter=25) | chorales(legato=40))
def test_decoding_the_encoded_score_is_quantising_it(score):
    assert refusal(CODEC.encode, score) == refusal(CODEC.quantise, score)
    if refusal(CODEC.encode, score):
        return
    encoded, quantised = CODEC.encode(score), CODEC.quantise(score)
    assert_same(CODEC.decode(encoded.tokens, encoded.metre), quantised)
    assert_same(CODEC.quantise(quantised), quantised)
    check_score(quantised)


@given(chorales(lengths=SIXTEENTHS))
def test_what_lies_on_the_grid_is_kept_whole(score):
    encoded = CODEC.encode(score)
    assert encoded.dropped == {}
    assert_same(CODEC.decode(encoded.tokens, encoded.metre), score)


@given(scores() | scores(jitter=30) | scores(legato=40))
def test_one_voice_is_a_melody(score):
    assert refusal(ONE.encode, score) == refusal(MELODY.encode, score)
    if refusal(ONE.encode, score):
        return
    mine, encoded = ONE.encode(score), MELODY.encode(score)
    for one, other in zip(mine[:3], encoded[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert mine.dropped == encoded.dropped
    np.testing.assert_array_equal(
        ONE.first_slots(mine.tokens, mine.mask), MELODY.first_slots(encoded.tokens, encoded.mask)
    )


@given(chorales(jitter=20))
def test_every_field_is_its_voice_alone(score):
    """The codec of voices is the melody codec, voice by voice, and its counts are their sums."""
    alone = [dataclasses.replace(score, notes=score.notes[score.notes[:, 4] == n]) for n in range(4)]
    refusals = [refusal(MELODY.encode, voice) for voice in alone]
    assert refusal(CODEC.encode, score) == next(filter(None, refusals), "")
    if any(refusals):
        return
    encoded = CODEC.encode(score)
    parts = [MELODY.encode(voice) for voice in alone]
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(encoded.tokens[..., number], part.tokens[..., 0])
    reasons = {reason for part in parts for reason in part.dropped}
    assert encoded.dropped == {reason: sum(part.dropped.get(reason, 0) for part in parts) for reason in reasons}


@given(token_arrays(CODEC))
def test_any_tokens_decode_and_encoding_them_again_is_canonical(arrays):
    tokens, metre = arrays
    score = CODEC.decode(tokens, metre)
    check_score(score)
    canonical = CODEC.encode(score)
    assert canonical.dropped == {}
    assert_same(CODEC.decode(canonical.tokens, metre), score)
    np.testing.assert_array_equal(canonical.mask, CODEC.slot_mask(metre))
    onsets = CODEC.is_onset(tokens) & canonical.mask[..., None]
    np.testing.assert_array_equal(CODEC.is_onset(canonical.tokens), onsets)


@given(token_arrays(CODEC), token_arrays(CODEC))
def test_notes_of_windows_are_the_notes_of_their_scores(one, other):
    longest = max(len(one[1]), len(other[1]))
    tokens, metre = (
        np.stack([np.pad(a, [(0, longest - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in pair])
        for pair in zip(one, other, strict=True)
    )
    notes = CODEC.notes(tokens, CODEC.slot_mask(metre), metre)
    keys = np.stack([notes.row, notes.measure, notes.onset, notes.pitch, notes.track])
    assert (np.lexsort(keys[::-1]) == np.arange(keys.shape[1])).all()
    for row in range(2):
        score, mine = CODEC.decode(tokens[row], metre[row]), notes.row == row
        onset = score.measures[notes.measure[mine], 0] + notes.onset[mine]
        rows = np.stack([onset, *(column[mine] for column in notes[3:])], -1)
        np.testing.assert_array_equal(rows, score.notes)


@given(chorales(lengths=SIXTEENTHS), st.integers(-60, 60))
def test_transposing_there_and_back_is_the_identity(score, semitones):
    tokens = CODEC.encode(score).tokens
    bounds = CODEC.pitch_range(tokens)
    if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones <= 127:
        with pytest.raises(MusicError, match="allowed: 0 to 127"):
            CODEC.transpose(tokens, semitones)
        return
    np.testing.assert_array_equal(CODEC.transpose(CODEC.transpose(tokens, semitones), -semitones), tokens)


def test_tracks_are_voices_in_order():
    rows = [(0, 480, 50, 80, 3), (0, 480, 60, 80, 1), (0, 480, 70, 80, 0)]
    tokens = CODEC.encode(score_of(rows)).tokens
    assert tokens[0, 0].tolist() == [FIRST_PITCH + 70, FIRST_PITCH + 60, 0, FIRST_PITCH + 50]
    # A track beyond the last voice: those with notes are counted off, and what plays them moves along.
    parts = (Part("high"), Part("none"), Part("low"))
    score = score_of([(0, 480, 50, 80, 9), (0, 480, 60, 80, 2), (0, 480, 70, 80, 0)], parts=parts)
    assert CODEC.encode(score).tokens[0, 0].tolist() == [FIRST_PITCH + 70, FIRST_PITCH + 60, FIRST_PITCH + 50, 0]
    assert CODEC.quantise(score).parts == (Part("high"), Part("low"))
    assert CODEC.quantise(score_of(rows, parts=parts)).parts == parts


def test_more_tracks_than_voices_are_refused():
    score = score_of([(0, 480, 50 + n, 80, n) for n in range(5)])
    for refuse in (CODEC.encode, CODEC.quantise):
        with pytest.raises(MusicError, match="5 tracks have notes; allowed: up to 4") as caught:
            refuse(score)
        assert caught.value.reason == "voices"


def test_velocities_that_the_grid_forgets_are_counted():
    rows = [(0, 240, 60, 78, 0), (240, 240, 60, 83, 0), (0, 240, 72, 20, 1)]
    score = score_of(sorted(rows, key=lambda row: (row[0], row[2])))
    assert CODEC.encode(score).dropped == {"velocity": 2}


def test_the_config_names_the_codec():
    assert make_codec(CodecConfig(name="voices", slots=24, voices=3)) == VoicesCodec(slots=24, voices=3)
    with pytest.raises(ConfigError, match="voices is 0"):
        VoicesCodec(voices=0)
