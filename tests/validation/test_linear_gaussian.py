"""Levels trained on a model that is known in closed form find what is known: likelihood, and the KL of each level.

What is trained is the package's `LatentLevels`, the prior of the lower level and both posteriors; the likelihood of x
is given. The features of a level are what it sees of x and one number more, which makes the sum of squares constant:
then the heads' normalisation leaves them linear in x, as the true posteriors are.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from musicvae_jax.config import ModelConfig, ObjectiveConfig
from musicvae_jax.models.levels import LatentLevels
from musicvae_jax.objectives.schedules import beta_schedule
from tests.validation.linear_gaussian import TIME, Terms, exact, generate, likelihood, log_density

STEPS, BATCH = 4000, 256
# Thousands of small steps: here a program that runs fast is worth its compilation.
OPTIMISED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
# From some starts of a ladder a level dies (once its likelihood is wide, next to no gradient comes back), from fewer
# while beta rises. As with any local optimum, the best of a few is taken.
STARTS = {"bottom_up": 1, "ladder": 4}
BETA = beta_schedule(ObjectiveConfig(beta=1.0, beta_warmup_steps=800))
CASES = [("bottom_up", (0.7, 0.4)), ("ladder", (0.0, 0.0))]


def make_levels(inference):
    levels = {"global_dim": 1, "local_dim": 1, "local_span": 1, "fine_dim": 0, "inference": inference}
    return LatentLevels(dataclasses.replace(ModelConfig(dim=16, num_heads=2, context="none"), **levels))


def features(x):
    """float[..., time, dim] to level -> float[..., latent, feature]."""

    def fill(seen, norm):
        return jnp.concatenate([seen, jnp.sqrt(jnp.maximum(norm**2 - (seen**2).sum(-1, keepdims=True), 0))], -1)

    return {"global": fill(x.reshape(*x.shape[:-2], 1, -1), 20.0), "local": fill(x, 15.0)}


def infer(levels, variables, c, x, key):
    """A pass down the levels; x is float[batch, time, dim]."""
    metre = jnp.full((len(x), TIME, 2), 4)
    found = levels.apply(variables, features(x), metre, method="infer", rngs={"latent": key})
    return Terms(
        log_density(likelihood(found.latents, c), x),
        sum(log_density(found.prior[level], z) for level, z in found.latents.items()),
        sum(log_density(found.posterior[level], z) for level, z in found.latents.items()),
        {level: kl.sum((-2, -1)) for level, kl in found.kl.items()},
    )


@partial(jax.jit, static_argnums=0)
def initialise(levels, key):
    x = jnp.zeros((1, TIME, 2))
    return levels.init({"params": key, "latent": key}, features(x), jnp.full((1, TIME, 2), 4), method="infer")


@partial(jax.jit, static_argnums=0, compiler_options=OPTIMISED)
def train(levels, c, key):
    """The parameters, and the bound that they reach."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))

    def negative_elbo(variables, beta, key):
        data, draw = jax.random.split(key)
        terms = infer(levels, variables, c, generate(c, BATCH, data), draw)
        return (beta * sum(terms.kl.values()) - terms.log_p_x).mean()

    def step(carry, now):
        variables, state = carry
        number, key = now
        gradients = jax.grad(negative_elbo)(variables, BETA(number), key)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(variables, updates), state), None

    start, draws, data, draw = jax.random.split(key, 4)
    variables = initialise(levels, start)
    steps = (jnp.arange(STEPS), jax.random.split(draws, STEPS))
    variables = jax.lax.scan(step, (variables, optimizer.init(variables)), steps)[0][0]
    terms = infer(levels, variables, c, generate(c, 4096, data), draw)
    return variables, (terms.log_p_x - sum(terms.kl.values())).mean()


@pytest.mark.parametrize(("inference", "c"), CASES)
def test_training_reaches_the_likelihood_and_the_kl_of_each_level(inference, c):
    """At the optimum q is the true posterior: log p(x, z) - log q(z | x) is log p(x) for every draw.

    The last of Adam's steps, of a size that falls to 0, leave the parameters some 0.01 from their optimum. The bound is
    flat there, so that the gap is of the order of 0.01^2; the KL of a level is not, and may be off by 0.01.
    """
    c, levels = np.array(c), make_levels(inference)
    keys = jax.random.split(jax.random.key(0), 3)
    variables, _ = max(
        (train(levels, c, key) for key in jax.random.split(keys[0], STARTS[inference])), key=lambda found: found[1]
    )
    num = 16_384
    x = generate(c, num, keys[1])
    truth = exact(c, np.asarray(x))
    terms = jax.tree.map(np.asarray, jax.jit(infer, static_argnums=0)(levels, variables, c, x, keys[2]))
    log_weight = terms.log_p_x + terms.log_p_z - terms.log_q_z
    gap = truth.log_p_x - log_weight  # in the mean over draws the divergence of q from the true posterior
    assert abs(gap.mean()) < 1e-3
    assert gap.std() < 0.05  # the draws agree: no error hides in the mean
    for level, kl in truth.kl.items():
        assert kl.mean() > 0.5
        error = (terms.kl[level] - kl).std() / np.sqrt(num)
        assert abs(terms.kl[level].mean() - kl.mean()) < 0.01 + 5 * error
    elbo = terms.log_p_x - sum(terms.kl.values())
    assert abs((elbo - truth.log_p_x).mean()) < 1e-3 + 5 * (elbo - truth.log_p_x).std() / np.sqrt(num)


@pytest.mark.parametrize(("inference", "c"), CASES)
def test_the_untrained_bound_is_a_bound(inference, c):
    """Before training the gap is the divergence from the true posterior, well above 0: the test above has power."""
    c, levels = np.array(c), make_levels(inference)
    keys = jax.random.split(jax.random.key(0), 3)
    x = generate(c, 4096, keys[0])
    terms = jax.jit(infer, static_argnums=0)(levels, initialise(levels, keys[1]), c, x, keys[2])
    elbo = np.asarray(terms.log_p_x - sum(terms.kl.values()), np.float64)
    gap = exact(c, np.asarray(x)).log_p_x - elbo
    assert gap.mean() > 0.5
