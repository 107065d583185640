"""Conditions in the model: nothing known is unconditional, what is known moves the prior, and what is hidden is not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config, ConfigError, ModelConfig
from musicvae_jax.inference import encode, forward, reconstruct, sample_prior
from musicvae_jax.models.conditions import ConditionEmbedding, hide_conditions
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import row_keys
from musicvae_jax.types import NOMINAL, Batch
from tests.models.variants import THREE, make_latents
from tests.tiny import SLOTS, make_batch, make_vae, replace

NAMES = ("key", "metre", "tempo")
CONFIG = replace(THREE, model={"conditions": NAMES}, fine={"dim": 0})
TOLD = replace(CONFIG, model={"condition_levels": True, "condition_decoder": True})
BASES: dict[str, dict] = {
    "normal": {},
    "flow": {"base": "flow", "flow_layers": 2, "kl_estimate": "draw"},
    "absolute": {"posterior": "absolute"},
}


def make_conditions(size: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 12, size), rng.integers(0, 60, size), rng.normal(size=size)]
    return np.stack(values, -1).astype(np.float32)


def of_base(name: str, config: Config = CONFIG) -> Config:
    return replace(config, **{"global": BASES[name]})


def keys(size: int = 8):
    return row_keys(jax.random.key(1), np.arange(size))


@pytest.mark.parametrize("base", BASES)
def test_conditions_that_are_all_unknown_are_no_conditions(base):
    model, variables = make_vae(of_base(base, TOLD))
    batch, nothing = make_batch(), np.full((8, 3), np.nan, np.float32)
    outputs = [reconstruct(model, variables, one, keys()) for one in (batch, batch._replace(conditions=nothing))]
    assert outputs[0].conditions == () and np.isnan(outputs[1].conditions).all()
    jax.tree.map(np.testing.assert_array_equal, *(output._replace(conditions=()) for output in outputs))
    draws = [sample_prior(model, variables, batch.metre, keys(), conditions=one) for one in (None, nothing)]
    jax.tree.map(np.testing.assert_array_equal, *draws)


@pytest.mark.parametrize("known", range(3))
def test_each_known_condition_moves_the_prior_and_the_posterior_of_the_top_level(known):
    model, variables = make_vae(of_base("flow"))
    batch = make_batch()
    conditions = np.full((8, 3), np.nan, np.float32)
    conditions[:, known] = make_conditions()[:, known]
    told = batch._replace(conditions=conditions)
    before, after = (sample_prior(model, variables, batch.metre, keys(), conditions=c) for c in (None, conditions))
    assert (np.abs(after["global"] - before["global"]).max((1, 2)) > 1e-4).all()
    before, after = (encode(model, variables, one)["global"].loc for one in (batch, told))
    assert (np.abs(after - before).max((1, 2)) > 1e-4).all()
    # Rows do not see each other's conditions.
    conditions[1:] = np.nan
    alone = sample_prior(model, variables, batch.metre, keys(), conditions=conditions)
    unknown = sample_prior(model, variables, batch.metre, keys())
    np.testing.assert_allclose(alone["global"][1:], unknown["global"][1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("told", [False, True])
def test_levels_below_see_conditions_beside_the_level_above_only_where_the_config_says_so(told):
    model, variables = make_vae(replace(CONFIG, model={"condition_levels": told}))
    batch, given = make_batch(), {"global": make_latents(CONFIG)["global"]}
    before, after = (
        sample_prior(model, variables, batch.metre, keys(), given, conditions=one)["local"]
        for one in (None, make_conditions())
    )
    assert (np.abs(after - before).max((1, 2)) > 1e-4).all() if told else (after == before).all()


@pytest.mark.parametrize("config", [CONFIG, TOLD], ids=["prior", "decoder"])
def test_the_decoder_is_told_only_where_the_config_says_so(config):
    model, variables = make_vae(config)
    batch, latents = make_batch(), make_latents(config)
    told = batch._replace(conditions=make_conditions())
    decode = jax.jit(partial(model.apply, method="decode"))
    before, after = (decode(variables, latents, one)[0] for one in (batch, told))
    assert np.allclose(before, after, atol=1e-5) == (not config.model.condition_decoder)


@pytest.mark.parametrize("base", ["normal", "absolute"])
def test_the_frame_under_conditions_is_the_prior(base):
    """For a normal base: KL is that of the posterior to N(loc, scale^2) of the frame, and draws have its moments."""
    model, variables = make_vae(of_base(base))
    size = 4000
    one = make_batch()
    batch = jax.tree.map(lambda leaf: np.repeat(leaf[1:2], size, 0), one._replace(conditions=make_conditions()))
    many = row_keys(jax.random.key(2), np.arange(size))
    drawn = np.asarray(sample_prior(model, variables, batch.metre, many, conditions=batch.conditions)["global"])[:, 0]
    few = jax.tree.map(lambda leaf: leaf[:1], batch)
    frame = reconstruct(model, variables, few, many[:1]).frame["global"]
    loc, scale = np.asarray(frame.loc)[0, 0], np.exp(np.asarray(frame.log_scale))[0, 0]
    assert np.abs(loc).max() > 0.01
    np.testing.assert_array_less(np.abs(drawn.mean(0) - loc), 5 * scale / size**0.5)
    np.testing.assert_allclose(drawn.std(0), scale, rtol=5 * (2 * size) ** -0.5)


def test_guidance_moves_the_prior_means_away_from_those_without_conditions():
    """Of every level that is told; 1 is as they were learned, and nothing known leaves nothing to guide."""
    model, variables = make_vae(of_base("normal", TOLD))
    batch, conditions = make_batch(), make_conditions()
    still = dict.fromkeys(("global", "local"), 0.0)

    def means(level, conditions, guidance=None):
        given = {"global": make_latents(TOLD)["global"]} if level == "local" else {}
        return sample_prior(model, variables, batch.metre, keys(), given, still, conditions, guidance)[level]

    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for level in still:
        untold, told = means(level, None), means(level, conditions)
        near(means(level, conditions, 1.0), told)
        near(means(level, None, 4.0), untold)
        moved = (means(level, conditions, 4.0) - told) * (told - untold)
        assert (moved > -1e-6).all() and (moved.max((1, 2)) > 1e-5).all()


@pytest.mark.parametrize("context", ["none", "flat"])
def test_guided_tokens_follow_the_guided_logits(context):
    """First tokens of 4,000 windows: a chi-square of their counts, within five standard deviations of its mean."""
    model, variables = make_vae(replace(TOLD, model={"context": context}), seed=3)
    number, guidance = 4000, 12.0
    metre, mask = np.full((number, 2, 2), 4, np.int32), np.zeros((number, 2, SLOTS), bool)
    mask[:, 0, 0] = True
    latents = {level: np.ones((number, *leaf.shape[1:]), np.float32) for level, leaf in make_latents(TOLD).items()}
    conditions = np.repeat(make_conditions()[:1], number, 0)
    drawn = sample_tokens(
        model, variables, latents, metre, mask, jax.random.key(0), SamplingConfig(), None, conditions, guidance
    )
    one = Batch(np.zeros((1, 2, SLOTS, 2), np.int32), mask[:1], metre[:1], np.arange(1))
    few = {level: leaf[:1] for level, leaf in latents.items()}
    untold, told = (
        np.asarray(model.apply(variables, few, one._replace(conditions=known), method="decode")[0])[0, 0, 0]
        for known in ((), conditions[:1])
    )
    expected = number * np.asarray(jax.nn.softmax(untold + guidance * (told - untold)))
    assert np.abs(expected - number * np.asarray(jax.nn.softmax(told))).max() > 0.02 * number
    counts = np.bincount(np.asarray(drawn)[:, 0, 0, 0], minlength=len(expected))
    freedom = len(expected) - 1
    assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


def test_hidden_conditions_are_hidden_at_their_rate_and_together():
    conditions = np.ones((20_000, 3), np.float32)
    hidden = np.isnan(np.asarray(hide_conditions(conditions, jax.random.key(0), 0.3)))
    se = 20_000**-0.5
    assert hidden.all(1).mean() == pytest.approx(0.3 + 0.7 * 0.3**3, abs=5 * se)
    np.testing.assert_allclose(hidden.mean(0), 0.3 + 0.7 * 0.3, atol=5 * se)
    assert not np.isnan(np.asarray(hide_conditions(conditions, jax.random.key(0), 0.0))).any()


def test_training_hides_conditions_and_evaluation_does_not():
    always = replace(CONFIG, model={"condition_dropout": 0.999999})
    model, variables = make_vae(always)
    told = make_batch()._replace(conditions=make_conditions())
    batch = told._replace(conditions=np.full((8, 3), np.nan, np.float32))

    @partial(jax.jit, static_argnums=1)
    def frames(one, deterministic):
        return forward(model, variables, one, keys(), deterministic=deterministic).frame["global"].loc

    np.testing.assert_allclose(frames(batch, False), frames(told, False), rtol=1e-5, atol=1e-6)
    assert not np.allclose(frames(batch, True), frames(told, True), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_are_finite_whatever_is_known(dtype):
    module = ConditionEmbedding(ModelConfig(dim=8, num_heads=2, conditions=("key", "tempo"), dtype=dtype))
    conditions = jnp.array([[jnp.nan, jnp.nan], [3.0, jnp.nan], [jnp.nan, 1e4], [11.0, -1e4]])
    variables = module.init(jax.random.key(0), conditions)
    slope = jax.grad(lambda v: module.apply(v, conditions).astype(jnp.float32).sum())(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    rows = np.asarray(slope["params"]["key"]["embedding"]).any(1)
    assert np.flatnonzero(rows).tolist() == [3, 11, NOMINAL["key"]]  # the last is that of an unknown key


def test_unknown_names_of_conditions_are_refused():
    with pytest.raises(ConfigError, match=r"ModelConfig.conditions = 'kee': allowed is a known name: did you mean key"):
        ModelConfig(conditions=("kee",))
    with pytest.raises(ConfigError, match="each once"):
        ModelConfig(conditions=("key", "key"))
