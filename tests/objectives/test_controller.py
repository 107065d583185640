"""Laws of the controller, on models as simple as KL = a x beta^-b."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import Config, ConfigError, DataConfig
from musicvae_jax.objectives.controller import (
    TOTAL,
    check_set_points,
    controller_factors,
    init_controller,
    set_points,
    steered_levels,
    update_controller,
)
from musicvae_jax.types import LEVELS
from tests.tiny import replace

STEPS, TAIL = 4000, 1500
THREE = replace(Config(data=DataConfig(measures=8)), **{name: {"dim": 4} for name in LEVELS})


def points(**nats: float) -> Config:
    """Set points of levels, or of the ``total``."""
    total = {"objective": {"kl_per_phrase": nats.pop(TOTAL)}} if TOTAL in nats else {}
    return replace(THREE, **{name: {"kl_per_phrase": value} for name, value in nats.items()}, **total)


def simulate(config: Config, plant, noise: float = 0.1, steps: int = STEPS):
    """Factors and noisy KLs per phrase over time, in one compiled loop.

    ``plant`` says to which KL per phrase factors lead in the end; in a step the KL goes a tenth of the way.
    """

    def step(carry, noise):
        state, kl = carry
        factors = {name: jnp.asarray(value) for name, value in controller_factors(config, state).items()}
        kl = {name: kl[name] ** 0.9 * wanted**0.1 for name, wanted in plant(factors).items()}
        seen = {name: kl[name] * jnp.exp(noise[number]) for number, name in enumerate(kl)}
        return (update_controller(config, state, seen), kl), (factors, seen)

    first = init_controller(config), {name: jnp.asarray(100.0) for name in LEVELS}
    drawn = np.random.default_rng(0).normal(0, noise, (steps, len(LEVELS))).astype(np.float32)
    return jax.device_get(jax.jit(lambda: jax.lax.scan(step, first, drawn)[1])())


@pytest.mark.parametrize(("a", "b"), [(40.0, 0.4), (40.0, 1.0), (3.0, 1.0), (80.0, 1.5)])
def test_the_total_reaches_its_set_point_by_one_factor_for_all_levels(a, b):
    shares = {"global": 0.2, "local": 0.3, "fine": 0.5}
    factors, kl = simulate(
        points(total=20.0), lambda factors: {name: a * share * factors[name] ** -b for name, share in shares.items()}
    )
    # The mean error of N steps is at most the spread of the integral / (gain x N), here about 0.1 / (0.02 x 1500).
    assert abs(np.log(sum(kl.values())[-TAIL:] / 20).mean()) < 0.01
    np.testing.assert_allclose(np.exp(np.log(factors["fine"][-TAIL:]).mean()), (a / 20) ** (1 / b), rtol=0.05)
    for name in LEVELS:
        np.testing.assert_array_equal(factors[name], factors["fine"])


def test_levels_reach_their_set_points_though_each_moves_the_others():
    config = points(**{"global": 4.0, "local": 10.0, "fine": 20.0})

    def plant(factors):  # the other levels take over a part of what one level gives up
        of_global, of_local, of_fine = (factors[name] for name in LEVELS)
        return {
            "global": 5.0 * of_global**-0.8 * of_local**0.2 * of_fine**0.2,
            "local": 8.0 * of_local**-0.8 * of_global**0.1 * of_fine**0.3,
            "fine": 50.0 * of_fine**-1.0 * of_global**0.1 * of_local**0.2,
        }

    factors, kl = simulate(config, plant)
    for name, point in set_points(config).items():
        assert abs(np.log(kl[name][-TAIL:] / point).mean()) < 0.01
        assert 2e-3 < factors[name][-1] < 9  # away from the bounds


def test_a_set_point_of_one_level_leaves_the_others_at_1():
    config = points(local=10.0)
    factors, _ = simulate(config, lambda factors: {name: 30 / factors[name] for name in LEVELS}, noise=0, steps=200)
    assert (factors["global"] == 1).all() and (factors["fine"] == 1).all()
    assert factors["local"][0] < 0.01 < factors["local"][-1]


@pytest.mark.parametrize(("integral", "proportional", "bound"), [(0.2, 0.7, 4.0), (0.4, 0.1, 4.0), (0.2, 3.0, 0.15)])
def test_log_factor_grows_by_the_error_times_both_gains(integral, proportional, bound):
    """From the smallest factor, after log(KL / set point) = 0.3, within the bounds."""
    settings = {"controller_integral": integral, "controller_proportional": proportional}
    bounds = {"controller_min_beta": 0.1, "controller_max_beta": bound}
    config = replace(points(total=5.0), objective=settings | bounds)
    kl = dict.fromkeys(LEVELS, 5 * jnp.exp(0.3) / 3)
    found = controller_factors(config, update_controller(config, init_controller(config), kl))
    np.testing.assert_allclose(found["fine"], min(0.1 * np.exp(0.3 * (integral + proportional)), bound), rtol=1e-5)


BOUNDED = replace(points(fine=5.0), objective={"controller_min_beta": 0.05, "controller_max_beta": 4.0})


@jax.jit
def bounded(kls):
    """The factor of the fine level at every step, for its KLs float[step]."""

    def step(state, kl):
        seen = {"global": kl, "local": kl, "fine": kl}
        return update_controller(BOUNDED, state, seen), controller_factors(BOUNDED, state)["fine"]

    return jax.lax.scan(step, init_controller(BOUNDED), kls)[1]


@pytest.mark.parametrize(("stuck", "limit"), [(1e3, 4.0), (0.1, 0.05)])
def test_time_at_a_bound_is_forgotten(stuck, limit):
    """No windup: after 600 or 4,000 steps with a KL out of reach, the way back is the same."""
    ways_back = []
    for steps in (600, STEPS):
        factors = np.asarray(bounded(jnp.concatenate([jnp.full(steps, stuck), jnp.full(100, 25 / stuck)])))
        np.testing.assert_allclose(factors[steps - 1], limit, rtol=1e-6)
        ways_back.append(factors[steps + 1 :])
    np.testing.assert_array_equal(ways_back[0], ways_back[1])
    assert abs(np.log(ways_back[0][0] / limit)) > 0.02  # the gains act in the first step


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1e-9, 4.9, 5.1, 100.0, 1e30]), min_size=200, max_size=200))
def test_factors_keep_within_their_bounds(kls):
    factors = np.asarray(bounded(jnp.asarray(kls, jnp.float32)))
    assert (factors >= 0.05 * (1 - 1e-6)).all() and (factors <= 4 * (1 + 1e-6)).all()


def test_without_a_set_point_there_is_no_controller():
    assert init_controller(THREE) == () and set_points(THREE) == {} and steered_levels(THREE) == []
    assert controller_factors(THREE, ()) == dict.fromkeys(LEVELS, 1.0)
    assert update_controller(THREE, (), dict.fromkeys(LEVELS, jnp.float32(1))) == ()


# What a level keeps for 2 or 3 phrases of its 4 dims at any weight, in nats per phrase.
AR1 = -2 * np.log(1 - 0.9**2) / 2
NORMED = 4 * 0.5**2 / 2 / 2
FLOORS: dict[str, tuple[int, dict[str, Any], float]] = {
    "ar1": (8, {"local": {"base": "ar1"}}, AR1),
    "batch norm": (8, {"global": {"batch_norm": 0.5}}, NORMED),
    "ar1, batch norm": (8, {"local": {"base": "ar1"}, "global": {"batch_norm": 0.5}}, AR1 + NORMED),
    "total": (12, {"local": {"free_bits": "total", "nats": 12.0}}, 12 / 3),
    "per_dim": (12, {"local": {"free_bits": "per_dim", "nats": 0.5}}, 0.5 * 4),
    "per_dim_per_example": (12, {"local": {"free_bits": "per_dim_per_example", "nats": 6.0}}, 6.0),
}


PLACES = [("ar1, batch norm", "objective")]
PLACES += [
    (name, place) for name, (_, parts, _) in FLOORS.items() if len(parts) == 1 for place in ("objective", *parts)
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_set_point_below_what_is_committed_or_free_is_refused(name, place):
    """No weight moves that part of the KL, so the controller would stay at its bound."""
    measures, parts, floor = FLOORS[name]
    config = replace(THREE, data={"measures": measures}, **parts)
    reach, miss = (replace(config, **{place: {"kl_per_phrase": share * floor}}) for share in (1.001, 0.99))
    check_set_points(reach)
    with pytest.raises(ConfigError, match=f"{place}.kl_per_phrase"):
        check_set_points(miss)


@pytest.mark.parametrize("total", [True, False])
def test_a_level_that_no_window_keeps_moves_nothing(total):
    config = points(total=5.0) if total else points(**{"fine": 5.0, "global": 5.0})
    state = init_controller(config)
    kl = {"global": jnp.float32(3), "local": jnp.float32(4), "fine": jnp.float32(50)}
    everywhere = dict.fromkeys(LEVELS, jnp.asarray(True))
    plain = update_controller(config, state, kl)
    jax.tree.map(np.testing.assert_array_equal, update_controller(config, state, kl, everywhere), plain)
    held = update_controller(config, state, kl, everywhere | {"fine": jnp.asarray(False)})
    name = TOTAL if total else "fine"
    for part in ("integral", "error"):
        before, moved, kept = (getattr(states, part) for states in (state, plain, held))
        assert kept[name] == before[name] != moved[name]
        if not total:
            assert kept["global"] == moved["global"]
