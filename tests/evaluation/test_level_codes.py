"""What it costs to swap codes: where it is known in closed form, and where it must be nothing."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ModelConfig
from musicvae_jax.evaluation.level_codes import from_prior, infer, level_costs
from musicvae_jax.types import Array, Batch, Gaussian
from tests.models.variants import THREE
from tests.tiny import make_batch, make_vae

TWO = ModelConfig(global_dim=1, local_dim=1, skip=True)
SCALE = 0.5  # of both posteriors


class Output(NamedTuple):
    latents: dict[str, Array]
    kl: dict[str, Array]
    logits: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class TwoLevels:
    """Two numbers a window, x and y, and two latents: q(g | x) = N(x, SCALE), q(l | y) = N(y, SCALE).

    p(g) = N(0, 1), p(l | g) = N(g, 1). One token, 0 or 1, with logit g + 2 l; a skip connection would say 100.
    """

    config: ModelConfig = TWO

    def apply(self, variables, *args, method="forward", rngs=None, **settings):
        del variables
        keys = {"key": rngs["latent"]} if rngs else {}
        return getattr(self, method)(*args, **keys, **settings)

    def forward(self, batch, *, given, key, skip=False):
        noise = SCALE * jax.random.normal(key, (2, 1, 1))
        number = batch.metre.astype(jnp.float32)  # where this world keeps x and y
        latents = {"global": number[None, :1] + noise[0], "local": number[None, 1:] + noise[1]} | dict(given)
        residual = {"global": number[0], "local": number[1] - latents["global"]}
        kl = {
            level: (loc**2 + SCALE**2 - 1) / 2 - jnp.log(SCALE) + jnp.zeros((1, 1)) for level, loc in residual.items()
        }
        shown = 100.0 if skip else self.logit(latents)
        return Output(latents, kl, self.logits(shown, ()))

    def decode(self, latents, batch):
        return self.logits(self.logit(latents), batch.index.shape)

    def sample_prior(self, metre, given, temperature, *, key):
        del metre
        noise = jax.random.normal(key, (2, 1, 1))
        loc = jnp.zeros((1, 1))
        latents = {}
        for number, level in enumerate(("global", "local")):
            drawn = loc + temperature.get(level, 1.0) * noise[number]
            latents[level] = loc = given.get(level, drawn)
        return latents

    @staticmethod
    def logit(latents):
        return (latents["global"] + 2 * latents["local"])[..., 0, 0]

    @staticmethod
    def logits(logit, shape):
        return (jnp.stack([jnp.zeros(shape), jnp.broadcast_to(logit, shape)], -1)[..., None, None, :],)


class World(NamedTuple):
    """What `level_costs` needs of a trained model."""

    model: Any
    variables: dict


def two_numbers(size: int = 50) -> Batch:
    numbers = np.random.default_rng(0).normal(0, 2, (size, 2)).astype(np.float32)
    return Batch(np.ones((size, 1, 1, 1), int), np.ones((size, 1, 1), bool), numbers, np.arange(size))


def test_two_gaussian_levels():
    world: Any = World(TwoLevels(), {})
    batch, key = two_numbers(), jax.random.key(0)
    other = np.roll(np.arange(50), 7)
    latents, _ = infer(world.model, {}, batch, key, {})
    g, z = (np.asarray(latents[level])[:, 0, 0] for level in ("global", "local"))
    y = batch.metre[:, 1]

    def nll(g, z):
        return np.logaddexp(0, -(g + 2 * z))

    expected = {
        "nll": nll(g, z),
        "nll_skip": np.zeros(50),
        "replace_global_prior_mean": nll(0, z) - nll(g, z),
        "replace_global_other_piece": nll(g[other], z) - nll(g, z),
        "replace_local_prior_mean": nll(g, g) - nll(g, z),
        "replace_local_other_piece": nll(g, z[other]) - nll(g, z),
        "swap_global_kl_local": ((y - g[other]) ** 2 - (y - g) ** 2) / 2,
    }
    costs = level_costs(world, batch, other, key)
    assert set(costs) == {*expected, "replace_global_noise", "replace_local_noise"}
    for name, value in expected.items():
        np.testing.assert_allclose(costs[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    for level, above in (("global", {}), ("local", {"global": latents["global"]})):
        drawn = {**latents, level: from_prior(world.model, {}, batch, key, above, {})[level]}
        noisy = nll(*(np.asarray(drawn[name])[:, 0, 0] for name in ("global", "local")))
        np.testing.assert_allclose(costs[f"replace_{level}_noise"], noisy - nll(g, z), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def three() -> Any:
    return World(*make_vae(THREE))


def test_a_windows_own_code_in_place_of_its_own_costs_nothing(three):
    batch = make_batch()
    costs = level_costs(three, batch, np.arange(8), jax.random.key(0))
    nothing = [name for name in costs if name.startswith("swap") or name.endswith("other_piece")]
    assert sorted(nothing) == [
        *(f"replace_{level}_other_piece" for level in ("fine", "global", "local")),
        "swap_global_kl_fine", "swap_global_kl_local", "swap_local_kl_fine",
    ]  # fmt: skip
    for name, values in costs.items():
        assert values.shape == (8,)
        if name in nothing:
            np.testing.assert_allclose(values, 0, atol=1e-4)
        elif name != "nll":
            assert np.abs(values).max() > 1e-3  # parameters are random: every level is heard


def test_rows_depend_on_their_window_alone(three):
    batch, key = make_batch(), jax.random.key(0)
    order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
    moved = jax.tree.map(lambda leaf: leaf[order], batch)
    for draw in (infer, from_prior):
        rest: list[dict] = [{}, {}] if draw is from_prior else [{}]
        whole, parts = (draw(three.model, three.variables, rows, key, *rest) for rows in (batch, moved))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[order], b, rtol=1e-5, atol=1e-5), whole, parts)


def test_the_coldest_prior_is_its_mean(three):
    """At temperature 0 the levels are their priors' means, whatever the key."""
    batch = make_batch()
    cold = dict.fromkeys(("global", "local", "fine"), 0.0)
    first, second = (
        from_prior(three.model, three.variables, batch, jax.random.key(seed), {}, cold) for seed in range(2)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    np.testing.assert_array_equal(first["global"], 0)
    given = {"global": first["global"], "local": first["local"]}
    output = three.model.apply(three.variables, batch, given=given, rngs={"latent": jax.random.key(2)})
    np.testing.assert_allclose(output.prior["local"].loc[:, 0], first["local"][:, 0], rtol=1e-4, atol=1e-5)
    assert isinstance(output.prior["fine"], Gaussian)
    np.testing.assert_allclose(output.prior["fine"].loc[:, :2], first["fine"][:, :2], rtol=1e-4, atol=1e-5)
