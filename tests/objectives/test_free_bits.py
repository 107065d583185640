"""The four rules that are called free bits, each against its paper's formula in plain loops."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import LevelObjective
from musicvae_jax.objectives.free_bits import rate

BATCH, TIME, DIM = 6, 3, 4
CAPACITY = 5.0
RULES = ("none", "total", "per_dim", "per_dim_per_example", "capacity")


def make_kl(seed):
    """KLs of a few tenths of a nat, and which latents are there: the first one to three of each row."""
    rng = np.random.default_rng(seed)
    present = np.arange(TIME) < rng.integers(1, TIME + 1, (BATCH, 1))
    scale = rng.gamma(1, 0.4, DIM)  # so that some dims are above the floor and some are below
    return np.where(present[..., None], rng.gamma(1, scale, (BATCH, TIME, DIM)), 0).astype(np.float32), present


def paper(rule, kl, present, nats):
    """The mean charge of the batch, and which KLs it grows with."""
    total, charged = 0.0, np.zeros(kl.shape)
    if rule == "per_dim":  # Kingma et al. 2016, eq. 15: max(lambda, E[KL]) per dim, for every latent
        latents = present.sum()
        for dim in range(DIM):
            mean = kl[..., dim].sum() / latents
            total += max(mean, nats) * latents
            charged[..., dim] = mean > nats
        return total / BATCH, charged
    for row in range(BATCH):
        if rule == "per_dim_per_example":  # Li et al. 2019, eq. 5: the sum over dims of max(lambda, KL)
            for time, dim in np.ndindex(TIME, DIM):
                if present[row, time]:
                    total += max(nats / DIM, kl[row, time, dim])
                    charged[row, time, dim] = kl[row, time, dim] > nats / DIM
            continue
        nats_of_row = kl[row].sum()
        if rule == "total":  # Roberts et al. 2018, as in their code: max(KL - free, 0)
            total += max(nats_of_row - nats, 0)
            charged[row] = nats_of_row > nats
        elif rule == "capacity":  # Burgess et al. 2018, eq. 8: |KL - C|
            total += abs(nats_of_row - CAPACITY)
            charged[row] = np.sign(nats_of_row - CAPACITY)
        else:
            total += nats_of_row
            charged[row] = 1
    return total / BATCH, charged


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 999), st.floats(0, 2))
@settings(max_examples=25)
def test_a_rule_is_its_papers_formula_and_what_is_free_has_no_gradient(rule, seed, nats):
    nats = np.float32(nats) * (4 if rule == "total" else 1) * (rule != "none")
    config = LevelObjective(free_bits=rule, nats=float(nats))
    kl, present = make_kl(seed)
    value, charged = paper(rule, kl.astype(np.float64), present, float(nats))
    found, gradient = jax.value_and_grad(lambda kl: rate(config, kl, present, CAPACITY).mean())(kl)
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    there = np.broadcast_to(present[..., None], kl.shape)
    np.testing.assert_allclose(gradient[there], charged[there] / BATCH, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_latents_that_are_not_there_cost_nothing(rule):
    config = LevelObjective(free_bits=rule, nats=0.0 if rule == "none" else 0.3)
    kl, present = make_kl(0)
    assert not present.all()
    longer = np.pad(kl, ((0, 0), (0, 2), (0, 0))), np.pad(present, ((0, 0), (0, 2)))
    alone, padded = (np.asarray(rate(config, some, there, CAPACITY)) for some, there in ((kl, present), longer))
    np.testing.assert_allclose(padded, alone, rtol=1e-6)
    empty = np.zeros_like(kl), np.zeros_like(present)  # a row that fills up a batch
    np.testing.assert_array_equal(rate(config, *empty, 0.0), 0)


@pytest.mark.parametrize("num_devices", [2, 3, 6])
def test_a_split_batch_has_the_value_and_gradient_of_the_whole_batch(num_devices):
    """Only the decision what is free is collective: gradients pass through each device's own KLs."""
    config = LevelObjective(free_bits="per_dim", nats=0.3)
    kl, present = make_kl(3)

    def mean_charge(kl, present, mean=lambda value: value):
        return rate(config, kl, present, 0.0, mean).mean()

    def split(array):
        return array.reshape(num_devices, -1, *array.shape[1:])

    whole, gradient = jax.value_and_grad(mean_charge)(kl, present)
    charged = np.asarray(gradient).any((0, 1))
    assert charged.any() and not charged.all()

    pmean = partial(jax.lax.pmean, axis_name="device")
    on_device = jax.value_and_grad(partial(mean_charge, mean=pmean))
    values, gradients = jax.jit(jax.vmap(on_device, axis_name="device"))(split(kl), split(present))
    np.testing.assert_allclose(values.mean(), whole, rtol=1e-6)
    np.testing.assert_allclose(gradients / num_devices, split(gradient), rtol=1e-6)
    apart = jax.jit(jax.vmap(mean_charge))(split(kl), split(present))
    assert abs(apart.mean() - whole) > 1e-3  # and without the mean over devices it would be another rule


def test_the_charge_is_never_below_the_floor_nor_the_kl():
    """Where a rule has a floor, a level has no reason to go below it."""
    kl, present = make_kl(1)
    nats = 0.3
    total = kl.sum((1, 2))
    floors: tuple[tuple[Any, float], ...] = (
        ("per_dim", nats * DIM * present.sum(1).mean()),
        ("per_dim_per_example", nats * present.sum(1).mean()),
    )
    for rule, floor in floors:
        charge = rate(LevelObjective(free_bits=rule, nats=nats), jnp.asarray(kl), present, 0.0)
        assert charge.mean() >= max(floor, total.mean()) * (1 - 1e-6)
