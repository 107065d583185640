"""Laws of batch normalisation of posterior means: the floor of the KL, on any devices, in training and evaluation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from musicvae_jax.models.latent.batch_norm import MeanNorm, average_moments, committed_rate, statistics
from musicvae_jax.training.state import evaluation_variables, init_state, make_model, to_vectors
from musicvae_jax.types import Moments
from tests.models.variants import OF_LATENTS, infer, make_features, presence
from tests.tiny import CONFIG as TINY
from tests.tiny import FIELDS, make_batch, make_vae, replace

CONFIG = OF_LATENTS["batch norm"]
METRE = make_batch().metre
NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
train = partial(infer, deterministic=False)


def check_floor(variables, passes, share):
    """Mean KL of a latent >= share x sum over dims of (gamma^2 + bias^2) / 2."""
    for name, present in presence(CONFIG, METRE).items():
        level, bias = CONFIG.levels[name], variables["params"][f"norms_{name}"]["bias"]
        kl = np.mean([np.asarray(found.kl[name].total).sum() / present.sum() for found in passes])
        assert kl >= share * 0.5 * (level.dim * level.batch_norm**2 + (bias**2).sum())
        np.testing.assert_allclose(
            committed_rate(level.dim, level.batch_norm, bias), 0.5 * (level.batch_norm**2 + bias**2).sum(), rtol=1e-5
        )


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_no_encoder_gets_below_the_floor(scale):
    """In any batch, whatever the parameters and the features."""
    features = make_features(CONFIG, scale=10 * scale)
    for seed in range(3):
        vae, variables = make_vae(CONFIG, seed=seed, scale=scale)
        check_floor(variables, [train(vae, variables, features, METRE)], 1 - 1e-4)


@settings(max_examples=100)
@given(
    st.integers(0, 2**32 - 1), st.floats(-2, 4), st.floats(-3, 3), st.lists(st.integers(1, 4), min_size=8, max_size=8)
)
def test_means_have_the_standard_deviation_and_the_bias(seed, log_scale, offset, lengths):
    """At any scale, from 0.01 to 10^4 standard deviations of the prior; masked latents do not count."""
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
    # The stored variance is the unbiased estimate.
    np.testing.assert_allclose(moments.variance, loc[present].astype(np.float64).var(0, ddof=1), rtol=1e-4)
    garbage = np.where(present[..., None], loc, 1e6).astype(np.float32)
    np.testing.assert_array_equal(_norm({"params": {"bias": bias}} | _stored(), garbage, present)[0][present], inside)


@jax.jit
def _norm(variables, loc, present):
    return MeanNorm(3, 0.6).apply(variables, loc, present, deterministic=False)


def _stored():
    return {"batch_stats": {"moments": Moments(jnp.zeros(3), jnp.ones(3))}}


def test_statistics_are_those_of_the_whole_batch_wherever_its_rows_are():
    """Posterior, KL and moments of one batch are the same with its rows under vmap, and on four devices."""
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


def test_evaluation_uses_the_stored_moments():
    """A row does not depend on its neighbours; with the moments of the batch itself stored, evaluation is training."""
    vae, variables = make_vae(CONFIG)
    features = make_features(CONFIG)
    evaluate = partial(infer, vae, draw=False)
    other = {level: np.concatenate([value[:4], 9 - value[4:]]) for level, value in features.items()}
    first, second = (evaluate(variables, seen, METRE) for seen in (features, other))
    for level, one in first.residual.items():
        np.testing.assert_array_equal(one.loc[:4], second.residual[level].loc[:4])
        assert (one.loc[4:] != second.residual[level].loc[4:]).all()
    trained = evaluate(variables, features, METRE, deterministic=False)
    assert not np.allclose(first.residual["global"].loc, trained.residual["global"].loc, atol=1e-2)
    numbers = {level: present.sum() for level, present in presence(CONFIG, METRE).items()}
    own = {
        level: moments._replace(variance=moments.variance * (numbers[level] - 1) / numbers[level])
        for level, moments in trained.moments.items()
    }
    evaluated = evaluate(variables | statistics(own), features, METRE)
    jax.tree.map(NEAR, evaluated._replace(moments={}), trained._replace(moments={}))


def test_the_moving_average_of_moments_does_not_depend_on_its_start():
    """It is the mean of the first twenty batches, then 0.95 x old + 0.05 x new."""
    rng = np.random.default_rng(0)
    found = [{"fine": Moments(*rng.uniform(1, 2, (2, 3)))} for _ in range(20)]
    stored = {"fine": Moments(np.full(3, 1e6), np.full(3, 1e6))}
    for step, moments in enumerate(found):
        stored = average_moments(stored, moments, jnp.asarray(step))
    for number, average in enumerate(stored["fine"]):
        np.testing.assert_allclose(average, np.mean([moments["fine"][number] for moments in found], 0), rtol=1e-5)
    jax.tree.map(NEAR, average_moments(stored, stored, jnp.asarray(100)), stored)
    later = average_moments(stored, found[0], jnp.asarray(10**4))
    for average, old, new in zip(later["fine"], stored["fine"], found[0]["fine"], strict=True):
        np.testing.assert_allclose(average, 0.95 * old + 0.05 * new, rtol=1e-5)


def test_the_floor_holds_in_evaluation():
    """Within 5 %, under the average of the moments of a few batches, over all their latents."""
    vae, variables = make_vae(CONFIG)
    batches = [make_features(CONFIG, scale=3.0, seed=seed) for seed in range(8)]
    stored = train(vae, variables, batches[0], METRE).moments
    for step, features in enumerate(batches):
        stored = average_moments(stored, train(vae, variables, features, METRE).moments, jnp.asarray(step))
    check_floor(variables, [infer(vae, variables | statistics(stored), features, METRE) for features in batches], 0.95)


@pytest.mark.parametrize("gamma", [0.6, 0.0])
def test_with_moments_the_parameters_themselves_are_evaluated(gamma):
    """Their moving average has other moments, under which the floor would not hold."""
    config = replace(TINY, train={"ema_decay": 0.9}, **{"global": {"batch_norm": gamma}})
    state = init_state(config, make_model(config, FIELDS))
    average = jax.tree.map(lambda leaf: leaf + 1, state.params)
    state = state._replace(ema_params=to_vectors(average))
    wanted = state.params if gamma else average
    jax.tree.map(np.testing.assert_array_equal, evaluation_variables(state)["params"], wanted)
