"""Laws of what a KL costs: schedules, free bits against the formulas of their papers, the balance of levels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import LevelConfig, ObjectiveConfig
from musicvae_jax.objectives.rates import (
    balance,
    beta_schedule,
    capacity_schedule,
    charge,
    charge_per_dim,
    cyclical_schedule,
    identity,
    level_schedule,
)
from musicvae_jax.types import KL

# Schedules


# The height of a rise after a share s of its time; the sigmoid is that of 12 (s - 1/2), scaled to end at 0 and 1.
CURVES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda s: s,
    "cosine": lambda s: np.sin(np.pi / 2 * s) ** 2,
    "sigmoid": lambda s: 0.5 + 0.5 * np.tanh(6 * (s - 0.5)) / np.tanh(3),
}


def level(**fields: Any) -> LevelConfig:
    return LevelConfig(**fields)


def weight(own: LevelConfig, **fields: Any):
    return level_schedule(ObjectiveConfig(**fields), own)


def cycles(rise: str) -> tuple[Any, dict[int, float]]:
    """Two cycles of 20 steps, of which 8 rise to 3, and the height at some steps."""
    own = level(beta=3.0, schedule=f"cyclical_{rise}", schedule_steps=40, cycles=2, ramp=0.4)
    quarter, half = (3 * CURVES[rise](share) for share in (0.25, 0.5))
    return weight(own), {0: 0, 2: quarter, 4: half, 8: 3, 19: 3, 20: 0, 22: quarter, 28: 3, 39: 3, 40: 3, 10**6: 3}


CORNERS: dict[str, tuple[Any, dict[int, float]]] = {
    **{f"cycles, {rise}": cycles(rise) for rise in CURVES},
    "constant": (weight(level(beta=2.0)), {0: 2, 9: 2}),
    "linear": (weight(level(beta=2.0, schedule="linear", schedule_steps=10)), {0: 0, 5: 1, 10: 2, 1000: 2}),
    "linear, one step": (weight(level(beta=0.25, schedule="linear", schedule_steps=1)), {0: 0, 1: 0.25, 2: 0.25}),
    "weight of all": (beta_schedule(ObjectiveConfig(beta=0.5)), {0: 0.5, 9: 0.5}),
    "weight of all, warm-up": (
        beta_schedule(ObjectiveConfig(beta=0.5, beta_warmup_steps=10)), {0: 0, 5: 0.25, 10: 0.5, 1000: 0.5},
    ),
    "product of both": (
        weight(level(beta=1.5, schedule="linear", schedule_steps=40), beta=0.8, beta_warmup_steps=20),
        {0: 0, 10: 0.4 * 0.375, 20: 0.8 * 0.75, 40: 1.2, 1000: 1.2},
    ),
    "capacity": (capacity_schedule(level(free_bits="capacity", nats=6.0)), {0: 6, 9: 6}),
    "capacity, rising": (
        capacity_schedule(level(free_bits="capacity", nats=6.0, capacity_steps=12)),
        {0: 0, 6: 3, 12: 6, 13: 6, 10**6: 6},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CORNERS)
def test_corners_of_a_schedule(name):
    schedule, values = CORNERS[name]
    jitted = jax.jit(schedule)
    for step, value in values.items():
        for found in (schedule(step), jitted(jnp.asarray(step))):
            np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-7)


@given(st.sampled_from(list(CURVES)), st.integers(1, 400), st.integers(1, 7), st.floats(0.1, 1), st.floats(0.01, 10))
def test_a_cycle_of_any_length_rises_from_0_and_the_last_plateau_stays(rise, num_steps, num_cycles, ramp, value):
    steps = np.arange(1000)  # one length, so that nothing compiles twice
    found = np.asarray(cyclical_schedule(value, num_steps, num_cycles, ramp, rise)(steps), np.float64)
    share = np.where(steps < num_steps, steps * num_cycles % num_steps / num_steps, 1.0)  # of the cycle
    np.testing.assert_allclose(found, value * CURVES[rise](np.minimum(share / ramp, 1)), rtol=1e-4, atol=1e-5 * value)


# Free bits

BATCH, TIME, DIM = 6, 3, 4
CAPACITY = 5.0
RULES = ("none", "total", "per_dim", "per_dim_per_example", "capacity")


def make_kl(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """KLs of a few tenths of a nat, and which latents are present: the first one to three of each row."""
    rng = np.random.default_rng(seed)
    present = np.arange(TIME) < rng.integers(1, TIME + 1, (BATCH, 1))
    scale = rng.gamma(1, 0.4, DIM)  # some dims are above the floor, some below
    return np.where(present[..., None], rng.gamma(1, scale, (BATCH, TIME, DIM)), 0).astype(np.float32), present


def rule(name: str, nats: float) -> LevelConfig:
    return LevelConfig(dim=DIM, free_bits=name, nats=nats)  # type: ignore[arg-type]


def mean_charge(config: LevelConfig, kl, present, capacity=CAPACITY, mean=identity):
    """The charge of a batch in nats per window, by any rule."""
    both = KL(jnp.asarray(kl).sum(-1), jnp.asarray(kl))
    if config.free_bits == "per_dim":
        return charge_per_dim(config, both, present, mean)
    return charge(config, both, present, capacity).mean()


def paper(name: str, kl: np.ndarray, present: np.ndarray, nats: float) -> tuple[float, np.ndarray]:
    """The mean charge of the batch by plain loops, and its derivative by each KL, times the batch size."""
    total, charged = 0.0, np.zeros(kl.shape)
    if name == "per_dim":  # Kingma et al. 2016, eq. 15: max(lambda, E[KL]) per dim, for every latent
        latents = present.sum()
        for dim in range(DIM):
            mean = kl[..., dim].sum() / latents
            total += max(mean, nats) * latents
            charged[..., dim] = mean > nats
        return total / BATCH, charged
    for row in range(BATCH):
        of_row = kl[row].sum()
        if name == "per_dim_per_example":  # Li et al. 2019, eq. 5: the sum over dims of max(lambda, KL)
            for time, dim in np.ndindex(TIME, DIM):
                if present[row, time]:
                    total += max(nats / DIM, kl[row, time, dim])
                    charged[row, time, dim] = kl[row, time, dim] > nats / DIM
        elif name == "total":  # Roberts et al. 2018, as in their code: max(KL - free, 0)
            total += max(of_row - nats, 0)
            charged[row] = of_row > nats
        elif name == "capacity":  # Burgess et al. 2018, eq. 8: |KL - C|
            total += abs(of_row - CAPACITY)
            charged[row] = np.sign(of_row - CAPACITY)
        else:
            total += of_row
            charged[row] = 1
    return total / BATCH, charged


@pytest.mark.parametrize("name", RULES)
@given(st.integers(0, 999), st.floats(0, 2))
@settings(max_examples=25)
def test_a_rule_is_the_formula_of_its_paper_and_free_nats_have_no_gradient(name, seed, nats):
    nats = float(np.float32(nats) * (4 if name == "total" else 1) * (name != "none"))
    kl, present = make_kl(seed)
    value, charged = paper(name, kl.astype(np.float64), present, nats)
    found, gradient = jax.value_and_grad(lambda kl: mean_charge(rule(name, nats), kl, present))(kl)
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    there = np.broadcast_to(present[..., None], kl.shape)
    np.testing.assert_allclose(gradient[there], charged[there] / BATCH, rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_absent_latents_cost_nothing(name):
    config = rule(name, 0.0 if name == "none" else 0.3)
    kl, present = make_kl(0)
    assert not present.all()
    padded = np.pad(kl, ((0, 0), (0, 2), (0, 0))), np.pad(present, ((0, 0), (0, 2)))
    np.testing.assert_allclose(mean_charge(config, *padded), mean_charge(config, kl, present), rtol=1e-6)
    # Rows without any latent, such as those that fill up a batch: they count in the mean and add 0.
    longer = np.concatenate([kl, 0 * kl]), np.concatenate([present, 0 * present])
    np.testing.assert_allclose(2 * mean_charge(config, *longer), mean_charge(config, kl, present), rtol=1e-6)
    empty = np.zeros_like(kl), np.zeros_like(present)
    assert mean_charge(config, *empty, 0.0) == 0


@pytest.mark.parametrize("num_devices", [2, 3, 6])
def test_free_bits_of_a_batch_are_the_same_on_any_number_of_devices(num_devices):
    """The mean over devices of their shares is the charge of the whole batch, and so is its gradient."""
    config = rule("per_dim", 0.3)
    kl, present = make_kl(3)

    def split(array):
        return array.reshape(num_devices, -1, *array.shape[1:])

    whole, gradient = jax.value_and_grad(partial(mean_charge, config))(kl, present)
    charged = np.asarray(gradient).any((0, 1))
    assert charged.any() and not charged.all()
    share = partial(mean_charge, config, mean=partial(jax.lax.pmean, axis_name="device"))
    spread = jax.vmap(jax.value_and_grad(share), axis_name="device")
    shares, gradients = jax.jit(spread)(split(kl), split(present))
    np.testing.assert_allclose(shares.mean(), whole, rtol=1e-6)
    np.testing.assert_allclose(gradients / num_devices, split(gradient), rtol=1e-6)
    apart = jax.jit(jax.vmap(partial(mean_charge, config)))(split(kl), split(present))
    assert abs(apart.mean() - whole) > 1e-3  # a minimum on each device would be another rule


# Balance

NATS = st.floats(0, 100, width=32)
LEVELS = ("global", "local", "fine")


@settings(max_examples=30)
@given(st.tuples(NATS, NATS, NATS), st.tuples(*[st.integers(1, 64)] * 3))
def test_balance_is_proportional_to_kl_per_latent_number_with_mean_1(kl, sizes):
    factors = balance(dict(zip(LEVELS, map(jnp.float32, kl), strict=True)), dict(zip(LEVELS, sizes, strict=True)))
    values = np.array([factors[name] for name in LEVELS], np.float64)
    np.testing.assert_allclose(values.mean(), 1, rtol=1e-5)
    density = np.array(kl) / np.array(sizes) + 1e-6  # the floor avoids 0 / 0 where all levels carry nothing
    np.testing.assert_allclose(values * density.sum(), 3 * density, rtol=1e-5)


def test_balance_has_no_gradient_and_leaves_one_level_alone():
    def charged(kl):
        factors = balance(kl, {"global": 8, "fine": 16})
        return sum(factors[name] * kl[name] for name in kl), factors

    gradient, factors = jax.grad(charged, has_aux=True)({"global": jnp.float32(2), "fine": jnp.float32(1)})
    assert gradient == factors
    assert factors["fine"] < 1 < factors["global"]
    np.testing.assert_allclose(balance({"global": jnp.float32(7)}, {"global": 32})["global"], 1, rtol=1e-6)


@settings(max_examples=30)
@given(st.tuples(NATS, NATS), st.tuples(*[st.integers(1, 64)] * 2))
def test_balance_leaves_out_a_level_that_no_window_of_the_batch_has(kl, sizes):
    two = dict(zip(("global", "local"), map(jnp.float32, kl), strict=True))
    of_two = dict(zip(two, sizes, strict=True))
    factors = balance(two | {"fine": jnp.float32(0)}, of_two | {"fine": jnp.float32(0)})
    assert factors.pop("fine") == 1
    for name, factor in balance(two, of_two).items():
        np.testing.assert_allclose(factors[name], factor, rtol=1e-6)
