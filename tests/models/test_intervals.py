"""Laws of the last pitches of voices, and of the logits of intervals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.codec import make_codec
from musicvae_jax.config import CodecConfig
from musicvae_jax.models.decoder import Past
from musicvae_jax.models.intervals import REACH, IntervalLogits, heard_before, move, pitches_of, shown_pitches
from musicvae_jax.types import Field
from tests.tiny import ENDING, MODEL

# On a grid: 0 holds, 1 is a rest. Of the second field every class but 0 is a pitch.
VOICES = (Field("first", 6, first_pitch=2), Field("second", 4, first_pitch=1))


@pytest.mark.parametrize("fields", [VOICES, ENDING])
def test_what_was_heard_is_the_last_shown_pitch_before_the_slot(fields):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, [field.size for field in fields], (20, 12, 2)).astype(np.int32)
    shown = rng.random((20, 12)) < 0.8
    heard = np.asarray(heard_before(shown_pitches(tokens, shown, fields)))
    voices = [number for number, field in enumerate(fields) if field.first_pitch is not None]
    past = Past.start((20,), fields)
    kinds = set()
    for slot in range(12):
        np.testing.assert_array_equal(past.heard, heard[:, slot])
        past = past.then(tokens[:, slot], shown[:, slot], fields)
        for row, (voice, number) in itertools.product(range(20), enumerate(voices)):
            last = -1
            for earlier in range(slot):
                ended = fields[0].end is not None and tokens[row, earlier, 0] == fields[0].end
                pitch = tokens[row, earlier, number] - fields[number].first_pitch
                last = pitch if shown[row, earlier] and not ended and pitch >= 0 else last
            assert heard[row, slot, voice] == last
            kinds.add(last)
    assert kinds == {-1, 0, 1, 2} | ({3} if fields == VOICES else set())


@settings(max_examples=20)
@given(st.integers(1, 128), st.integers(0, 1000))
def test_weights_of_intervals_become_weights_of_pitches(num_pitches, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(9, 2 * REACH + 1)).astype(np.float32)
    heard = rng.integers(-1, num_pitches, 9)
    expected = np.zeros((9, num_pitches), np.float32)
    for row, pitch in np.ndindex(expected.shape):
        interval = pitch - heard[row]
        if heard[row] >= 0 and abs(interval) <= REACH:
            expected[row, pitch] = x[row, REACH + interval]
    np.testing.assert_array_equal(move(x, jnp.asarray(heard), num_pitches), expected)


def test_the_gradient_of_interval_logits_needs_no_scatter():
    head = IntervalLogits(MODEL, Field("voice", 130, first_pitch=2))
    x, heard = jnp.ones((3, MODEL.dim)), jnp.array([-1, 0, 127])
    variables = head.init(jax.random.key(0), x, heard)
    gradient = jax.jit(jax.grad(lambda variables: head.apply(variables, x, heard).sum()))
    assert "scatter" not in gradient.lower(variables).as_text()
    logits = head.apply(variables, x, heard)
    assert logits.shape == (3, 130) and not logits[:, :2].any() and not logits[0].any()
    moved = np.flatnonzero(np.asarray(logits[1])), np.flatnonzero(np.asarray(logits[2]))
    np.testing.assert_array_equal(moved[0], 2 + np.arange(REACH + 1))
    np.testing.assert_array_equal(moved[1], 2 + np.arange(127 - REACH, 128))


@pytest.mark.parametrize("name", ["melody", "voices", "performance"])
def test_first_pitch_of_a_field_is_the_class_of_pitch_zero(name):
    """Moving music by n semitones moves these classes by n, and no others."""
    codec = make_codec(CodecConfig(name=name))
    voices = [number for number, field in enumerate(codec.fields) if field.first_pitch is not None]
    tokens = np.ones((1, len(codec.fields)), np.int32)
    for number in voices:
        tokens[:, number] = (codec.fields[number].first_pitch or 0) + 60
    moved = codec.transpose(tokens, 3) - tokens
    assert voices
    np.testing.assert_array_equal(moved[0], [3 if number in voices else 0 for number in range(len(codec.fields))])
    np.testing.assert_array_equal(pitches_of(tokens, codec.fields), [[60] * len(voices)])
