"""Laws of the latent levels: every subset is a model, and what is drawn below never moves what is above."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.models.latents import merge
from musicvae_jax.models.priors import LevelPrior, ancestral
from musicvae_jax.types import Gaussian
from tests.models.variants import OF_LATENTS, OF_MUSIC, THREE, WIDTHS, apply, infer, make_features, presence
from tests.tiny import FIELDS, SLOTS, make_batch, make_vae

METRE = make_batch().metre


@pytest.mark.parametrize("name", OF_LATENTS)
def test_every_choice_of_latents_is_a_model(name):
    """Shapes, KL >= 0, a top level under N(0, 1) unless it has a past, and nothing of latents that are not there."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    found = infer(vae, variables, make_features(config), METRE)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    for part in (found.posterior, found.prior, found.latents, found.kl):
        assert set(part) == set(config.widths)
    assert set(found.moments) == set(config.batch_norm_levels)
    top = next(iter(config.widths))
    assert found.prior[top].loc.any() == config.is_causal(top)  # else there is nothing that moves it from N(0, 1)
    for level, present in presence(config, METRE).items():
        shape = (8, config.num_latents(level, 3), WIDTHS[level])
        leaves = (*found.posterior[level], *found.prior[level], found.latents[level], found.kl[level])
        assert {leaf.shape for leaf in leaves} == {shape}
        assert (found.kl[level] >= -1e-6).all()
        for values in (found.kl[level], found.latents[level]):
            assert (np.asarray(values)[~present] == 0).all()
            assert (np.asarray(values)[present] != 0).all()


@pytest.mark.parametrize("name", OF_MUSIC)
def test_masked_slots_have_no_say(name):
    config = OF_MUSIC[name]
    vae, variables = make_vae(config)
    batch = make_batch()
    output = apply(vae, variables, batch)
    garbage = apply(vae, variables, batch._replace(tokens=np.where(batch.mask[..., None], batch.tokens, 2)))
    jax.tree.map(np.testing.assert_array_equal, output._replace(logits=()), garbage._replace(logits=()))
    for field, one, other in zip(FIELDS, output.logits, garbage.logits, strict=True):
        assert one.shape == (8, 3, SLOTS, field.size)
        np.testing.assert_array_equal(one[batch.mask], other[batch.mask])
    assert {level: nll.shape for level, nll in output.span_nll.items()} == dict.fromkeys(config.span_heads, (8,))


@pytest.mark.parametrize("name", ["ladder, causal", "spans, slotwise"])
def test_a_window_stands_alone_and_padding_measures_have_no_say(name):
    """Encoded one by one, in windows that are padded to two more measures, windows have the same posteriors."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    batch = make_batch()
    padding = [(0, 0), (0, 2), (0, 0), (0, 0)]
    longer = batch._replace(
        **{
            part: np.pad(getattr(batch, part), padding[: getattr(batch, part).ndim])
            for part in ("tokens", "mask", "metre")
        }
    )
    encode = jax.jit(partial(vae.apply, variables, method="encode"))
    whole, single = encode(batch), jax.vmap(encode)(longer)
    for level, present in presence(config, METRE).items():
        for one, other in zip(whole[level], single[level], strict=True):
            shown = np.asarray(other)[:, : present.shape[1]]
            np.testing.assert_allclose(shown[present], np.asarray(one)[present], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["global", "global+local+fine"])
def test_a_measure_alone_is_pooled_as_a_window_of_one(name):
    """With its padding cut off the window has the same parameters and the same global posterior."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    batch = make_batch()
    only_first = np.arange(batch.mask.shape[1])[:, None] < 1
    padded = batch._replace(mask=batch.mask & only_first, metre=np.where(only_first, batch.metre, 0))
    cut = batch._replace(**{part: getattr(padded, part)[:, :1] for part in ("tokens", "mask", "metre")})
    keys = {"params": jax.random.key(0), "latent": jax.random.key(1)}
    anew = jax.eval_shape(partial(vae.init, keys), cut)
    if name == "global":  # phrases of one measure are no phrases
        assert jax.tree.map(np.shape, anew) == jax.tree.map(np.shape, variables)
    encode = jax.jit(partial(vae.apply, variables, method="encode"))
    for one, other in zip(encode(padded)["global"], encode(cut)["global"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "ladder", "ladder, causal", "delta"])
def test_levels_hear_of_those_above_and_of_no_other(name):
    """A level's prior and posterior move with the latents that are given above it; never with its own or lower ones."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    find = partial(infer, vae, variables, make_features(config), METRE)
    drawn = find()
    unmoved = find(given=drawn.latents)  # what is given replaces the draws and nothing else
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), drawn, unmoved)
    levels = list(config.widths)
    for number, level in enumerate(levels):
        present = presence(config, METRE)
        changed = drawn.latents[level].at[:, :1].add(0.5)  # its first latent
        moved = find(given=drawn.latents | {level: changed})
        np.testing.assert_array_equal(moved.latents[level], changed)
        for other in levels[: number + 1]:
            for kind in ("prior", "posterior", "kl"):
                jax.tree.map(np.testing.assert_array_equal, getattr(unmoved, kind)[other], getattr(moved, kind)[other])
        for other in levels[number + 1 :]:
            hears = np.arange(config.num_latents(other, 3)) * config.span(other, 3) < config.span(level, 3)
            for kind in ("prior", "posterior"):
                one, two = (np.asarray(getattr(found, kind)[other].loc) for found in (unmoved, moved))
                assert (one != two)[:, hears].any(-1)[present[other][:, hears]].all()
                if config.prior_context == "independent":
                    np.testing.assert_array_equal(one[:, ~hears], two[:, ~hears])


@pytest.mark.parametrize("causal", [False, True])
def test_a_prior_begins_as_a_standard_normal(causal):
    rng = np.random.default_rng(0)
    context, z, present = rng.normal(size=(2, 3, 16)), rng.normal(size=(2, 3, 4)), np.ones((2, 3), bool)
    prior, _ = jax.jit(LevelPrior(THREE, 4, causal).init_with_output)(jax.random.key(0), context, z, present)
    np.testing.assert_array_equal(prior.loc, np.zeros((2, 3, 4)))
    np.testing.assert_array_equal(prior.log_scale, np.zeros((2, 3, 4)))


@partial(jax.jit, static_argnums=0)
def sample(vae, variables, given, temperature):
    return vae.apply(variables, METRE, given, temperature, method="sample_prior", rngs={"latent": jax.random.key(1)})


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "delta"])
def test_levels_below_have_the_same_noise_whatever_is_known(name):
    """So that what a level adds is compared draw by draw."""
    vae, variables = make_vae(OF_LATENTS[name])
    drawn = sample(vae, variables, {}, {})
    for known in ({"global"}, {"global", "local"}, {"local"}):
        again = sample(vae, variables, {level: drawn[level] for level in known}, {})
        for level, value in drawn.items():
            np.testing.assert_allclose(again[level], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "delta"])
def test_levels_that_are_known_stay_and_the_others_are_drawn(name):
    """The first k levels fixed; a scale in proportion to the temperature, which at 0 leaves the prior's means."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    features = make_features(config)
    known = infer(vae, variables, features, METRE).latents
    levels = list(config.widths)
    for number in (1, 2) if name == "global+local+fine" else (1,):
        given = {level: known[level] for level in levels[:number]}
        free = levels[number]  # the first level that is drawn
        mean, once, twice = (sample(vae, variables, given, {free: temperature}) for temperature in (0.0, 1.0, 2.0))
        for latents in (mean, once, twice):
            for level, value in given.items():
                np.testing.assert_array_equal(latents[level], value)
        # Of a causal prior the first latent alone: a later one's mean moves with those before it.
        shown = slice(None, 1) if config.is_causal(free) else slice(None)
        means, drawn, doubled = (np.asarray(latents[free])[:, shown] for latents in (mean, once, twice))
        there = presence(config, METRE)[free][:, shown]
        assert ((drawn != means).any(-1) == there).all()
        np.testing.assert_allclose(doubled - means, 2 * (drawn - means), rtol=1e-5, atol=1e-5)
        # The prior that inference finds under these means is the one whose means they are.
        prior = infer(vae, variables, features, METRE, given=mean).prior[free]
        if not config.is_causal(free):
            np.testing.assert_allclose(means[there], np.asarray(prior.loc)[:, shown][there], rtol=1e-5, atol=1e-5)


def test_a_causal_prior_sees_the_past_alone():
    module = LevelPrior(THREE, 4, True)
    rng = np.random.default_rng(0)
    context, z = (rng.normal(size=(2, 5, dim)).astype(np.float32) for dim in (16, 4))
    present = np.ones((2, 5), bool)
    shapes = jax.eval_shape(module.init, jax.random.key(0), context, z, present)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)
    prior = jax.jit(lambda z: module.apply(variables, context, z, present))
    # d prior[t] / d z[s], for row 0: zero exactly where s >= t.
    slopes = jax.jit(jax.jacobian(lambda z: prior(z).loc[0]))(z)[:, :, 0]
    depends = (slopes != 0).any((1, 3))
    np.testing.assert_array_equal(depends, np.tri(5, k=-1, dtype=bool))

    # Drawing one after the other is stepping by hand, where a latent is drawn when all before it are known.
    noise = jnp.asarray(rng.normal(size=z.shape), jnp.float32)
    likelihood = Gaussian(noise + 1, 0.3 * noise)
    for posterior in (lambda prior: prior, lambda prior: merge(likelihood, prior)):

        def step_by_hand(noise, posterior=posterior):
            z = jnp.zeros_like(noise)
            for time in range(5):
                now = posterior(prior(z))
                z = z.at[:, time].set(now.loc[:, time] + jnp.exp(now.log_scale[:, time]) * noise[:, time])
            return z

        draw = partial(ancestral, prior, posterior)
        drawn, final, drawn_from = jax.jit(draw)(noise)
        by_hand = step_by_hand(noise)
        np.testing.assert_allclose(drawn, by_hand, rtol=1e-5, atol=1e-5)
        expected = prior(by_hand)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), final, expected)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), drawn_from, posterior(expected))
    # Its gradients pass through the past.
    slopes, expected = (
        jax.jit(jax.grad(lambda noise, z=z: z(noise).sum()))(noise) for z in (lambda x: draw(x)[0], step_by_hand)
    )
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ladder", "ladder, causal"])
def test_a_ladder_merges_the_likelihood_with_the_prior(name):
    """Level by level, latent by latent: the posterior is the product of what the features say and the prior."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    features = make_features(config)
    found = infer(vae, variables, features, METRE)
    for level, present in presence(config, METRE).items():
        head = lambda module, x, level=level: module.levels.heads[level](x)  # noqa: E731
        likelihood = vae.apply(variables, features[level], method=head)
        merged = merge(likelihood, found.prior[level])
        for one, other in zip(found.posterior[level], merged, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        narrower = found.posterior[level].log_scale < jnp.minimum(likelihood.log_scale, found.prior[level].log_scale)
        assert narrower[present].all()
