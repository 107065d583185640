"""Laws of the sampler."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import ConfigError
from musicvae_jax.models.sampling import SamplingConfig, restrict, sample_categorical, sample_tokens
from musicvae_jax.types import existing_fields, until_end
from tests.tiny import ENDING, MODEL, make_batch, make_vae


def draw(num=8, key=0, sampling=SamplingConfig(), seed=0):
    vae, variables = make_vae()
    batch = jax.tree.map(lambda leaf: leaf[:num], make_batch(8))
    latents = {"global": jax.random.normal(jax.random.key(5), (8, 1, MODEL.global_dim))[:num]}
    tokens = sample_tokens(vae, variables, latents, batch.metre, batch.mask, jax.random.key(key), sampling)
    return vae, variables, batch, latents, np.asarray(tokens)


def test_greedy_takes_the_most_probable_token():
    vae, variables, batch, latents, tokens = draw(sampling=SamplingConfig(temperature=0.0))
    logits = jax.jit(partial(vae.apply, method="decode"))(variables, latents, batch._replace(tokens=tokens))
    for number in range(2):
        np.testing.assert_array_equal(logits[number].argmax(-1)[batch.mask], tokens[..., number][batch.mask])


def test_masked_slots_are_zero():
    *_, batch, _, tokens = draw()
    assert (tokens[~batch.mask] == 0).all()
    assert tokens.any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_end_as_teacher_forcing_sees_them(temperature):
    """A sampled measure ends in END and is empty after it; under its own mask, greedy tokens are the most probable."""
    vae, variables = make_vae(fields=ENDING, seed=5)  # whose measures are not all of one length
    batch = make_batch()
    allowed = np.repeat(batch.metre[..., :1] > 0, 4, -1)
    latents = {"global": 3 * jax.random.normal(jax.random.key(5), (8, 1, MODEL.global_dim))}
    sampling = SamplingConfig(temperature=temperature)
    tokens = sample_tokens(vae, variables, latents, batch.metre, allowed, jax.random.key(0), sampling)
    tokens = np.asarray(tokens)
    mask = until_end(tokens, allowed, ENDING)
    exists = existing_fields(tokens, mask, ENDING)
    assert not tokens[~exists].any()
    lengths = mask.sum(-1)[batch.metre[..., 0] > 0]
    assert len(np.unique(lengths)) > 1 and lengths.min() >= 1
    assert (mask & (tokens[..., 0] == 0)).sum() == len(
        lengths
    )  # one END in every measure, at the latest in the last slot
    if temperature == 0:
        sampled = batch._replace(tokens=tokens, mask=mask)
        logits = jax.jit(partial(vae.apply, method="decode"))(variables, latents, sampled)
        for number in range(2):
            best = np.asarray(logits[number].argmax(-1))
            np.testing.assert_array_equal(best[exists[..., number]], tokens[..., number][exists[..., number]])


def test_a_row_does_not_depend_on_its_neighbours():
    np.testing.assert_array_equal(draw(8)[-1][:3], draw(3)[-1])


def test_a_key_decides():
    assert (draw(key=0)[-1] == draw(key=0)[-1]).all()
    assert not (draw(key=0)[-1] == draw(key=1)[-1]).all()


def test_frequencies_follow_the_logits():
    """Within five standard errors, at two temperatures."""
    logits = jnp.array([2.0, 1.0, 0.0, -1.0])
    num = 20_000
    for temperature in (1.0, 0.5):
        noise = jax.random.gumbel(jax.random.key(0), (num, 4))
        drawn = sample_categorical(jnp.tile(logits, (num, 1)), noise, SamplingConfig(temperature=temperature))
        expected = np.asarray(jax.nn.softmax(logits / temperature))
        error = np.sqrt(expected * (1 - expected) / num)
        assert (np.abs(np.bincount(drawn, minlength=4) / num - expected) < 5 * error).all()


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match=r"temperature = .*: allowed is 0 or more"):
        SamplingConfig(temperature=temperature)


@settings(max_examples=30)  # top_k is compiled anew for every value
@given(
    st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=6, max_size=6, unique=True),
    st.integers(1, 8),
    st.floats(0.01, 1.0),
)
def test_restrictions_keep_the_top(values, top_k, top_p):
    logits = np.array(values, np.float32)
    order = np.argsort(-logits, kind="stable")
    kept = np.flatnonzero(np.isfinite(restrict(jnp.asarray(logits), top_k, 1.0)))
    assert logits[kept].min() >= logits[order[min(top_k, len(values)) - 1]]
    assert len(kept) >= min(top_k, len(values))

    kept = np.isfinite(restrict(jnp.asarray(logits), 0, top_p))
    probabilities = np.asarray(jax.nn.softmax(logits))
    assert kept[order[0]]
    assert probabilities[kept].sum() >= top_p - 1e-5
    smallest = min(probabilities[kept])
    assert probabilities[kept].sum() - smallest < top_p + 1e-5  # without its last class the nucleus is too small


def test_top_one_is_greedy():
    greedy = draw(sampling=SamplingConfig(temperature=0.0))[-1]
    np.testing.assert_array_equal(draw(sampling=SamplingConfig(top_k=1))[-1], greedy)
    np.testing.assert_array_equal(draw(sampling=SamplingConfig(top_p=1e-6))[-1], greedy)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SamplingConfig(**wrong)
