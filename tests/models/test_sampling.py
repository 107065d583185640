"""Laws of the sampler."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import ConfigError
from musicvae_jax.models.sampling import Choice, SamplingConfig, restrict, sample_categorical, sample_tokens
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.types import Batch, Field, existing_fields, until_end
from tests.models.variants import SUBSETS
from tests.tiny import ENDING, FIELDS, SLOTS, make_batch, make_vae, replace

# The classes 0 and 1 of a field that has pitches are a hold and a rest.
VOICES = (Field("first", 5, first_pitch=2), Field("second", 3, first_pitch=2))
SMALL = replace(SUBSETS["global"], model={"dim": 8})


def draw(key=0, **sampling):
    vae, variables = make_vae(SMALL)
    batch, latents = make_batch(), {"global": jax.random.normal(jax.random.key(5), (8, 1, 6))}
    frame, key = (batch.metre, batch.mask), jax.random.key(key)
    return np.asarray(sample_tokens(vae, variables, latents, *frame, key, SamplingConfig(**sampling)))


def test_a_sampled_measure_ends_in_one_end_and_is_empty_after_it():
    vae, variables = make_vae(SMALL, fields=ENDING, seed=5)  # under this seed measures differ in length
    batch = make_batch()
    allowed = np.repeat(batch.metre[..., :1] > 0, 4, -1)
    latents = {"global": 3 * jax.random.normal(jax.random.key(5), (8, 1, 6))}
    frame, key = (batch.metre, allowed), jax.random.key(0)
    tokens = np.asarray(sample_tokens(vae, variables, latents, *frame, key, SamplingConfig()))
    mask = until_end(tokens, allowed, ENDING)
    assert not tokens[~existing_fields(tokens, mask, ENDING)].any()
    lengths = mask.sum(-1)[batch.metre[..., 0] > 0]
    assert len(np.unique(lengths)) > 1 and lengths.min() >= 1
    assert (mask & (tokens[..., 0] == 0)).sum() == len(lengths)  # the last slot at the latest


@pytest.mark.parametrize(
    ("context", "fields"), [("none", FIELDS), ("previous", FIELDS), ("flat", FIELDS), ("flat", VOICES)]
)
def test_windows_are_drawn_as_often_as_they_are_probable(context, fields):
    """All 225 windows of one slot in each of two measures: their probabilities sum to 1, and the chi-square of the
    counts is within five standard deviations of its mean."""
    vae, variables = make_vae(replace(SMALL, model={"context": context, "intervals": fields == VOICES}), fields)
    slots = list(itertools.product(range(5), range(3)))
    windows = np.array(list(itertools.product(slots, slots)))
    tokens = np.zeros((225, 2, SLOTS, 2), np.int32)
    tokens[:, :, 0] = windows

    def frame(num):
        mask = np.broadcast_to(np.arange(SLOTS) == 0, (num, 2, SLOTS))
        return {"global": np.ones((num, 1, 6), np.float32)}, np.full((num, 2, 2), 4, np.int32), mask

    latents, metre, mask = frame(225)
    batch = Batch(tokens, mask, metre, np.arange(225))
    logits = jax.jit(partial(vae.apply, method="decode"))(variables, latents, batch)
    probabilities = np.exp(-np.asarray(token_nll(logits, batch), np.float64).sum((1, 2, 3)))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
    num = 4000
    latents, metre, mask = frame(num)
    drawn = np.asarray(sample_tokens(vae, variables, latents, metre, mask, jax.random.key(0), SamplingConfig()))
    counts = np.bincount(drawn[:, :, 0].reshape(num, 4) @ [45, 15, 3, 1], minlength=225)
    expected = num * probabilities
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 224) < 5 * np.sqrt(2 * 224)


def test_the_key_decides():
    assert (draw(0) == draw(0)).all() and (draw(0) != draw(1)).any()


def test_frequencies_follow_the_logits():
    """Within five standard errors, at two temperatures."""
    logits = jnp.array([2.0, 1.0, 0.0, -1.0])
    num = 20_000
    for temperature in (1.0, 0.5):
        noise = jax.random.gumbel(jax.random.key(0), (num, 4))
        drawn = sample_categorical(jnp.tile(logits, (num, 1)), noise, Choice(temperature, None))
        expected = np.asarray(jax.nn.softmax(logits / temperature))
        error = np.sqrt(expected * (1 - expected) / num)
        assert (np.abs(np.bincount(drawn, minlength=4) / num - expected) < 5 * error).all()


def test_another_temperature_or_nucleus_needs_no_compilation(caplog):
    draw(temperature=0.9, top_p=0.9)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        tokens = [draw(temperature=value, top_p=top_p) for value, top_p in ((0.8, 0.9), (1.2, 0.9), (1.2, 0.3))]
        assert "_sample_tokens" not in caplog.text
        draw(temperature=0.0)  # another program: the law above can fail
        assert "_sample_tokens" in caplog.text
    assert not any((one == other).all() for one, other in itertools.combinations(tokens, 2))


@settings(max_examples=30)  # top_k is compiled anew for every value
@given(
    st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=6, max_size=6, unique=True),
    st.integers(1, 8),
    st.floats(0.01, 1.0),
)
def test_restrictions_keep_the_top(values, top_k, top_p):
    logits = np.array(values, np.float32)
    order = np.argsort(-logits, kind="stable")
    kept = np.flatnonzero(np.isfinite(restrict(jnp.asarray(logits), top_k, None)))
    assert logits[kept].min() >= logits[order[min(top_k, len(values)) - 1]]
    assert len(kept) >= min(top_k, len(values))

    kept = np.isfinite(restrict(jnp.asarray(logits), 0, top_p))
    probabilities = np.asarray(jax.nn.softmax(logits))
    assert kept[order[0]]
    assert probabilities[kept].sum() >= top_p - 1e-5
    smallest = min(probabilities[kept])
    assert probabilities[kept].sum() - smallest < top_p + 1e-5  # without its last class the nucleus is too small


def test_the_top_class_alone_is_the_greedy_choice():
    greedy = draw(temperature=0.0)
    np.testing.assert_array_equal(draw(top_k=1), greedy)
    np.testing.assert_array_equal(draw(top_p=1e-6), greedy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"{name} = {value}: allowed is "):
        SamplingConfig(**{name: value})


@pytest.mark.parametrize("context", ["none", "previous", "flat"])
def test_known_measures_are_kept_and_the_others_go_on_from_them(context):
    vae, variables = make_vae(replace(SMALL, model={"context": context}))
    batch, latents = make_batch(), {"global": jax.random.normal(jax.random.key(5), (8, 1, 6))}
    arguments = (vae, variables, latents, batch.metre, batch.mask, jax.random.key(0))
    greedy = SamplingConfig(temperature=0.0)
    free = np.asarray(sample_tokens(*arguments, greedy))
    known = np.full_like(free, -1)
    known[:, 0] = free[:, 0]
    np.testing.assert_array_equal(sample_tokens(*arguments, greedy, known), free)
    known[:, 0] = np.where(batch.mask[:, 0, :, None], (free[:, 0] + 1) % [5, 3], 0)
    found = np.asarray(sample_tokens(*arguments, greedy, known))
    np.testing.assert_array_equal(found[:, 0], known[:, 0])
    assert (found[:, 1:] != free[:, 1:]).any() == (context != "none")  # a decoder that sees the past goes on from it
