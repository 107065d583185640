"""`ModelConfig.scan_layers`: one compiled body for the layers of a kind, and the same model."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import Config, ModelConfig
from musicvae_jax.models.layers import run_blocks
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.training.throughput import product_flops
from tests.tiny import CONFIG, make_batch, make_vae, replace

LAYERS = {"encoder_slot_layers": 3, "encoder_measure_layers": 2, "decoder_layers": 3}
MODELS = {
    "flat": {"context": "flat", "intervals": True},
    "previous, remat": {"context": "previous", "remat": True, "mlp_ratio": 2},
    "none, slotwise": {"context": "none", "slotwise": True},
}
BATCH = make_batch(size=4)


def build(name: str, **model) -> Config:
    return replace(CONFIG, model=MODELS[name] | LAYERS | model)


def loss(config: Config, params):
    vae, _ = make_vae(config)
    output = vae.apply({"params": params}, BATCH, rngs={"latent": jax.random.key(1)})
    return token_nll(output.logits, BATCH).sum()


@pytest.mark.parametrize("name", [pytest.param("flat", marks=pytest.mark.slow), *list(MODELS)[1:]])
def test_the_loop_has_the_parameters_values_and_gradients_of_the_layers(name):
    """In double precision, so that only a mistake can differ."""
    with jax.enable_x64(True):
        plain, looped = (build(name, dtype="float64", scan_layers=scan) for scan in (False, True))
        (_, variables), (_, others) = make_vae(plain), make_vae(looped)
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, others)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), variables["params"])

        def found(config):
            return jax.jit(jax.value_and_grad(partial(loss, config)))(params)

        for one, other in zip(jax.tree.leaves(found(plain)), jax.tree.leaves(found(looped)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_the_loop_computes_in_bfloat16_too(name):
    config = build(name, dtype="bfloat16", scan_layers=True)
    program = jax.make_jaxpr(partial(loss, config))(make_vae(config)[1]["params"])
    assert str(program).count("scan[") == 3


def test_the_loop_is_smaller_and_costs_as_many_operations():
    sizes, flops = [], []
    for scan in (False, True):
        config = build("flat", scan_layers=scan)
        params = make_vae(config)[1]["params"]
        program = jax.make_jaxpr(jax.grad(partial(loss, config)))(params)
        flops.append(product_flops(program.jaxpr))
        sizes.append(str(program).count("dot_general"))
    assert flops[0] == flops[1]
    # A layer has six products of matrices and two of norms, and twice as many in the backward pass.
    assert sizes[0] - sizes[1] == 24 * (2 + 1 + 2)


class Layers(nn.Module):
    """Two layers alone."""

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(self, x):
        mask = jnp.ones((1, x.shape[-2]), bool)
        positions = np.arange(x.shape[-2])
        return run_blocks(self.config, self, "block", 2, x, positions, mask, deterministic=self.deterministic)


@pytest.mark.parametrize("scan", [False, True])
def test_every_layer_has_dropout_of_its_own(scan):
    """Each layer adds 1 to every feature, so with half of them dropped it adds 0 or 2: two layers 0, 2 or 4."""
    config = replace(CONFIG, model={"scan_layers": scan, "dropout": 0.5}).model
    x = jnp.zeros((4, config.dim))
    zeros = jax.tree.map(jnp.zeros_like, Layers(config, True).init(jax.random.key(0), x))
    ones = jax.tree.map_with_path(lambda path, leaf: leaf + ("'narrow'" in jax.tree_util.keystr(path)), zeros)

    def added(key: int, deterministic: bool = False):
        return np.asarray(Layers(config, deterministic).apply(ones, x, rngs={"dropout": jax.random.key(key)}))

    assert set(added(0, True).flat) == {2}
    assert set(added(0).flat) == {0, 2, 4}
    np.testing.assert_array_equal(added(0), added(0))
    assert (added(0) != added(1)).any()
