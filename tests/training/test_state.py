"""Laws of the first state, of the optimiser and of its learning rate, against formulas in NumPy."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from musicvae_jax.config import TrainConfig
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import (
    from_vectors,
    init_params,
    learning_rate_schedule,
    make_model,
    make_optimizer,
    start_state,
    state_shapes,
    to_vectors,
)
from tests.tiny import CONFIG, FIELDS, replace

RATE, DECAY = 0.1, 0.3
CONSTANT: dict[str, Any] = {"learning_rate": RATE, "warmup_steps": 0, "final_learning_rate": 1.0, "clip_norm": 1e9}
PARAMS: dict[str, Any] = {
    "matrix": np.array([[1.0, -2.0], [0.5, 3.0]], np.float32),
    "vector": np.array([4.0, -1.0], np.float32),
}


def random_gradients(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in PARAMS.items()}


def update(optimizer, gradients, state, params):
    """The updates, as a tree, and the next state."""
    vectors, state = optimizer.update(to_vectors(gradients), state, to_vectors(params))
    return from_vectors(vectors, params), state


@pytest.mark.parametrize(("step", "rate"), [(0, 0.2), (4, 1.0), (9, 2.0), (100, 0.2), (1000, 0.2)])
def test_the_rate_rises_in_a_line_and_falls_to_its_share(step, rate):
    config = TrainConfig(num_steps=100, warmup_steps=9, learning_rate=2.0, final_learning_rate=0.1)
    np.testing.assert_allclose(learning_rate_schedule(config)(step), rate, rtol=1e-5)


@pytest.mark.parametrize("names", [("matrix", "vector"), ("matrix",), ("vector",)])
def test_vectors_hold_all_that_a_tree_holds(names):
    params = {name: PARAMS[name] for name in names} | {"more": {name: -PARAMS[name] for name in names}}
    vectors = to_vectors(params)
    assert [vector.size for vector in vectors] == [8 * ("matrix" in names), 4 * ("vector" in names)]
    jax.tree.map(np.testing.assert_array_equal, from_vectors(vectors, params), params)


@pytest.mark.parametrize("clip_norm", [0.5, 100.0])
def test_a_gradient_is_no_longer_than_the_clipping_norm(clip_norm):
    gradients = random_gradients(0)
    norm = np.linalg.norm(np.concatenate([leaf.ravel() for leaf in gradients.values()]))
    assert 0.5 < norm < 100
    optimizer = make_optimizer(TrainConfig(optimizer="sgd", **(CONSTANT | {"clip_norm": clip_norm})))
    updates, _ = update(optimizer, gradients, optimizer.init(to_vectors(PARAMS)), PARAMS)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(updates[name], -RATE * min(clip_norm / norm, 1) * gradient, rtol=1e-5)


def test_three_steps_are_those_of_adamw_with_decay_of_matrices_only():
    """Loshchilov & Hutter (2019), algorithm 2, written out, with a rate that the warm-up moves."""
    config = TrainConfig(weight_decay=DECAY, adam_b2=0.7, **(CONSTANT | {"warmup_steps": 2}))
    optimizer, params = make_optimizer(config), PARAMS
    state = optimizer.init(to_vectors(params))
    expected: dict[str, Any] = {name: leaf.astype(np.float64) for name, leaf in PARAMS.items()}
    first: dict[str, Any] = {name: np.zeros_like(leaf) for name, leaf in expected.items()}
    second: dict[str, Any] = {name: np.zeros_like(leaf) for name, leaf in expected.items()}
    for step, rate in enumerate((RATE / 3, RATE * 2 / 3, RATE), 1):
        gradients = random_gradients(step)
        updates, state = update(optimizer, gradients, state, params)
        params = jax.tree.map(np.add, params, updates)
        for name, gradient in gradients.items():
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.7 * second[name] + 0.3 * gradient**2
            moved = first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.7**step)) + 1e-8)
            expected[name] -= rate * (moved + (DECAY * expected[name] if name == "matrix" else 0))
    for name, value in expected.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5)


def test_first_parameters_are_drawn_on_the_host_and_depend_on_the_seed_alone():
    """What the other devices run to make the first state has no random numbers, which they would compile for long."""
    config = replace(CONFIG, model={"decoder_layers": 1})
    model = make_model(config, FIELDS)
    first, again, other = (init_params(model, config.data.measures, seed) for seed in (0, 0, 1))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(first))
    same, changed = (
        [np.array_equal(one, two) for one, two in zip(*map(jax.tree.leaves, (first, others)), strict=True)]
        for others in (again, other)
    )
    assert all(same) and not all(changed)
    program = str(jax.make_jaxpr(partial(start_state, config))(first))
    assert "concatenate" in program and "random" not in program and "threefry" not in program
    state = make_parallel(config.train).init(config, model)
    assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, state_shapes(config, model))
    for one, two in zip(*map(jax.tree.leaves, (state.params, first)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_a_cpu_the_first_parameters_are_drawn_on_another_device(monkeypatch):
    devices = jax.local_devices()

    def without_a_cpu(backend=None):
        if backend == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices[1:]

    model = make_model(CONFIG, FIELDS)
    before = init_params(model, CONFIG.data.measures, 3)
    monkeypatch.setattr(jax, "local_devices", without_a_cpu)
    for one, two in zip(*map(jax.tree.leaves, (before, init_params(model, CONFIG.data.measures, 3))), strict=True):
        np.testing.assert_array_equal(one, two)
