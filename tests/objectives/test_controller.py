"""Laws of the controller, on plants as simple as KL = a x beta^-b."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import Config, ConfigError, DataConfig, LevelObjective, ModelConfig, ObjectiveConfig
from musicvae_jax.objectives.controller import (
    ControllerState,
    check_set_points,
    controller_factors,
    init_controller,
    set_points,
    update_controller,
)

LEVELS = ["global", "local", "fine"]
STEPS, TAIL = 4000, 1500


def simulate(config, plant, noise, start=None):
    """Factors and KLs per phrase over time, and the last state; one compiled loop.

    ``plant``: factors to the KL per phrase that they lead to in the end; the KL goes a tenth of the way in a step.
    """
    start = start or dict.fromkeys(LEVELS, 100.0)

    def step(carry, noise):
        state, kl = carry
        factors = {level: jnp.asarray(value) for level, value in controller_factors(config, state, LEVELS).items()}
        kl = {level: kl[level] ** 0.9 * wanted**0.1 for level, wanted in plant(factors).items()}
        seen = {level: kl[level] * jnp.exp(noise[number]) for number, level in enumerate(kl)}
        return (update_controller(config, state, seen), kl), (factors, seen)

    first = init_controller(config, LEVELS), {level: jnp.asarray(value) for level, value in start.items()}
    (state, _), (factors, kl) = jax.jit(lambda: jax.lax.scan(step, first, jnp.asarray(noise, jnp.float32)))()
    return jax.device_get(factors), jax.device_get(kl), state


def make_noise(scale, steps=STEPS):
    return np.random.default_rng(0).normal(0, scale, (steps, len(LEVELS)))


@pytest.mark.parametrize(("a", "b"), [(40.0, 0.4), (40.0, 1.0), (3.0, 1.0), (80.0, 1.5)])
def test_the_total_comes_to_its_set_point(a, b):
    config = ObjectiveConfig(kl_per_phrase=20.0)
    shares = {"global": 0.2, "local": 0.3, "fine": 0.5}
    factors, kl, _ = simulate(
        config, lambda factors: {level: a * share * factors[level] ** -b for level, share in shares.items()},
        make_noise(0.1),
    )  # fmt: skip
    # The integral's gain times the sum of errors is how far the integral went: the mean error of N steps is at most
    # the spread of the integral / (gain x N), here about 0.1 / (0.02 x 1500).
    total = sum(kl.values())
    assert abs(np.log(total[-TAIL:] / 20).mean()) < 0.01
    wanted = (a / 20) ** (1 / b)
    np.testing.assert_allclose(np.exp(np.log(factors["fine"][-TAIL:]).mean()), wanted, rtol=0.05)
    for level in LEVELS:
        np.testing.assert_array_equal(factors[level], factors["fine"])


def test_levels_come_to_their_set_points_though_each_pulls_at_the_others():
    points = {"global": 4.0, "local": 10.0, "fine": 20.0}
    parts: dict[str, Any] = {f"{level}_level": LevelObjective(kl_per_phrase=nats) for level, nats in points.items()}
    config = ObjectiveConfig(**parts)

    def plant(factors):  # what one level is charged, the others take over in part
        of_global, of_local, of_fine = (factors[level] for level in LEVELS)
        return {
            "global": 5.0 * of_global**-0.8 * of_local**0.2 * of_fine**0.2,
            "local": 8.0 * of_local**-0.8 * of_global**0.1 * of_fine**0.3,
            "fine": 50.0 * of_fine**-1.0 * of_global**0.1 * of_local**0.2,
        }

    factors, kl, _ = simulate(config, plant, make_noise(0.1))
    for level, point in points.items():
        assert abs(np.log(kl[level][-TAIL:] / point).mean()) < 0.01
        assert 2e-3 < factors[level][-1] < 9  # not for the bounds


def test_an_update_is_the_sum_of_both_gains():
    """log(factor) after a KL of e^.3 set points: the start + .3 x (integral + proportional gain), within the bounds."""
    for integral, proportional, bound in ((0.2, 0.7, 4.0), (0.4, 0.1, 4.0), (0.2, 3.0, 0.15)):
        config = ObjectiveConfig(
            kl_per_phrase=5.0, controller_integral=integral, controller_proportional=proportional,
            controller_min_beta=0.1, controller_max_beta=bound,
        )  # fmt: skip
        state = update_controller(config, init_controller(config, ["fine"]), {"fine": 5 * jnp.exp(0.3)})
        expected = min(0.1 * np.exp(0.3 * (integral + proportional)), bound)
        np.testing.assert_allclose(controller_factors(config, state, ["fine"])["fine"], expected, rtol=1e-5)


def test_a_set_point_of_one_level_leaves_the_others_at_1():
    config = ObjectiveConfig(local_level=LevelObjective(kl_per_phrase=10.0))
    factors, *_ = simulate(config, lambda factors: {level: 30 / factors[level] for level in LEVELS}, make_noise(0, 200))
    assert (factors["global"] == 1).all() and (factors["fine"] == 1).all()
    assert factors["local"][0] < 0.01 < factors["local"][-1]


@pytest.mark.parametrize(("stuck", "bound"), [(1e3, "max"), (0.1, "min")])
def test_time_at_a_bound_is_forgotten(stuck, bound):
    """What cannot be reached winds nothing up: after 600 or 4,000 steps the way back is the same."""
    config = ObjectiveConfig(kl_per_phrase=20.0, controller_min_beta=0.01, controller_max_beta=5.0)
    limit = {"max": 5.0, "min": 0.01}[bound]

    @jax.jit
    def run(kls):
        def step(state, kl):
            return update_controller(config, state, {"global": kl}), controller_factors(config, state, ["global"])

        return jax.lax.scan(step, init_controller(config, ["global"]), kls)[1]["global"]

    ways_back = []
    for steps in (600, STEPS):
        factors = np.asarray(run(jnp.concatenate([jnp.full(steps, stuck), jnp.full(100, 400 / stuck)])))
        np.testing.assert_allclose(factors[steps - 1], limit, rtol=1e-6)
        ways_back.append(factors[steps + 1 :])
    np.testing.assert_array_equal(ways_back[0], ways_back[1])
    assert abs(np.log(ways_back[0][0] / limit)) > 0.02  # the first answer is the gains' at once, not zero


@jax.jit
def bounded(kls):
    """The factor at every step of a controller between 0.05 and 4."""
    config = ObjectiveConfig(kl_per_phrase=5.0, controller_min_beta=0.05, controller_max_beta=4.0)

    def step(state, kl):
        return update_controller(config, state, {"fine": kl}), controller_factors(config, state, ["fine"])

    return jax.lax.scan(step, init_controller(config, ["fine"]), kls)[1]["fine"]


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0.0, 1e-9, 4.9, 5.1, 100.0, 1e30]), min_size=200, max_size=200))
def test_factors_keep_within_their_bounds(kls):
    factors = np.asarray(bounded(jnp.asarray(kls, jnp.float32)))
    assert (factors >= 0.05 * (1 - 1e-6)).all() and (factors <= 4 * (1 + 1e-6)).all()


def test_the_state_is_arrays_of_one_shape_for_ever():
    config = ObjectiveConfig(fine_level=LevelObjective(kl_per_phrase=1.0), global_level=LevelObjective(kl_per_phrase=2))
    state = init_controller(config, LEVELS)
    assert isinstance(state, ControllerState) and state.integral.keys() == state.error.keys() == {"global", "fine"}
    updated = update_controller(config, state, {level: jnp.float32(3) for level in LEVELS})
    assert str(jax.tree.structure(updated)) == str(jax.tree.structure(state))
    for tree in (state, updated):
        leaves = jax.tree.leaves(tree)
        assert all(isinstance(leaf, jax.Array) and leaf.shape == () and leaf.dtype == np.float32 for leaf in leaves)
    np.testing.assert_allclose(controller_factors(config, state, LEVELS)["fine"], config.controller_min_beta, rtol=1e-5)


def test_without_a_set_point_there_is_no_controller():
    config = ObjectiveConfig(beta=0.5)
    assert init_controller(config, LEVELS) == () and set_points(config, LEVELS) == {}
    assert controller_factors(config, (), LEVELS) == dict.fromkeys(LEVELS, 1.0)
    assert update_controller(config, (), dict.fromkeys(LEVELS, 1.0)) == ()


POINT = LevelObjective(kl_per_phrase=5.0)
CAPACITY: dict[str, Any] = {"free_bits": "capacity", "nats": 3.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_per_phrase": 9.0, "fine_level": POINT}, r"kl_per_phrase = 9\.0: fine have set points"),
        ({"kl_per_phrase": 9.0, "fine_level": LevelObjective(**CAPACITY)}, r"fine_level\.free_bits = 'capacity'"),
        ({"local_level": LevelObjective(kl_per_phrase=5.0, **CAPACITY)}, r"local_level\.free_bits = 'capacity'"),
        ({"local_level": LevelObjective(kl_per_phrase=5.0, beta=0.0)}, r"local_level\.beta = 0\.0: allowed is above 0"),
        (
            {"local_level": LevelObjective(schedule="cyclical_linear", schedule_steps=9, kl_per_phrase=1.0)},
            r"local_level\.schedule = 'cyclical_linear': allowed is constant or linear with a set point",
        ),
        ({"beta": 0.0, "global_level": POINT}, r"ObjectiveConfig\.beta = 0\.0: allowed is above 0 with a set point"),
        ({"controller_integral": 0.0, "kl_per_phrase": 9.0}, r"controller_integral = 0\.0: allowed is above 0"),
        ({"controller_min_beta": 2.0, "controller_max_beta": 1.0}, r"controller_min_beta = 2\.0: allowed is at most"),
        ({"controller_min_beta": 0.0}, r"controller_min_beta = 0\.0: allowed is a number above 0"),
    ],
)
def test_what_cannot_be_steered_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ObjectiveConfig(**changes)

    ObjectiveConfig(global_level=POINT, fine_level=LevelObjective(beta=0.0), local_level=LevelObjective(**CAPACITY))


def test_a_set_point_that_is_out_of_reach_is_refused():
    """Two phrases of 4 dims: delta commits to -4/2 ln(1 - .9^2) nats a window, batch normalisation to 6 x .5^2 / 2."""
    delta, normed = -2 * np.log(1 - 0.9**2) / 2, 6 * 0.5**2 / 2 / 2
    model = ModelConfig(
        global_dim=6, local_dim=4, delta_levels=("local",), batch_norm_levels=("global",), batch_norm_gamma=0.5
    )
    for floor, fields in (
        (delta + normed, lambda point: {"kl_per_phrase": point}),
        (delta, lambda point: {"local_level": LevelObjective(kl_per_phrase=point)}),
        (normed, lambda point: {"global_level": LevelObjective(kl_per_phrase=point)}),
    ):
        reach, miss = (
            Config(data=DataConfig(measures=8), model=model, objective=ObjectiveConfig(**fields(share * floor)))
            for share in (1.01, 0.99)
        )
        check_set_points(reach)
        with pytest.raises(
            ConfigError, match=r"kl_per_phrase = .*: allowed is .* and more, which delta and batch_norm"
        ):
            check_set_points(miss)


@pytest.mark.parametrize(
    ("free", "floor"),
    [
        ({"free_bits": "total", "nats": 12.0}, 12 / 3),
        ({"free_bits": "per_dim", "nats": 0.5}, 0.5 * 3 * 4 / 3),  # latents x dims over phrases
        ({"free_bits": "per_dim_per_example", "nats": 6.0}, 6.0 * 3 / 3),
    ],
)
def test_a_set_point_below_what_is_free_is_refused(free, floor):
    """What costs nothing stays however large the weight: the controller would stand at its bound for ever."""
    model = ModelConfig(global_dim=6, local_dim=4)

    def config(share: float, total: bool) -> Config:
        local, point = dict(free), share * floor
        whole = {"kl_per_phrase": point} if total else {}
        part = LevelObjective(**local, kl_per_phrase=0.0 if total else point)
        return Config(data=DataConfig(measures=12), model=model, objective=ObjectiveConfig(local_level=part, **whole))

    for total in (True, False):
        check_set_points(config(1.0, total))
        with pytest.raises(ConfigError, match=r"kl_per_phrase = .*: allowed is .* and more, .*or free bits leave free"):
            check_set_points(config(0.99, total))


@pytest.mark.parametrize("total", [True, False])
def test_a_level_that_no_window_keeps_moves_nothing(total):
    config = ObjectiveConfig(kl_per_phrase=5.0) if total else ObjectiveConfig(fine_level=POINT, global_level=POINT)
    state = init_controller(config, LEVELS)
    kl = {"global": jnp.float32(3), "local": jnp.float32(4), "fine": jnp.float32(50)}
    everywhere = dict.fromkeys(LEVELS, jnp.asarray(True))
    plain = update_controller(config, state, kl)
    jax.tree.map(np.testing.assert_array_equal, update_controller(config, state, kl, everywhere), plain)
    held = update_controller(config, state, kl, everywhere | {"fine": jnp.asarray(False)})
    assert isinstance(state, ControllerState) and isinstance(held, ControllerState)
    assert isinstance(plain, ControllerState)
    name = "total" if total else "fine"
    for part in ("integral", "error"):
        assert getattr(held, part)[name] == getattr(state, part)[name] != getattr(plain, part)[name]
        if not total:
            assert getattr(held, part)["global"] == getattr(plain, part)["global"]
