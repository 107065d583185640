"""Laws of the codecs of melodies and voices."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import DEFAULT_VELOCITY, MelodyCodec, Metre, MusicError, VoicesCodec
from musicvae_jax.codec.grid_codec import FIRST_PITCH
from tests.codec.music import SIXTEENTHS, assert_same, chorales, score_of, scores
from tests.codec.test_codecs import MELODY, TRIPLETS, VOICES, error_of, token_arrays


@pytest.mark.parametrize("codec", [MELODY, TRIPLETS, VOICES], ids=["melody", "triplets", "voices"])
@given(st.data())
def test_a_score_on_the_grid_is_kept_exactly(codec, data):
    score = data.draw(chorales(SIXTEENTHS) if codec == VOICES else scores(SIXTEENTHS))
    encoded = codec.encode(score)
    assert encoded.dropped == {}
    assert_same(codec.decode(encoded.tokens, encoded.metre), score)


@given(scores([160, 320, 480, 120], rests=False, metres=[Metre(4, 4), Metre(3, 4)]))
def test_triplets_on_a_grid_with_triplets_are_kept_exactly(score):
    ends = score.notes[:, :2].sum(1)
    on_grid = np.isin(score.notes[:, 0] % 480, TRIPLETS.offsets) & np.isin(ends % 480, TRIPLETS.offsets)
    score = dataclasses.replace(score, notes=score.notes[on_grid])
    encoded = TRIPLETS.encode(score)
    assert encoded.dropped == {}
    assert_same(TRIPLETS.decode(encoded.tokens, encoded.metre), score)


@pytest.mark.parametrize("codec", [MELODY, VOICES], ids=["melody", "voices"])
@given(st.data())
def test_encoding_again_changes_no_onset_and_is_stable(codec, data):
    tokens, metre = data.draw(token_arrays(codec))
    canonical = codec.encode(codec.decode(tokens, metre))
    np.testing.assert_array_equal(canonical.mask, codec.slot_mask(metre))
    onsets = codec.is_onset(canonical.tokens)
    np.testing.assert_array_equal(onsets, codec.is_onset(tokens) & canonical.mask[..., None])
    np.testing.assert_array_equal(canonical.tokens[onsets], tokens[onsets])
    np.testing.assert_array_equal(codec.encode(codec.decode(canonical.tokens, metre)).tokens, canonical.tokens)


@given(chorales(jitter=20) | chorales(legato=40))
def test_each_voice_is_encoded_as_a_melody(score):
    alone = [dataclasses.replace(score, notes=score.notes[score.notes[:, 4] == n]) for n in range(4)]
    refusals = [error_of(MELODY.encode, voice) for voice in alone]
    assert error_of(VOICES.encode, score) == next(filter(None, refusals), None)
    if any(refusals):
        return
    encoded, parts = VOICES.encode(score), [MELODY.encode(voice) for voice in alone]
    first = VOICES.first_slots(encoded.tokens, encoded.mask)
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(encoded.tokens[..., number], part.tokens[..., 0])
        np.testing.assert_array_equal(encoded.mask, part.mask)
        np.testing.assert_array_equal(first[:, number], MELODY.first_slots(part.tokens, part.mask)[:, 0])
    reasons = {reason for part in parts for reason in part.dropped}
    assert encoded.dropped == {reason: sum(part.dropped.get(reason, 0) for part in parts) for reason in reasons}


@pytest.mark.parametrize(
    ("metre", "slots"), [((4, 4), 16), ((6, 8), 12), ((9, 8), 18), ((3, 8), 6), ((2, 4), 8), ((5, 16), 5)]
)
def test_number_of_slots_of_a_metre(metre, slots):
    assert MELODY.slot_mask(np.array([metre])).sum() == slots


def test_tokens_by_hand():
    rows = [(480, 240, 60, 80, 0), (720, 240, 62, 80, 0), (1440, 600, 64, 80, 0)]
    encoded = MELODY.encode(score_of(rows, [(0, 4, 4), (1920, 2, 4)]))
    first, second = encoded.tokens[..., 0].tolist()
    assert first == [0, 0, 0, 0, 62, 0, 64, 0, 1, 0, 0, 0, 66, 0, 0, 0, 0, 0]
    assert second == [0, 1] + [0] * 16
    assert encoded.mask.sum(1).tolist() == [16, 8]


@pytest.mark.parametrize(
    ("rows", "measure"),
    [
        ([(0, 480, 60), (0, 480, 64)], 1),  # a chord
        ([(1920, 480, 60), (1925, 480, 64)], 2),  # a strummed chord
        ([(0, 960, 48), (240, 240, 60), (480, 240, 62)], 1),  # a second voice
    ],
)
def test_polyphony_is_refused_with_its_measure(rows, measure):
    score = score_of([(*row, DEFAULT_VELOCITY, 0) for row in rows], [(0, 4, 4), (1920, 4, 4)])
    with pytest.raises(MusicError, match=f"measure {measure}: polyphonic"):
        MelodyCodec().encode(score)


def test_legato_is_cut_and_counted():
    encoded = MELODY.encode(score_of([(0, 500, 60, 80, 0), (480, 480, 62, 80, 0)]))
    assert encoded.dropped == {"overlap": 1}
    assert MELODY.decode(encoded.tokens, encoded.metre).notes[:, 1].tolist() == [480, 480]


def test_velocities_that_differ_from_the_default_are_counted():
    rows = [(0, 240, 60, 78, 0), (0, 240, 72, 20, 1), (240, 240, 60, 83, 0)]
    assert VOICES.encode(score_of(rows)).dropped == {"velocity": 2}


@pytest.mark.parametrize(
    ("tracks", "voices"), [((0, 1, 3), (0, 1, 3)), ((0, 2, 9), (0, 1, 2))], ids=["own number", "beyond the last voice"]
)
def test_tracks_are_voices_or_are_numbered_in_order(tracks, voices):
    score = score_of([(0, 480, 50 + track, 80, track) for track in tracks])
    expected = [0, 0, 0, 0]
    for track, voice in zip(tracks, voices, strict=True):
        expected[voice] = FIRST_PITCH + 50 + track
    assert VOICES.encode(score).tokens[0, 0].tolist() == expected


def test_more_tracks_than_voices_are_refused():
    with pytest.raises(MusicError, match="voices: 5 tracks have notes; allowed: up to 4"):
        VoicesCodec().encode(score_of([(0, 480, 50 + n, 80, n) for n in range(5)]))
