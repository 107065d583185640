"""The cost of doing without a level: in closed form for a model that is known, and where it must be 0."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config, LevelConfig, LevelsConfig, ModelConfig
from musicvae_jax.evaluation.level_costs import level_costs
from musicvae_jax.inference import infer, sample_prior
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import KL, Batch, VAEOutput
from tests.models.variants import THREE
from tests.tiny import make_batch, make_vae

ONE = LevelConfig(dim=1)
TWO = Config(model=ModelConfig(skip=True), levels=LevelsConfig(global_=ONE, local=ONE))
SCALE = 0.5  # of both posteriors


@dataclasses.dataclass(frozen=True)
class TwoLevels:
    """A window is two numbers x and y: q(g | x) = N(x, SCALE), q(l | y) = N(y, SCALE).

    p(g) = N(0, 1), p(l | g) = N(g, 1). There is one token, 0 or 1; its logit is g + 2 l, with the skip connection 100.
    """

    config: ModelConfig = TWO.model

    def apply(self, variables, *args, method="forward", rngs=None, **settings):
        del variables
        keys = {"key": rngs["latent"]} if rngs else {}
        return getattr(self, method)(*args, **keys, **settings)

    def infer(self, batch, given, features=None, *, key):
        assert features is None
        noise = SCALE * jax.random.normal(key, (2, 1, 1))
        number = batch.metre.astype(jnp.float32)  # this world keeps x and y here
        latents = {"global": number[None, :1] + noise[0], "local": number[None, 1:] + noise[1]} | dict(given)
        residual = {"global": number[0], "local": number[1] - latents["global"]}
        total = {level: ((loc**2 + SCALE**2 - 1) / 2 - jnp.log(SCALE)).reshape(1) for level, loc in residual.items()}
        kl = {level: KL(value, None) for level, value in total.items()}
        return VAEOutput((), latents, {}, {}, kl, {}, {}, {}, {}, {})

    def forward(self, batch, deterministic, *, given, key, skip, batch_axes):
        del deterministic, batch_axes
        output = self.infer(batch, given, key=key)
        return output._replace(logits=logits(100.0 if skip else logit(output.latents), ()))

    def decode(self, latents, batch):
        return logits(logit(latents), batch.index.shape)

    def sample_prior(self, metre, given, temperature, conditions, guidance, begun, *, key):
        del metre, conditions, guidance, begun
        noise = jax.random.normal(key, (2, 1, 1))
        loc = jnp.zeros((1, 1))
        latents = {}
        for number, level in enumerate(("global", "local")):
            latents[level] = loc = given.get(level, loc + temperature.get(level, 1.0) * noise[number])
        return latents


def logit(latents):
    return (latents["global"] + 2 * latents["local"])[..., 0, 0]


def logits(value, shape):
    return (jnp.stack([jnp.zeros(shape), jnp.broadcast_to(value, shape)], -1)[..., None, None, :],)


class Trained(NamedTuple):
    """What `level_costs` needs of a trained model."""

    model: Any
    variables: dict
    config: Config


def test_two_gaussian_levels():
    numbers = np.random.default_rng(0).normal(0, 2, (50, 2)).astype(np.float32)
    batch = Batch(np.ones((50, 1, 1, 1), int), np.ones((50, 1, 1), bool), numbers, np.arange(50))
    vae: Any = Trained(TwoLevels(), {}, TWO)
    key, other = jax.random.key(0), np.roll(np.arange(50), 7)

    def keys(name):
        return row_keys(stream(key, name), batch.index)

    found = infer(vae.model, {}, batch, keys("posterior")).latents
    drawn = sample_prior(vae.model, {}, batch.metre, keys("prior"))["global"]
    below = sample_prior(vae.model, {}, batch.metre, keys("prior"), {"global": found["global"]})["local"]
    g, z, g_noise, z_noise = (np.asarray(leaf)[:, 0, 0] for leaf in (found["global"], found["local"], drawn, below))
    y = batch.metre[:, 1]

    def nll(g, z):
        return np.logaddexp(0, -(g + 2 * z))

    own = nll(g, z)
    expected = {
        "nll": own,
        "nll_with_skip": np.zeros(50),
        "replaced": {
            "global": {"prior_mean": nll(0, z), "noise": nll(g_noise, z), "other_piece": nll(g[other], z)},
            "local": {"prior_mean": nll(g, g), "noise": nll(g, z_noise), "other_piece": nll(g, z[other])},
        },
        "swapped": {"global": {"local": ((y - g[other]) ** 2 - (y - g) ** 2) / 2}},
    }
    expected["replaced"] = jax.tree.map(lambda value: value - own, expected["replaced"])
    costs = level_costs(vae, batch, other, key)._asdict()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), costs, expected)


@pytest.fixture(scope="module")
def three() -> Any:
    return Trained(*make_vae(THREE), THREE)


def test_own_latents_in_place_of_the_own_cost_nothing(three):
    costs = level_costs(three, make_batch(), np.arange(8), jax.random.key(0))
    assert {level: set(below) for level, below in costs.swapped.items()} == {
        "global": {"local", "fine"},
        "local": {"fine"},
    }
    own = {level: by.pop("other_piece") for level, by in costs.replaced.items()}
    jax.tree.map(lambda values: np.testing.assert_allclose(values, np.zeros(8), atol=1e-4), (own, costs.swapped))
    for values in jax.tree.leaves(costs.replaced):
        assert values.shape == (8,) and np.abs(values).max() > 1e-3  # parameters are random, so every level matters
    assert costs.nll_with_skip is None


def test_costs_depend_on_the_window_and_its_partner_alone(three):
    batch, other, key = make_batch(), np.roll(np.arange(8), 3), jax.random.key(0)
    order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
    moved = jax.tree.map(lambda leaf: leaf[order], batch)
    costs = level_costs(three, batch, other, key)
    again = level_costs(three, moved, np.argsort(order)[other[order]], key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[order], b, rtol=1e-4, atol=1e-4), costs, again)
