"""Laws of the model: what may depend on what, and two ways to the same number."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.objectives.elbo import token_nll
from musicvae_jax.types import Batch, Field, existing_fields, until_end
from tests.tiny import ENDING, FIELDS, MODEL, SHALLOW, SLOTS, make_batch, make_vae


@partial(jax.jit, static_argnums=0)
def apply(vae, variables, batch):
    return vae.apply(variables, batch, rngs={"latent": jax.random.key(1)})


@partial(jax.jit, static_argnums=0)
def logits_of(vae, variables, batch, latents=None):
    if latents is None:
        latents = {"global": jnp.ones((len(batch.index), 1, MODEL.global_dim))}
    return vae.apply(variables, latents, batch, method="decode")


def test_only_params():
    vae = make_vae()[0]
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: vae.init({"params": key, "latent": key}, make_batch()))
    assert set(shapes) == {"params"}


def test_the_future_does_not_move_the_past():
    vae, variables = make_vae()
    batch = make_batch()
    before = logits_of(vae, variables, batch)
    rows = np.flatnonzero(batch.mask.reshape(8, -1).all(0))[-1]  # a slot that every row has
    for field in range(2):
        tokens = batch.tokens.copy().reshape(8, -1, 2)
        tokens[:, rows, field] = (tokens[:, rows, field] + 1) % FIELDS[field].size
        after = logits_of(vae, variables, batch._replace(tokens=tokens.reshape(batch.tokens.shape)))
        for number in range(2):
            first, second = (part[number].reshape(8, -1, FIELDS[number].size) for part in (before, after))
            np.testing.assert_array_equal(first[:, :rows], second[:, :rows])
            same_slot = bool((first[:, rows] == second[:, rows]).all())
            assert same_slot == (number <= field)  # a field sees exactly the fields before it
            assert not (first[:, rows + 1] == second[:, rows + 1]).all()


def test_padding_measures_have_no_say():
    """A window that is padded to more measures has the same posterior and the same logits."""
    vae, variables = make_vae()
    batch = make_batch()
    longer = batch._replace(
        tokens=np.pad(batch.tokens, ((0, 0), (0, 2), (0, 0), (0, 0))),
        mask=np.pad(batch.mask, ((0, 0), (0, 2), (0, 0))),
        metre=np.pad(batch.metre, ((0, 0), (0, 2), (0, 0))),
    )
    first, second = apply(vae, variables, batch), apply(vae, variables, longer)
    np.testing.assert_allclose(first.posterior["global"].loc, second.posterior["global"].loc, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first.logits[0][batch.mask], second.logits[0][:, :3][batch.mask], rtol=1e-5, atol=1e-5)


def test_metre_and_length_are_inputs():
    """Of the same tokens in measures of another metre, or with a measure less after them, other things are expected."""
    vae, variables = make_vae()
    batch = make_batch()
    other = batch._replace(metre=np.where(batch.metre == 3, 5, batch.metre))
    assert not np.allclose(logits_of(vae, variables, batch)[0], logits_of(vae, variables, other)[0])
    there = np.arange(3) < 2
    shorter = batch._replace(mask=batch.mask & there[:, None], metre=np.where(there[:, None], batch.metre, 0))
    latents = {"global": np.ones((len(batch.index), 1, MODEL.global_dim), np.float32)}
    long, short = (vae.apply(variables, latents, frame, method="decode")[0][:, :2] for frame in (batch, shorter))
    whole = batch.mask.any(-1).all(-1)  # of three measures in the longer batch
    assert whole.any() and not np.allclose(long[whole], short[whole])


def test_batch_equals_vmap():
    vae, variables = make_vae()
    batch = make_batch()
    encode = jax.jit(lambda batch: vae.apply(variables, batch, method="encode")["global"])
    whole, single = encode(batch), jax.vmap(encode)(batch)
    np.testing.assert_allclose(whole.loc, single.loc, rtol=1e-5, atol=1e-5)


def test_remat_changes_no_gradient():
    batch = make_batch()
    results = []
    for remat in (False, True):
        vae, variables = make_vae(dataclasses.replace(MODEL, remat=remat))
        loss = lambda variables, vae=vae: apply(vae, variables, batch).logits[0].sum()  # noqa: E731
        results.append(jax.jit(jax.grad(loss))(variables))
        assert ("remat" in str(jax.make_jaxpr(loss)(variables))) == remat
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)


def test_a_slot_sums_to_one():
    """The chain of fields is a distribution over slots: its 15 outcomes have total probability 1."""
    vae, variables = make_vae()
    x = jax.random.normal(jax.random.key(0), (4, MODEL.dim))
    first = jax.nn.softmax(vae.apply(variables, x, jnp.zeros((4, 0), jnp.int32), method="field_logits"))
    total = jnp.zeros((4, FIELDS[1].size))
    for token in range(FIELDS[0].size):
        second = vae.apply(variables, x, jnp.full((4, 1), token), method="field_logits")
        total += first[:, token, None] * jax.nn.softmax(second)
    np.testing.assert_allclose(total.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("last", [False, True])
def test_a_slot_that_may_end_the_measure_sums_to_one(last):
    """Its outcomes are END, alone, and the others with their second fields; the last slot of a row is END."""
    vae, variables = make_vae(fields=ENDING)
    x = jax.random.normal(jax.random.key(0), (4, MODEL.dim))
    logits = partial(vae.apply, variables, method="field_logits")
    first = jax.nn.softmax(logits(x, jnp.zeros((4, 0), jnp.int32), last))
    second = [jax.nn.softmax(logits(x, jnp.full((4, 1), token), last)) for token in range(5)]
    np.testing.assert_array_equal(second[0], np.eye(3)[[0] * 4])  # after END nothing is left to say
    assert (second[1] > 0).all()
    outcomes = jnp.stack([first[:, token, None] * second[token] for token in range(1, 5)])
    np.testing.assert_allclose(first[:, 0] + outcomes.sum((0, 2)), 1, rtol=1e-6)
    if last:
        np.testing.assert_array_equal(first[:, 0], 1)


def test_rows_of_a_measure_sum_to_one():
    """All rows of two slots and their END: the whole decoder, with its masks, is a distribution over music."""
    vae, variables = make_vae(fields=ENDING)
    slots = [(0, 0), *((first, second) for first in range(1, 5) for second in range(3))]
    rows = [(one, other) for one in slots for other in (slots if one[0] else slots[:1])]
    tokens = np.zeros((len(rows), 1, SLOTS, 2), np.int32)
    tokens[:, 0, :2] = rows
    allowed = np.ones(tokens.shape[:3], bool)
    mask = until_end(tokens, allowed, ENDING)
    batch = Batch(tokens, mask, np.full((len(rows), 1, 2), 4), np.arange(len(rows)))
    nll = token_nll(logits_of(vae, variables, batch), batch)
    assert (nll[~existing_fields(tokens, mask, ENDING)] == 0).all()
    # A third note may follow two: leave out what the row's own END costs, and the sum is over the first two slots.
    total = np.exp(-np.asarray(nll[:, 0, :2], np.float64).sum((-2, -1))).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_token_dropout_hides_the_past_in_training_only():
    vae, variables = make_vae(dataclasses.replace(MODEL, token_dropout=0.999))
    batch = make_batch()
    tokens = np.where(batch.mask[..., None], (batch.tokens + 1) % np.array([5, 3]), 0)
    latents = {"global": jnp.ones((8, 1, MODEL.global_dim))}

    def forced(tokens, deterministic):
        return vae.apply(
            variables,
            latents,
            batch._replace(tokens=tokens),
            deterministic,
            method=lambda module, *args: module.decoder(*args),
            rngs={"token_dropout": jax.random.key(0)},
        )[0]

    np.testing.assert_array_equal(forced(batch.tokens, False), forced(tokens, False))
    assert not np.allclose(forced(batch.tokens, True), forced(tokens, True))


def test_dropout_takes_what_layers_add():
    """All of it at a rate of one: the decoder is then the one whose layers add nothing."""
    vae, variables = make_vae(dataclasses.replace(SHALLOW, dropout=1 - 1e-9))
    block = variables["params"]["decoder"]["block_0"]
    silent = {"attention": block["attention"] | {"output": jax.tree.map(jnp.zeros_like, block["attention"]["output"])}}
    silent["narrow"] = jax.tree.map(jnp.zeros_like, block["narrow"])
    without = variables["params"] | {"decoder": variables["params"]["decoder"] | {"block_0": block | silent}}
    latents = {"global": jnp.ones((8, 1, SHALLOW.global_dim))}

    @partial(jax.jit, static_argnums=1)
    def forced(params, deterministic):
        decode = lambda module, *args: module.decoder(*args)  # noqa: E731
        rngs = {"dropout": jax.random.key(0)}
        return vae.apply({"params": params}, latents, make_batch(), deterministic, method=decode, rngs=rngs)

    dropped, expected = forced(variables["params"], False), forced(without, True)
    for one, other, third in zip(dropped, expected, forced(variables["params"], True), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        assert not np.allclose(one, third, atol=1e-2)


def test_bfloat16_computes_near_float32():
    outputs = []
    for dtype in ("float32", "bfloat16"):
        vae, variables = make_vae(dataclasses.replace(MODEL, dtype=dtype))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        outputs.append(apply(vae, variables, make_batch()))
    assert outputs[1].logits[0].dtype == jnp.float32
    np.testing.assert_allclose(outputs[0].logits[0], outputs[1].logits[0], atol=0.15)  # bfloat16 keeps 8 bits


def test_one_field_needs_no_chain():
    _, variables = make_vae(fields=(Field("melody", 7),))
    assert not [name for name in variables["params"]["decoder"] if name.startswith("chain")]
