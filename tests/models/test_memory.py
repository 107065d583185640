"""Laws of bases with a memory: they hear the earlier latents of their level, and what they learn from them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicvae_jax.config import LevelConfig
from musicvae_jax.inference import sample_prior
from musicvae_jax.models.latent.context import Memory
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.models.latent.learned_bases import Flow
from musicvae_jax.rng import row_keys
from tests.models.variants import OF_LATENTS, THREE, infer, make_features
from tests.tiny import make_vae

CONFIG = OF_LATENTS["memory"]
NAMES = ("learned", "memory")
METRE = np.full((2, 3, 2), 4, np.int32)


def test_the_density_of_a_latent_depends_on_its_past_alone():
    """The features of a measure reach the log ratios of its own latent and of later ones, not of earlier ones."""
    vae, variables = make_vae(CONFIG)
    features = make_features(CONFIG, 2)

    def ratios(fine):
        return infer(vae, variables, features | {"fine": fine}, METRE).log_ratio["fine"][0]

    slopes = jax.jit(jax.jacobian(ratios))(jnp.asarray(features["fine"]))[:, 0]
    np.testing.assert_array_equal((slopes != 0).any(-1), np.tri(3, dtype=bool))


def test_a_draw_comes_from_its_noise_by_the_flow_that_its_past_chooses():
    vae, variables = make_vae(CONFIG)
    above = {"global": np.ones((2, 1, 6), np.float32), "local": np.ones((2, 2, 4), np.float32)}
    noise = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)

    def there_and_back(module, noise):
        stack = module.stack
        known = stack._known("fine", above, METRE, None)
        z = stack._draw("fine", known, noise, 1.0)
        flow = stack.bases["fine"].bijector(known.heard(z))
        return z, flow.inverse(to_frame(z, known.frame(z)))

    z, back = jax.jit(partial(vae.apply, method=there_and_back))(variables, noise)
    np.testing.assert_allclose(back, noise, atol=1e-4)
    assert np.abs(z - noise).max() > 0.01


@pytest.mark.parametrize("name", ["global+local+fine", "causal", "learned", "memory"])
def test_latents_that_are_begun_go_on_as_they_would(name):
    """The first latents of a draw lead to the rest of it; others lead elsewhere where a prior hears them."""
    vae, variables = make_vae(OF_LATENTS[name])
    keys = row_keys(jax.random.key(1), np.arange(2))
    drawn = sample_prior(vae, variables, METRE, keys)
    first = {level: drawn[level][:, :1] for level in ("local", "fine")}
    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(near, sample_prior(vae, variables, METRE, keys, begun=first), drawn)
    other = sample_prior(vae, variables, METRE, keys, begun={"fine": first["fine"] + 1})["fine"]
    near(other[:, :1], first["fine"] + 1)
    heard = name in ("causal", "memory")
    assert (np.abs(other[:, 1:] - drawn["fine"][:, 1:]).max((1, 2)) > 1e-4).all() == heard


def test_a_memory_adds_its_own_parameters_alone():
    paths = [{path[1].key for path, _ in jax.tree.leaves_with_path(make_vae(OF_LATENTS[name])[1])} for name in NAMES]
    assert paths[1] - paths[0] == {"memories_local", "memories_fine"} and paths[0] < paths[1]


class Repeats(nn.Module):
    """The log density of latents under a flow, with or without a memory."""

    memory: bool

    @nn.compact
    def __call__(self, z):
        context = jnp.zeros((*z.shape[:-1], THREE.model.dim))
        if self.memory:
            context = Memory(THREE.model, 1)(context, z, jnp.ones(z.shape[:-1], bool))
        level = LevelConfig(dim=z.shape[-1], base="flow", kl_estimate="draw", flow_layers=2)
        return Flow(THREE.model, level).log_prob(z, context)


@pytest.mark.parametrize("memory", [False, True])
def test_a_memory_learns_that_a_latent_returns(memory):
    """Latents 2 and 3 are latents 0 and 1 with a little noise: only a memory can say more than N(0, 1) of them."""
    module, dim = Repeats(memory), 2

    def draw(key, size=128):
        first, noise = jax.random.split(key)
        z = jnp.tile(jax.random.normal(first, (size, 2, dim)), (1, 2, 1))
        return z + 0.1 * jax.random.normal(noise, z.shape)

    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 300))

    @jax.jit
    def train(key):
        start, first, last, steps = jax.random.split(key, 4)
        variables = module.init(start, draw(first))

        def step(carry, key):
            variables, state = carry
            slope = jax.grad(lambda own: -module.apply(own, draw(key)).mean())(variables)
            updates, state = optimizer.update(slope, state)
            return (optax.apply_updates(variables, updates), state), None

        (variables, _), _ = jax.lax.scan(step, (variables, optimizer.init(variables)), jax.random.split(steps, 300))
        return module.apply(variables, draw(last, 1000)).mean(0)

    new, old = np.split(np.asarray(train(jax.random.key(0))), 2)
    normal = -0.5 * dim * np.log(2 * np.pi * np.e)
    assert (np.abs(new - normal) < 0.2).all()
    assert (old > normal + 1).all() if memory else (np.abs(old - normal) < 0.2).all()
