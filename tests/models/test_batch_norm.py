"""Laws of the normalised posterior means: the floor of the KL, on any devices, and what evaluation makes of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from musicvae_jax.models.batch_norm import MeanNorm, average_moments, committed_rate, statistics
from musicvae_jax.training.state import evaluation_variables, init_state, make_model
from musicvae_jax.types import Moments
from tests.models.variants import OF_LATENTS, infer, make_features, presence
from tests.tiny import CONFIG as TINY
from tests.tiny import FIELDS, make_batch, make_vae, replace

CONFIG = OF_LATENTS["batch norm"]
METRE = make_batch().metre
NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
train = partial(infer, deterministic=False)


def bias_of(variables, level):
    return variables["params"][f"norms_{level}"]["bias"]


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_no_encoder_gets_under_the_floor(scale):
    """Batch-mean KL of a latent >= sum over dims of (gamma^2 + bias^2) / 2, whatever parameters and features are."""
    features = make_features(CONFIG, scale=10 * scale)
    for seed in range(3):
        vae, variables = make_vae(CONFIG, seed=seed, scale=scale)
        found = train(vae, variables, features, METRE)
        for level, present in presence(CONFIG, METRE).items():
            kl = np.asarray(found.kl[level]).sum() / present.sum()
            floor = committed_rate(CONFIG.widths[level], CONFIG.batch_norm_gamma, bias_of(variables, level))
            assert kl >= floor * (1 - 1e-4)


@settings(max_examples=100)
@given(
    st.integers(0, 2**32 - 1), st.floats(-2, 4), st.floats(-3, 3), st.lists(st.integers(1, 4), min_size=8, max_size=8)
)
def test_means_have_the_spread_and_the_bias(seed, log_scale, offset, lengths):
    """At any scale, from a hundredth to ten thousand standard deviations of the prior; masked latents do not count."""
    rng = np.random.default_rng(seed)
    scale = 10**log_scale
    loc = (scale * (rng.standard_t(2, (8, 4, 3)) + offset)).astype(np.float32)  # with heavy tails
    present = np.arange(4) < np.array(lengths)[:, None]
    bias = rng.normal(size=3).astype(np.float32)
    normed, moments = _norm({"params": {"bias": bias}} | _stored(), loc, present)
    inside = np.asarray(normed, np.float64)[present]
    variance = loc[present].astype(np.float64).var(0)
    spread = 0.6 * np.sqrt(variance / (variance + 1e-8))
    np.testing.assert_allclose(inside.mean(0), bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(inside.std(0), spread, rtol=1e-4)
    # What is stored is an estimate for all music, and that of a batch of few must not be too small.
    np.testing.assert_allclose(moments.variance, loc[present].astype(np.float64).var(0, ddof=1), rtol=1e-4)
    garbage = np.where(present[..., None], loc, 1e6).astype(np.float32)
    np.testing.assert_array_equal(_norm({"params": {"bias": bias}} | _stored(), garbage, present)[0][present], inside)


@jax.jit
def _norm(variables, loc, present):
    return MeanNorm(3, 0.6).apply(variables, loc, present, deterministic=False)


def _stored():
    return {"batch_stats": {"moments": Moments(jnp.zeros(3), jnp.ones(3))}}


def test_statistics_are_those_of_the_whole_batch_wherever_its_rows_are():
    """One row after the other under vmap, and on four devices, as one batch: posterior, KL and moments."""
    vae, variables = make_vae(CONFIG)
    features = make_features(CONFIG)
    settings = {"deterministic": False, "draw": False}
    whole = infer(vae, variables, features, METRE, **settings)

    def rows(features, metre, axes=("row",)):
        one = lambda features, metre: infer(vae, variables, features, metre, batch_axes=axes, **settings)  # noqa: E731
        return jax.vmap(one, axis_name="row")(features, metre)

    def share(features, metre):
        found = rows(features, metre, ("row", "device"))
        return found._replace(moments=jax.tree.map(lambda leaf: leaf[:1], found.moments))

    mesh = jax.make_mesh((4,), ("device",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("device")
    spread = jax.shard_map(share, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
    for found in (jax.jit(rows)(features, METRE), jax.jit(spread)(features, METRE)):
        jax.tree.map(NEAR, found._replace(moments={}), whole._replace(moments={}))
        for level, moments in whole.moments.items():  # the same on every row and device
            for one, other in zip(found.moments[level], moments, strict=True):
                NEAR(one, np.broadcast_to(other, one.shape))


def test_evaluation_uses_what_is_stored():
    """A row does not depend on its neighbours; and with the batch's own spread stored, evaluation is training."""
    vae, variables = make_vae(CONFIG)
    features = make_features(CONFIG)
    evaluate = partial(infer, vae, draw=False)
    other = {level: np.concatenate([value[:4], 9 - value[4:]]) for level, value in features.items()}
    first, second = evaluate(variables, features, METRE), evaluate(variables, other, METRE)
    jax.tree.map(lambda one, two: np.testing.assert_array_equal(one[:4], two[:4]), first.posterior, second.posterior)
    assert all(
        (one.loc[4:] != two.loc[4:]).all()
        for one, two in zip(first.posterior.values(), second.posterior.values(), strict=True)
    )
    trained = evaluate(variables, features, METRE, deterministic=False)
    assert not np.allclose(first.posterior["global"].loc, trained.posterior["global"].loc, atol=1e-2)
    numbers = {level: present.sum() for level, present in presence(CONFIG, METRE).items()}
    own = {
        level: moments._replace(variance=moments.variance * (numbers[level] - 1) / numbers[level])
        for level, moments in trained.moments.items()
    }
    evaluated = evaluate(variables | statistics(own), features, METRE)
    jax.tree.map(NEAR, evaluated._replace(moments={}), trained._replace(moments={}))


def test_the_average_of_moments_owes_nothing_to_where_it_began():
    """The mean of the first twenty batches; and what does not change is not changed."""
    rng = np.random.default_rng(0)
    found = [{"fine": Moments(*rng.uniform(1, 2, (2, 3)))} for _ in range(20)]
    stored = {"fine": Moments(np.full(3, 1e6), np.full(3, 1e6))}
    for step, moments in enumerate(found):
        stored = average_moments(stored, moments, jnp.asarray(step))
    for number, average in enumerate(stored["fine"]):
        np.testing.assert_allclose(average, np.mean([moments["fine"][number] for moments in found], 0), rtol=1e-5)
    jax.tree.map(NEAR, average_moments(stored, stored, jnp.asarray(100)), stored)
    later = average_moments(stored, found[0], jnp.asarray(10**4))  # and then of the last twenty or so
    for average, old, new in zip(later["fine"], stored["fine"], found[0]["fine"], strict=True):
        np.testing.assert_allclose(average, 0.95 * old + 0.05 * new, rtol=1e-5)


def test_the_floor_holds_in_evaluation():
    """Under the average of a few batches' moments, over all their latents; what is averaged is off by a few percent."""
    vae, variables = make_vae(CONFIG)
    batches = [make_features(CONFIG, scale=3.0, seed=seed) for seed in range(8)]
    stored = train(vae, variables, batches[0], METRE).moments
    for step, features in enumerate(batches):
        stored = average_moments(stored, train(vae, variables, features, METRE).moments, jnp.asarray(step))
    evaluated = [infer(vae, variables | statistics(stored), features, METRE) for features in batches]
    for level, present in presence(CONFIG, METRE).items():
        kl = sum(np.asarray(found.kl[level]).sum() for found in evaluated) / (len(batches) * present.sum())
        floor = committed_rate(CONFIG.widths[level], CONFIG.batch_norm_gamma, bias_of(variables, level))
        assert kl >= floor * 0.95


def test_what_is_evaluated_has_the_moments_of_its_own_parameters():
    """The average of the parameters has other moments, under which the committed rate would not hold."""
    for levels in (("global",), ()):
        config = replace(TINY, model={"batch_norm_levels": levels}, train={"ema_decay": 0.9})
        state = jax.jit(partial(init_state, config, make_model(config, FIELDS)))()
        state = state._replace(ema_params=jax.tree.map(lambda leaf: leaf + 1, state.params))
        wanted = state.params if levels else state.ema_params
        jax.tree.map(np.testing.assert_array_equal, evaluation_variables(state)["params"], wanted)
