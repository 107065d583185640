"""Laws of inference: a batch is its rows, evaluation is deterministic, and few shapes are compiled."""

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.inference import (
    decode_nll,
    encode,
    forward,
    in_powers_of_two,
    infer,
    reconstruct,
    sample_prior,
    slerp,
)
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.validation import make_validator
from tests.models.variants import THREE, each, make_latents, presence
from tests.tiny import SLOTS, make_batch, make_vae, replace

NOISE = {"dropout": 0.5, "token_dropout": 0.5, "level_dropout": 0.5, "skip": True}  # of training only
CAUSAL = replace(THREE, model={"encoder_measure_layers": 1}, **each(("local", "fine"), prior_context="causal"))
NOISY = replace(CAUSAL, model=NOISE, train={"num_devices": 1}, **{"global": {"batch_norm": 0.8}})
QUIET = replace(NOISY, model=dict.fromkeys(NOISE, 0.0) | {"skip": False})  # takes the same variables
BATCH = make_batch(8, measures=5)


def make_keys():
    """A key for each row, made anew for each use."""
    return row_keys(jax.random.key(5), jnp.arange(8))


def row(tree: Any, number: int | slice) -> Any:
    """One row of every array, without the axis of the batch."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


def nll_of(output) -> np.ndarray:
    return np.asarray(token_nll(output.logits, BATCH).sum((1, 2, 3)))


def assert_near(found: Any, expected: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)


@functools.cache
def by_hand():
    """(example, key) -> output, by the methods of a model that has no noise but that of its latents."""
    vae = make_vae(QUIET)[0]
    return jax.jit(lambda example, key: vae.apply(make_vae(NOISY)[1], example, rngs={"latent": key}))


def test_training_applies_the_model_to_each_row_with_its_own_keys():
    vae, variables = make_vae(replace(NOISY, **{"global": {"batch_norm": 0.0}}))

    @jax.jit
    def one(example, key):
        streams = ("latent", "dropout", "token_dropout", "level_dropout", "skip")
        return vae.apply(variables, example, False, rngs={name: stream(key, name) for name in streams})

    run = jax.jit(partial(forward, vae, deterministic=False))
    output = run(variables, BATCH, make_keys())
    for number in (0, 5):
        assert_near(row(output, number), one(row(BATCH, number), make_keys()[number]))
    equal_rows = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 8, 0), BATCH)
    assert len(np.unique(nll_of(run(variables, equal_rows, make_keys())))) == 8


def test_reconstruction_and_validation_are_free_of_the_noise_of_training():
    """They are the pass of a model without that noise, row by row: rows depend on no neighbour and no batch size."""
    vae, variables = make_vae(NOISY)
    output = reconstruct(vae, variables, BATCH, make_keys())
    for number in range(8):
        expected = by_hand()(row(BATCH, number), make_keys()[number])
        assert_near(row(output._replace(moments={}), number), expected._replace(moments={}))
    assert NOISY != QUIET and output.kept == {}
    with_skip = reconstruct(vae, variables, BATCH, make_keys(), skip=True)
    assert (np.abs(nll_of(with_skip) - nll_of(output)) > 1e-3).all()

    keys = row_keys(stream(jax.random.key(NOISY.train.seed), "validation"), BATCH.index)
    nll = [
        token_nll(by_hand()(row(BATCH, number), keys[number]).logits, row(BATCH, number)).sum() for number in range(8)
    ]
    figures = make_validator(vae, make_parallel(NOISY.train), NOISY)(variables, [BATCH])
    np.testing.assert_allclose(figures.nll, np.mean(nll), rtol=1e-5)


def test_infer_draws_the_latents_of_reconstruct_and_decode_nll_is_its_nll():
    vae, variables = make_vae(NOISY)
    output = reconstruct(vae, variables, BATCH, make_keys())
    found = infer(vae, variables, BATCH, make_keys())
    for field in ("latents", "residual", "frame", "kl", "log_ratio", "present"):
        assert_near(getattr(found, field), getattr(output, field))
    assert_near(decode_nll(vae, variables, found.latents, BATCH), nll_of(output))


def test_encode_is_the_method_of_the_model_and_standard_normal_where_a_window_has_no_latent():
    vae, variables = make_vae(NOISY)
    posterior, present = encode(vae, variables, BATCH), presence(NOISY, BATCH.metre)
    method = jax.jit(partial(vae.apply, method="encode"))
    for number in (0, 5):
        expected = method(variables, row(BATCH, number))
        for name, there in present.items():
            for leaf, of_row in zip(posterior[name], expected[name], strict=True):
                assert_near(leaf[number], np.where(there[number][:, None], of_row, 0))


def test_given_latents_replace_draws_and_lower_levels_follow_them():
    vae, variables = make_vae(NOISY)
    present = presence(NOISY, BATCH.metre)
    given = {name: np.where(present[name][..., None], z, 0) for name, z in make_latents(NOISY, measures=5).items()}
    own = infer(vae, variables, BATCH, make_keys())
    replaced = infer(vae, variables, BATCH, make_keys(), {"local": given["local"]})
    np.testing.assert_array_equal(replaced.latents["local"], given["local"])
    np.testing.assert_array_equal(replaced.latents["global"], own.latents["global"])
    assert (np.abs(replaced.kl["fine"].total - own.kl["fine"].total).sum(-1) > 1e-3).all()
    output = reconstruct(vae, variables, BATCH, make_keys(), given)
    jax.tree.map(np.testing.assert_array_equal, output.latents, given)
    assert_near(nll_of(output), decode_nll(vae, variables, given, BATCH))

    some = {"global": given["global"]}
    drawn = sample_prior(vae, variables, BATCH.metre, make_keys(), some, {"fine": 0.5})
    one = jax.jit(partial(vae.apply, method="sample_prior"))
    for number in (0, 5):
        rngs = {"latent": make_keys()[number]}
        settings = (BATCH.metre[number], row(some, number), {"fine": 0.5})
        assert_near(row(drawn, number), one(variables, *settings, rngs=rngs))


def test_rows_that_fill_up_a_power_of_two_are_dropped():
    seen = []

    def double(x, more):
        seen.append(len(x))
        return {"x": 2 * x, "more": more}

    for number in range(1, 10):
        rows = np.arange(2 * number, dtype=np.float32).reshape(number, 2)
        found = in_powers_of_two(double, rows, rows[:, 0])
        np.testing.assert_array_equal(found["x"], 2 * rows)
        np.testing.assert_array_equal(found["more"], rows[:, 0])
    assert seen == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    on_devices = jnp.zeros((3, 2))
    assert in_powers_of_two(lambda x: x, on_devices) is on_devices


def test_codes_and_music_of_five_rows_are_those_of_eight():
    """Music is drawn at temperature 1."""
    vae, variables = make_vae(NOISY)
    five = jax.tree.map(lambda leaf: leaf[:5], BATCH)
    found = in_powers_of_two(partial(encode, vae, variables), five)
    assert_near(found, row(encode(vae, variables, BATCH), slice(5)))
    latents = {name: np.asarray(q.loc) for name, q in found.items()}

    def draw(latents, metre, mask):
        return sample_tokens(vae, variables, latents, metre, mask, jax.random.key(4), SamplingConfig())

    mask = np.arange(SLOTS) < five.metre[..., :1]
    tokens = in_powers_of_two(draw, latents, five.metre, mask)
    np.testing.assert_array_equal(tokens, draw(latents, five.metre, mask))


def test_slerp_keeps_the_norm_goes_at_an_even_pace_and_hits_both_ends():
    rng = np.random.default_rng(0)
    a, b = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 8)))
    angle = np.arccos(a @ b)
    for share in (0.0, 0.2, 0.5, 0.9, 1.0):
        between = np.asarray(slerp(a, b, share), np.float64)
        np.testing.assert_allclose(np.linalg.norm(between), 1, rtol=1e-5)
        np.testing.assert_allclose([between @ a, between @ b], np.cos([share * angle, (1 - share) * angle]), rtol=1e-4)
    np.testing.assert_allclose(slerp(a, 2 * a, 0.5), 1.5 * a, rtol=1e-4)  # parallel ends: a straight line
    points = slerp(np.stack([a, b]), np.stack([b, a]), 0.3)  # leading axes are free
    np.testing.assert_allclose(points, [slerp(a, b, 0.3), slerp(b, a, 0.3)], rtol=1e-6)
