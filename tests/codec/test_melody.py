import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import (
    DEFAULT_VELOCITY,
    MelodyCodec,
    Metre,
    MusicError,
    Score,
    check_score,
    make_codec,
    select_track,
)
from musicvae_jax.config import CodecConfig
from tests.codec.music import METRES, SIXTEENTHS, assert_same, score_of, scores

CODEC = MelodyCodec()
TRIPLETS = MelodyCodec(("0", "1/4", "1/3", "1/2", "2/3", "3/4"), 30)
CODECS = st.sampled_from([CODEC, TRIPLETS])
VOCABULARY = CODEC.fields[0].size


@st.composite
def token_arrays(draw):
    metre = np.array(draw(st.lists(st.sampled_from(METRES), min_size=1, max_size=4)), np.int32)
    shape = (len(metre), CODEC.slots, 1)
    values = st.integers(0, VOCABULARY - 1) | st.sampled_from([0, 0, 0, 1])
    size = int(np.prod(shape))
    tokens = np.array(draw(st.lists(values, min_size=size, max_size=size)), np.int32).reshape(shape)
    return tokens, metre


@given(CODECS, scores() | scores(jitter=25) | scores(legato=40) | scores(SIXTEENTHS))
def test_decoding_the_encoded_score_is_quantising_it(codec, score):
    try:
        quantised = codec.quantise(score)
    except MusicError as error:
        with pytest.raises(MusicError, match=f"^{error}$".replace("(", r"\(").replace(")", r"\)")):
            codec.encode(score)
        return
    encoded = codec.encode(score)
    assert_same(codec.decode(encoded.tokens, encoded.metre), quantised)
    check_score(quantised)


@given(CODECS, scores(SIXTEENTHS))
def test_what_lies_on_the_grid_is_kept_whole(codec, score):
    encoded = codec.encode(score)
    assert encoded.dropped == {}
    assert_same(codec.decode(encoded.tokens, encoded.metre), score)


@given(scores([160, 320, 480, 120], rests=False, metres=[Metre(4, 4), Metre(3, 4)]))
def test_triplets_are_kept_by_a_grid_that_has_them(score):
    on_grid = np.isin(score.notes[:, 0] % 480, TRIPLETS.offsets) & np.isin(
        score.notes[:, :2].sum(1) % 480, TRIPLETS.offsets
    )
    score = dataclasses.replace(score, notes=score.notes[on_grid])
    encoded = TRIPLETS.encode(score)
    assert encoded.dropped == {}
    assert_same(TRIPLETS.decode(encoded.tokens, encoded.metre), score)


@given(token_arrays())
def test_any_tokens_decode_and_encoding_them_again_is_canonical(arrays):
    tokens, metre = arrays
    score = CODEC.decode(tokens, metre)
    check_score(score)
    canonical = CODEC.encode(score)
    assert canonical.dropped == {}
    np.testing.assert_array_equal(canonical.metre, metre)
    assert_same(CODEC.decode(canonical.tokens, metre), score)
    np.testing.assert_array_equal(CODEC.encode(CODEC.decode(canonical.tokens, metre)).tokens, canonical.tokens)
    # Onsets inside the measures are in the tokens as they were; holds and rests are what canonical form changes.
    onsets = CODEC.is_onset(canonical.tokens)
    np.testing.assert_array_equal(onsets, CODEC.is_onset(tokens) & canonical.mask[..., None])
    np.testing.assert_array_equal(canonical.tokens[onsets], tokens[onsets])


@given(scores(), st.integers(-60, 60))
def test_transposing_there_and_back_is_the_identity(score, semitones):
    tokens = CODEC.encode(CODEC.quantise(score)).tokens
    bounds = CODEC.pitch_range(tokens)
    if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones <= 127:
        with pytest.raises(MusicError, match="allowed: 0 to 127"):
            CODEC.transpose(tokens, semitones)
        return
    moved = CODEC.transpose(tokens, semitones)
    assert moved.dtype == tokens.dtype
    assert CODEC.pitch_range(moved) == (bounds and (bounds[0] + semitones, bounds[1] + semitones))
    np.testing.assert_array_equal(CODEC.transpose(moved, -semitones), tokens)


@given(scores(jitter=30))
def test_no_note_disappears_uncounted(score):
    score = select_track(score, "skyline")  # which cuts overlaps
    encoded = CODEC.encode(score)
    lost = encoded.dropped.get("collision", 0)
    assert CODEC.is_onset(encoded.tokens).sum() + lost == len(score.notes)
    moved = CODEC.quantise(score).notes[:, 0]
    assert len(np.setdiff1d(moved, score.notes[:, 0])) <= encoded.dropped.get("off_grid", 0)


@given(CODECS, scores() | scores(jitter=40, legato=200))
def test_encode_is_total_on_melodies(codec, score):
    encoded = codec.encode(select_track(score, "skyline"))
    assert not encoded.tokens[~encoded.mask].any()
    assert encoded.tokens.dtype == encoded.metre.dtype == np.int32


@given(scores().filter(lambda score: len(score.notes)), st.data())
def test_what_is_wrong_with_a_score_is_named(score, data):
    notes = score.notes.copy()
    row = data.draw(st.integers(0, len(notes) - 1))
    column, value = data.draw(
        st.sampled_from([(0, -1), (0, 10**6), (1, 0), (1, -5), (2, 128), (2, -1), (3, 0), (4, -1)])
    )
    notes[row, column] = value
    with pytest.raises(MusicError) as caught:
        CODEC.encode(dataclasses.replace(score, notes=notes))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    ("metre", "slots"), [((4, 4), 16), ((6, 8), 12), ((9, 8), 18), ((3, 8), 6), ((2, 4), 8), ((5, 16), 5)]
)
def test_slots_of_a_metre(metre, slots):
    assert CODEC.num_slots(Metre(*metre)) == slots


@pytest.mark.parametrize(
    ("metre", "says"), [((12, 8), "needs 24 slots; allowed: up to 18"), ((4, 3), "allowed"), ((0, 4), "0/4")]
)
def test_a_metre_that_does_not_fit(metre, says):
    with pytest.raises(MusicError, match=says) as caught:
        CODEC.num_slots(Metre(*metre))
    assert caught.value.reason == "metre"
    score = score_of([], [(0, 4, 4), (1920, *metre)])
    with pytest.raises(MusicError, match="measure 2"):
        CODEC.encode(score)


def test_tokens_literally():
    rows = [(480, 240, 60, 80, 0), (720, 240, 62, 80, 0), (1440, 600, 64, 80, 0)]
    encoded = CODEC.encode(score_of(rows, [(0, 4, 4), (1920, 2, 4)]))
    first, second = encoded.tokens[..., 0].tolist()
    assert first == [0, 0, 0, 0, 62, 0, 64, 0, 1, 0, 0, 0, 66, 0, 0, 0, 0, 0]
    assert second == [0, 1] + [0] * 16
    assert encoded.mask.sum(1).tolist() == [16, 8]
    assert [CODEC.describe(token) for token in (0, 1, 2, 62, 129)] == ["hold", "rest", "C-1", "C4", "G9"]


def test_padding_measures_are_left_out():
    rows = [(0, 480, 60, 80, 0)]
    encoded = CODEC.encode(score_of(rows))
    tokens, metre = np.zeros((3, 18, 1), np.int32), np.zeros((3, 2), np.int32)
    tokens[:1], metre[:1] = encoded.tokens, encoded.metre
    assert_same(CODEC.decode(tokens, metre), score_of(rows))


@pytest.mark.parametrize(
    ("rows", "measure"),
    [
        ([(0, 480, 60), (0, 480, 64)], 1),  # a chord
        ([(1920, 480, 60), (1925, 480, 64)], 2),  # a strummed one
        ([(0, 960, 48), (240, 240, 60), (480, 240, 62)], 1),  # a second voice
    ],
)
def test_polyphony_is_refused_by_measure(rows, measure):
    score = score_of([(*row, DEFAULT_VELOCITY, 0) for row in rows], [(0, 4, 4), (1920, 4, 4)])
    for refuse in (CODEC.encode, CODEC.quantise):
        with pytest.raises(MusicError, match=f"measure {measure}: polyphonic"):
            refuse(score)


def test_legato_is_trimmed_and_counted():
    rows = [(0, 500, 60, 80, 0), (480, 480, 62, 80, 0)]
    encoded = CODEC.encode(score_of(rows))
    assert encoded.dropped == {"overlap": 1}
    assert CODEC.decode(encoded.tokens, encoded.metre).notes[:, 1].tolist() == [480, 480]


@pytest.mark.parametrize(
    "subdivisions",
    [
        (),
        ("1/4",),
        ("0", "1"),
        ("0", "1/2", "1/4"),
        ("0", "0"),
        ("0", "1/7"),
        ("0", "half"),
        ("0", "1/0"),
        ("0", "-1/4"),
    ],
)
def test_a_grid_that_cannot_be(subdivisions):
    with pytest.raises(ValueError, match=r"subdivisions.*allowed"):
        MelodyCodec(subdivisions)


def test_tokens_outside_the_vocabulary_and_wrong_shapes():
    tokens, metre = np.zeros((1, 18, 1), np.int32), np.array([[4, 4]], np.int32)
    with pytest.raises(MusicError, match="allowed: 0 to 129"):
        CODEC.decode(tokens + 130, metre)
    with pytest.raises(MusicError, match=r"allowed: \[measure, slot, 1\]"):
        CODEC.decode(tokens[..., 0], metre)
    with pytest.raises(MusicError, match="4/4 needs 16 slots; the tokens have 12"):
        CODEC.decode(tokens[:, :12], metre)
    with pytest.raises(MusicError, match="130"):
        CODEC.describe(130)


def test_scores_that_are_none():
    good = score_of([(0, 480, 60, 80, 0)])
    for broken, says in [
        (dataclasses.replace(good, notes=np.zeros((1, 4), np.int32)), "note, 5"),
        (dataclasses.replace(good, measures=np.zeros((0, 3), np.int32)), "at least one measure"),
        (dataclasses.replace(good, measures=np.array([[0, 4, 4], [480, 4, 4]], np.int32)), "measure 2"),
        (score_of([(480, 480, 60, 80, 0), (0, 480, 60, 80, 0)]), "sorted"),
    ]:
        assert isinstance(broken, Score)
        with pytest.raises(MusicError, match=says):
            CODEC.encode(broken)


def test_the_config_names_the_codec():
    assert make_codec(CodecConfig()) == CODEC
    assert make_codec(CodecConfig(subdivisions=TRIPLETS.subdivisions, slots=30)) == TRIPLETS
