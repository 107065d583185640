"""Training the posteriors of a model that is known in closed form finds what is known."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from tests.validation.linear_gaussian import exact, generate, infer, initial_encoder

STEPS, BATCH = 1500, 256


@partial(jax.jit, static_argnums=0)
def train(inference, c, key):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, STEPS))

    def negative_elbo(encoder, key):
        data, draw = jax.random.split(key)
        terms = infer(encoder, inference, c, generate(c, BATCH, data), draw)
        return (sum(terms.kl.values()) - terms.log_p_x).mean()

    def step(carry, key):
        encoder, state = carry
        updates, state = optimizer.update(jax.grad(negative_elbo)(encoder, key), state)
        return (optax.apply_updates(encoder, updates), state), None

    encoder = initial_encoder(inference)
    return jax.lax.scan(step, (encoder, optimizer.init(encoder)), jax.random.split(key, STEPS))[0][0]


@pytest.mark.parametrize(("inference", "c"), [("bottom_up", (0.7, 0.4)), ("ladder", (0.0, 0.0))])
def test_training_reaches_the_likelihood_and_the_kl_of_each_level(inference, c):
    """At the optimum q is the true posterior: log p(x, z) - log q(z | x) is log p(x) for every draw.

    The last of Adam's steps, of a size that falls to 0, leave the parameters some 0.01 from their optimum. The bound is
    flat there, so that the gap is of the order of 0.01^2; the KL of a level is not, and may be off by 0.01.
    """
    c = np.array(c)
    keys = jax.random.split(jax.random.key(0), 3)
    encoder = train(inference, c, keys[0])
    num = 4096
    x = generate(c, num, keys[1])
    truth = exact(c, np.asarray(x))
    terms = jax.tree.map(np.asarray, jax.jit(infer, static_argnums=1)(encoder, inference, c, x, keys[2]))
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


def test_the_untrained_bound_is_a_bound():
    """Before training the gap is the divergence from the true posterior, well above 0: the test above has power."""
    c, num = np.array([0.7, 0.4]), 4096
    keys = jax.random.split(jax.random.key(0))
    x = generate(c, num, keys[0])
    terms = jax.jit(infer, static_argnums=1)(initial_encoder("bottom_up"), "bottom_up", c, x, keys[1])
    elbo = np.asarray(terms.log_p_x - sum(terms.kl.values()), np.float64)
    gap = exact(c, np.asarray(x)).log_p_x - elbo
    assert gap.mean() > 1
