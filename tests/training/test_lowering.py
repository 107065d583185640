"""Programs for accelerators, lowered on a CPU: what compiles there, without a scatter, and how large it is."""

import re

import jax
import numpy as np
import pytest
from configs import FOLK_PLAIN

from musicvae_jax.codec import make_codec
from musicvae_jax.inference import decode_nll, encode, infer, reconstruct, sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import make_model, state_shapes
from musicvae_jax.training.step import make_device_step
from musicvae_jax.types import Batch
from tests.tiny import make_batch, make_vae, replace, with_attributes
from tests.training.runs import NAMED, NOISY, THREE, VARIANTS, spread

PLATFORMS = ("cuda", "tpu")


def lower(traced, platforms=PLATFORMS) -> str:
    """The program for accelerators, as text."""
    return traced.lower(lowering_platforms=platforms).as_text()


def matrix_products(program: str) -> list[str]:
    """The shapes of all products of matrices. The sum of squares of a norm, a product of vectors, is none of these."""
    products = re.findall(r"= stablehlo\.dot_general (.*) : (\(tensor<(\S+)>, tensor<(\S+)>\) .*)", program)
    found = []
    for axes, shapes, *factors in products:
        batch, contracted = (re.search(rf"{name}_dims = \[([\d, ]*)\]", axes) for name in ("batching", "contracting"))
        gone, kept = (len(re.findall(r"\d+", match[1])) if match else 0 for match in (contracted, batch))
        if gone and any(factor.count("x") > gone + kept for factor in factors):
            found.append(shapes)
    return found


@pytest.mark.parametrize("name", [*VARIANTS, "intervals", "attributes"])
def test_the_step_has_no_scatter(name):
    """There, additions to the same row of a table wait for one another."""
    others = {"intervals": replace(NOISY, model={"intervals": True, "context": "flat"}), "attributes": NAMED}
    config, parallel, model = spread((VARIANTS | others)[name], "jit-1")
    state, batch = state_shapes(config, model), make_batch(measures=config.data.measures)
    batch = with_attributes(batch, config) if config.data.attributes else batch
    program = lower(parallel.spread(make_device_step(config, model)).trace(state, batch))
    assert "dot_general" in program
    # A reduce_scatter is none: it sums over devices.
    assert not re.search(r"stablehlo\.(select_and_)?scatter", program)
    assert "scatter" not in program or name == "attributes"


def test_the_step_of_folk_is_no_larger_than_it_was():
    """A step of many small operations compiles slowly, and on an accelerator it runs no faster than it is launched."""
    codec = make_codec(FOLK_PLAIN.codec)
    rows, measures = FOLK_PLAIN.train.batch_size, FOLK_PLAIN.data.measures
    metre = np.full((rows, measures, 2), 4, np.int32)
    mask = codec.slot_mask(metre)
    batch = Batch(np.zeros((*mask.shape, len(codec.fields)), np.int32), mask, metre, np.arange(rows, dtype=np.int32))
    config = replace(FOLK_PLAIN, train={"num_devices": 1})
    model, parallel = make_model(config, codec.fields), make_parallel(config.train)
    state = state_shapes(config, model)
    program = lower(parallel.spread(make_device_step(config, model)).trace(state, batch), ("cuda",))
    operations = re.findall(r"= \"?stablehlo\.", program)
    products = matrix_products(program)
    assert "scatter" not in program
    assert len(operations) < 10_500
    assert len(products) < 340
    assert len(set(products)) < 150


@pytest.mark.parametrize("context", ["none", "previous", "flat"])
def test_the_sampler_has_no_scatter(context):
    model, variables = make_vae(replace(THREE, model={"context": context, "intervals": True}))
    batch, key = make_batch(measures=6), jax.random.key(0)
    keys = jax.random.split(key, len(batch.index))

    @jax.jit
    def sample(variables, metre):
        latents = sample_prior(model, variables, metre, keys)
        return sample_tokens(model, variables, latents, metre, batch.mask, key, SamplingConfig())

    program = lower(sample.trace(variables, batch.metre))
    assert "while" in program
    assert "scatter" not in program


def test_what_an_evaluation_applies_has_no_scatter():
    config, _, model = spread(VARIANTS["batch"], "jit-1")
    _, variables = make_vae(config)
    batch = make_batch(measures=6)
    keys = jax.random.split(jax.random.key(0), len(batch.index))
    latents = infer(model, variables, batch, keys).latents
    for program in (
        lower(reconstruct.trace(model, variables, batch, keys)),
        lower(infer.trace(model, variables, batch, keys)),
        lower(encode.trace(model, variables, batch)),
        lower(decode_nll.trace(model, variables, latents, batch)),
    ):
        assert "dot_general" in program
        assert "scatter" not in program
