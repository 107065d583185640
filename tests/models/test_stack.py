"""Laws of the stack of levels: every subset is a model, and no level depends on those below it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.models.latent.context import Frame, ancestral, draw_in_frame
from musicvae_jax.models.latent.gaussian import from_frame, gaussian_from_frame, gaussian_to_frame, merge, to_frame
from musicvae_jax.types import LEVELS, Gaussian
from tests.models.variants import OF_LATENTS, OF_MUSIC, THREE, apply, covariance, each, infer, make_features, presence
from tests.tiny import FIELDS, SLOTS, make_batch, make_vae, replace

METRE = make_batch().metre
NEAR = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
SAME = np.testing.assert_array_equal
slow = partial(pytest.param, marks=pytest.mark.slow)


# Pairs of levels and of options: the slow tests have them.
PAIRS = ("global+local", "global+fine", "local+fine", "causal, no global", "ar1, batch norm")


@pytest.mark.parametrize("name", [slow(name) if name in PAIRS else name for name in OF_LATENTS])
def test_every_choice_of_latents_is_a_model(name):
    """Shapes, KL >= 0, a top level under N(0, 1) without past and conditions, and nothing of absent latents."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    found = infer(vae, variables, make_features(config), METRE)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert set(found.moments) == {level for level, own in config.levels.on.items() if own.batch_norm}
    top = config.levels.top
    assert found.frame[top].loc.any() == (config.levels[top].is_causal or bool(config.model.conditions))
    for level, present in presence(config, METRE).items():
        SAME(found.present[level], present)
        kl, own = found.kl[level], config.levels[level]
        leaves = [*found.residual[level], *found.frame[level], found.latents[level]]
        values = [found.latents[level], kl.total, found.log_ratio[level]]
        if own.kl_estimate == "draw":
            assert kl.per_dim is None
            SAME(kl.total, found.log_ratio[level])
        else:
            values += [kl.per_dim]
            leaves += [kl.per_dim]
            assert (kl.per_dim >= -1e-6).all()
            NEAR(kl.total, kl.per_dim.sum(-1))
        assert {leaf.shape for leaf in leaves} == {(*present.shape, own.dim)}
        assert kl.total.shape == found.log_ratio[level].shape == present.shape
        for value in values:
            assert (np.asarray(value)[~present] == 0).all()
            assert (np.asarray(value)[present] != 0).all()


@pytest.mark.parametrize("name", OF_MUSIC)
def test_masked_slots_have_no_say(name):
    config = OF_MUSIC[name]
    vae, variables = make_vae(config)
    batch = make_batch()
    output = apply(vae, variables, batch)
    garbage = apply(vae, variables, batch._replace(tokens=np.where(batch.mask[..., None], batch.tokens, 2)))
    jax.tree.map(SAME, output._replace(logits=()), garbage._replace(logits=()))
    for field, one, other in zip(FIELDS, output.logits, garbage.logits, strict=True):
        assert one.shape == (8, 3, SLOTS, field.size)
        SAME(one[batch.mask], other[batch.mask])
    heads = [level for level, own in config.levels.on.items() if own.span_head]
    assert {level: nll.shape for level, nll in output.span_nll.items()} == dict.fromkeys(heads, (8,))
    jax.tree.map(SAME, output.present, presence(config, batch.metre))


@pytest.mark.parametrize("measures", [slow(1), 3])
@pytest.mark.parametrize(
    "name", ["ladder, causal", "spans, slotwise", "span longer than the window, slotwise", *list(OF_MUSIC)[1:]]
)
def test_a_window_stands_alone_and_padding_measures_have_no_say(name, measures):
    """Windows have the same posteriors and logits when they are computed one by one and padded to two more measures."""
    config = (OF_LATENTS | OF_MUSIC)[name]
    vae, variables = make_vae(config)
    batch = make_batch()
    parts = {part: getattr(batch, part)[:, :measures] for part in ("tokens", "mask", "metre")}
    padding = [(0, 0), (0, 2), (0, 0), (0, 0)]
    longer = {part: np.pad(leaf, padding[: leaf.ndim]) for part, leaf in parts.items()}

    def compute(batch):
        posterior = vae.apply(variables, batch, method="encode")
        means = {level: q.loc for level, q in posterior.items()}
        return posterior, vae.apply(variables, means, batch, method="decode")

    whole, single = jax.jit(compute)(batch._replace(**parts)), jax.jit(jax.vmap(compute))(batch._replace(**longer))
    for level, present in presence(config, parts["metre"]).items():
        for one, other in zip(whole[0][level], single[0][level], strict=True):
            NEAR(np.asarray(other)[:, : present.shape[1]][present], np.asarray(one)[present])
    for one, other in zip(whole[1], single[1], strict=True):
        NEAR(other[:, :measures][parts["mask"]], one[parts["mask"]])


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "ladder", "ladder, causal", "ar1", "draw"])
def test_levels_depend_on_those_above_and_on_no_other(name):
    """Given latents replace a draw and nothing else: the level's own posterior and KL stay those of its draw.

    So does its frame, but a causal one: that is the frame of the given latents, which differs after the first of them.
    """
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    find = partial(infer, vae, variables, make_features(config), METRE)
    drawn = find()
    unmoved = find(given=drawn.latents)
    jax.tree.map(NEAR, drawn, unmoved)
    present = presence(config, METRE)
    for number, level in enumerate(LEVELS):
        changed = drawn.latents[level].at[:, :1].add(0.5)  # its first latent
        moved = find(given=drawn.latents | {level: changed})
        SAME(moved.latents[level], changed)
        for other in LEVELS[: number + 1]:
            follows = other == level and config.levels[other].is_causal
            for kind in ("kl", "log_ratio") if follows else ("frame", "residual", "kl", "log_ratio"):
                jax.tree.map(SAME, getattr(unmoved, kind)[other], getattr(moved, kind)[other])
            if follows:
                jax.tree.map(NEAR, *(gaussian_from_frame(f.residual[other], f.frame[other]) for f in (unmoved, moved)))
                one, two = (np.asarray(found.frame[other].loc) for found in (unmoved, moved))
                SAME(one[:, :1], two[:, :1])
                assert (one != two)[:, 1:].any(-1)[present[other][:, 1:]].all()
        for other in LEVELS[number + 1 :]:
            starts = np.arange(present[other].shape[1]) * config.levels[other].span_in(3)
            below = starts < config.levels[level].span_in(3)
            posterior = [gaussian_from_frame(found.residual[other], found.frame[other]) for found in (unmoved, moved)]
            for pair in (posterior, [found.frame[other] for found in (unmoved, moved)]):
                one, two = (np.asarray(gaussian.loc) for gaussian in pair)
                assert (one != two)[:, below].any(-1)[present[other][:, below]].all()
                if not config.levels[other].is_causal:
                    SAME(one[:, ~below], two[:, ~below])


@partial(jax.jit, static_argnums=0)
def sample(vae, variables, given, temperature, metre=METRE):
    return vae.apply(variables, metre, given, temperature, method="sample_prior", rngs={"latent": jax.random.key(1)})


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "ar1"])
def test_given_levels_stay_and_the_others_are_drawn_with_the_same_noise(name):
    """The noise of a level does not depend on what is given; its size is proportional to the temperature, and at 0 the
    draw is the mean of the prior, the loc that inference finds."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    drawn = sample(vae, variables, {}, {})
    for known in ({"global"}, {"global", "local"}, {"local"}):
        again = sample(vae, variables, {level: drawn[level] for level in known}, {})
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), again, drawn)
    features = make_features(config)
    known = infer(vae, variables, features, METRE).latents
    for number, free in ((1, "local"), (2, "fine")):
        given = {level: known[level] for level in LEVELS[:number]}
        mean, once, twice = (sample(vae, variables, given, {free: temperature}) for temperature in (0.0, 1.0, 2.0))
        for latents in (mean, once, twice):
            jax.tree.map(SAME, {level: latents[level] for level in given}, given)
        # Of a causal prior the first latent alone: the mean of a later one moves with those before it.
        shown = slice(None, 1) if config.levels[free].is_causal else slice(None)
        means, drawn, doubled = (np.asarray(latents[free])[:, shown] for latents in (mean, once, twice))
        there = presence(config, METRE)[free][:, shown]
        SAME((drawn != means).any(-1), there)
        NEAR(doubled - means, 2 * (drawn - means))
        if not config.levels[free].is_causal:
            NEAR(means[there], infer(vae, variables, features, METRE, given=mean).frame[free].loc[there])


def test_a_level_is_drawn_from_its_base_in_its_frame():
    """Under given levels above, draws have loc, scale and covariance of the prior, within five standard errors."""
    config, num = OF_LATENTS["ar1"], 20_000
    vae, variables = make_vae(config)
    metre = np.full((num, 3, 2), 4, np.int32)
    given = {"global": np.ones((num, 1, 6), np.float32), "local": np.ones((num, 2, 4), np.float32)}
    drawn = sample(vae, variables, given, {}, metre)["fine"]
    one = jax.tree.map(lambda leaf: leaf[:1], given)
    frame = infer(vae, variables, make_features(config, 1), metre[:1], given=one).frame["fine"]
    e = np.asarray(to_frame(drawn, frame), np.float64)
    found, expected = np.einsum("ntd,nsd->dts", e, e) / num, covariance(config.levels["fine"], 3)
    # Isserlis: the variance of a product of two standard normals is 1 + covariance^2.
    assert (np.abs(found - expected) < 5 * np.sqrt((1 + expected**2) / num)).all()
    assert (np.abs(e.mean(0)) < 5 / np.sqrt(num)).all()


def make_frame(causal: bool, fill: bool):
    """A frame as a function of z, and noise of its shape."""
    module, rng = Frame(THREE.model, 4, causal), np.random.default_rng(0)
    context, z = (rng.normal(size=(2, 5, dim)).astype(np.float32) for dim in (16, 4))
    variables = jax.jit(module.init)(jax.random.key(0), context, z, present := np.ones((2, 5), bool))
    if fill:
        variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), variables)
    return jax.jit(lambda z: module.apply(variables, context, z, present)), z


@pytest.mark.parametrize("causal", [False, True])
def test_a_frame_begins_with_loc_0_and_scale_1(causal):
    frame, z = make_frame(causal, fill=False)
    jax.tree.map(SAME, frame(z), Gaussian(np.zeros((2, 5, 4)), np.zeros((2, 5, 4))))


def test_a_causal_frame_depends_on_the_past_alone():
    """d loc[t] / d z[s] is 0 exactly where s >= t; drawing is stepping by hand, with gradients through the past."""
    frame, z = make_frame(causal=True, fill=True)
    slopes = jax.jit(jax.jacobian(lambda z: frame(z).loc[0]))(z)[:, :, 0]
    SAME((slopes != 0).any((1, 3)), np.tri(5, k=-1, dtype=bool))

    noise = jnp.asarray(z)
    likelihood = Gaussian(noise + 1, 0.3 * noise)
    for posterior in (lambda here: here, partial(merge, likelihood)):

        def step_by_hand(noise, posterior=posterior):
            z = jnp.zeros_like(noise)
            for time in range(5):
                z = z.at[:, time].set(from_frame(noise, posterior(frame(z)))[:, time])
            return z

        def draw(noise, posterior=posterior):
            return ancestral(lambda z: from_frame(noise, posterior(frame(z))), noise)

        ways = (draw, step_by_hand)
        NEAR(*(jax.jit(way)(noise) for way in ways))
        NEAR(*(jax.jit(jax.grad(lambda noise, way=way: way(noise).sum()))(noise) for way in ways))
    drawn = draw_in_frame(frame, noise, causal=True)
    NEAR(to_frame(drawn, frame(drawn)), noise)


@pytest.mark.parametrize("name", ["ladder", "ladder, causal"])
def test_a_ladder_merges_the_likelihood_with_the_prior(name):
    """The posterior of every latent is the product of the likelihood from its features and the prior, the frame."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    features = make_features(config)
    found = infer(vae, variables, features, METRE)
    for level, present in presence(config, METRE).items():
        head = lambda module, x, level=level: module.stack.heads[level](x)  # noqa: E731
        likelihood, frame = vae.apply(variables, features[level], method=head), found.frame[level]
        merged = merge(likelihood, frame)
        jax.tree.map(NEAR, found.residual[level], gaussian_to_frame(merged, frame))
        assert (merged.log_scale < jnp.minimum(likelihood.log_scale, frame.log_scale))[present].all()


def test_the_estimate_of_a_draw_is_its_log_ratio_and_changes_nothing_else():
    """Its expectation is the exact KL: see `test_bases.test_the_kl_of_a_model_is_the_mean_of_log_q_over_p`."""
    exact, drawn = (
        infer(*make_vae(config), make_features(config), METRE)
        for config in (OF_LATENTS["ladder, causal"], replace(OF_LATENTS["ladder, causal"], **each(kl_estimate="draw")))
    )
    jax.tree.map(NEAR, exact._replace(kl={}), drawn._replace(kl={}))
    for level in LEVELS:
        assert drawn.kl[level].per_dim is None
        NEAR(drawn.kl[level].total, exact.log_ratio[level])
