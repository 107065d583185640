"""Laws of the whole model: what its logits depend on, and that its probabilities sum to one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.models.vae import decoder_method
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.types import Batch, Field, existing_fields, until_end
from tests.models.variants import apply
from tests.tiny import CONFIG, ENDING, FIELDS, MODEL, SLOTS, make_batch, make_vae, replace

LATENTS = {"global": np.ones((8, 1, 6), np.float32)}
FULL = replace(CONFIG, model=vars(MODEL))


@partial(jax.jit, static_argnums=0, static_argnames="deterministic")
def logits_of(vae, variables, batch, deterministic=True, rngs=None):
    latents = jax.tree.map(lambda z: jnp.resize(z, (len(batch.index), 1, 6)), LATENTS)
    decode = lambda module, *args: module.decoder(*args)  # noqa: E731
    return vae.apply(variables, latents, batch, deterministic, method=decode, rngs=rngs)


def test_the_future_does_not_change_the_past():
    """A slot depends on the slots before it, and a field on the fields before it in its slot."""
    vae, variables = make_vae()
    batch = make_batch()
    before = logits_of(vae, variables, batch)
    slot = np.flatnonzero(batch.mask.reshape(8, -1).all(0))[-1]  # the last one that every row has
    for field in range(2):
        tokens = batch.tokens.copy().reshape(8, -1, 2)
        tokens[:, slot, field] = (tokens[:, slot, field] + 1) % FIELDS[field].size
        after = logits_of(vae, variables, batch._replace(tokens=tokens.reshape(batch.tokens.shape)))
        for number in range(2):
            first, second = (part[number].reshape(8, -1, FIELDS[number].size) for part in (before, after))
            np.testing.assert_array_equal(first[:, :slot], second[:, :slot])
            assert bool((first[:, slot] == second[:, slot]).all()) == (number <= field)
            assert not (first[:, slot + 1] == second[:, slot + 1]).all()


def test_logits_depend_on_the_metre_and_on_the_number_of_measures():
    vae, variables = make_vae()
    batch, first_two = make_batch(), np.arange(3)[:, None] < 2
    other = batch._replace(metre=np.where(batch.metre == 3, 5, batch.metre))
    shorter = batch._replace(mask=batch.mask & first_two, metre=np.where(first_two, batch.metre, 0))
    long, changed, short = (logits_of(vae, variables, frame)[0] for frame in (batch, other, shorter))
    assert not np.allclose(long, changed)
    whole = batch.mask.any(-1).all(-1)  # rows of three measures
    assert not np.allclose(long[whole, :2], short[whole, :2])


def test_remat_changes_no_gradient():
    results = []
    for remat in (False, True):
        vae, variables = make_vae(replace(CONFIG, model={"remat": remat}))
        loss = lambda variables, vae=vae: apply(vae, variables, make_batch()).logits[0].sum()  # noqa: E731
        results.append(jax.jit(jax.grad(loss))(variables))
        assert ("remat" in str(jax.make_jaxpr(loss)(variables))) == remat
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *results)


@pytest.mark.parametrize("last", [False, True])
def test_end_is_the_only_field_of_its_slot_and_fills_the_last_slot(last):
    vae, variables = make_vae(fields=ENDING)
    x = jax.random.normal(jax.random.key(0), (4, MODEL.dim))
    logits = partial(vae.apply, variables, method=decoder_method("field_logits"))
    last, heard = jnp.asarray(last), jnp.zeros((4, 0), jnp.int32)
    first = jax.nn.softmax(logits(x, jnp.zeros((4, 0), jnp.int32), last, heard))
    second = [jax.nn.softmax(logits(x, jnp.full((4, 1), token), last, heard)) for token in range(5)]
    np.testing.assert_array_equal(second[0], np.eye(3)[[0] * 4])
    assert (jnp.stack(second[1:]) > 0).all()
    assert (first[:, 0] == 1).all() if last else (first > 0).all()


def test_probabilities_of_all_rows_of_a_measure_sum_to_one():
    """All rows of two slots and their END. Of grids, see `test_windows_are_drawn_as_often_as_they_are_probable`."""
    vae, variables = make_vae(fields=ENDING)
    slots = [(0, 0), *((first, second) for first in range(1, 5) for second in range(3))]
    rows = [(one, other) for one in slots for other in (slots if one[0] else slots[:1])]
    tokens = np.zeros((len(rows), 1, SLOTS, 2), np.int32)
    tokens[:, 0, :2] = rows
    mask = until_end(tokens, np.ones(tokens.shape[:3], bool), ENDING)
    batch = Batch(tokens, mask, np.full((len(rows), 1, 2), 4), np.arange(len(rows)))
    nll = token_nll(logits_of(vae, variables, batch), batch)
    assert (nll[~existing_fields(tokens, mask, ENDING)] == 0).all()
    # A third note may follow two, so the sum is over the first two slots, without the END of such a row.
    total = np.exp(-np.asarray(nll[:, 0, :2], np.float64).sum((-2, -1))).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_token_dropout_hides_the_past_and_its_pitches_in_training_alone():
    fields = (FIELDS[0], FIELDS[1]._replace(first_pitch=0))
    vae, variables = make_vae(replace(FULL, model={"token_dropout": 0.999, "intervals": True}), fields)
    batch = make_batch()
    other = batch._replace(tokens=np.where(batch.mask[..., None], (batch.tokens + 1) % np.array([5, 3]), 0))
    rngs = {"token_dropout": jax.random.key(0)}
    for deterministic in (False, True):
        one, two = (
            logits_of(vae, variables, shown, deterministic=deterministic, rngs=rngs)[0] for shown in (batch, other)
        )
        assert np.allclose(one, two) != deterministic


def test_dropout_drops_what_layers_add_in_training_alone():
    """At a rate of one, all of it: the decoder is then the one whose layers add nothing."""
    vae, variables = make_vae(replace(CONFIG, model={"dropout": 1 - 1e-9}))
    decoder = variables["params"]["decoder"]
    zeros = partial(jax.tree.map, jnp.zeros_like)
    attention = decoder["block_0"]["attention"] | {"output": zeros(decoder["block_0"]["attention"]["output"])}
    block = decoder["block_0"] | {"attention": attention, "narrow": zeros(decoder["block_0"]["narrow"])}
    silent = {"params": variables["params"] | {"decoder": decoder | {"block_0": block}}}
    forced = partial(logits_of, vae, batch=make_batch(), rngs={"dropout": jax.random.key(0)})
    dropped, whole = (forced(variables, deterministic=mode)[0] for mode in (False, True))
    np.testing.assert_allclose(dropped, forced(silent)[0], rtol=1e-5, atol=1e-5)
    assert not np.allclose(dropped, whole, atol=1e-2)


def test_bfloat16_computes_near_float32():
    outputs = []
    for dtype in ("float32", "bfloat16"):
        vae, variables = make_vae(replace(FULL, model={"dtype": dtype}))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        outputs.append(apply(vae, variables, make_batch()).logits[0])
    assert outputs[1].dtype == jnp.float32
    np.testing.assert_allclose(outputs[0], outputs[1], atol=0.15)  # bfloat16 keeps 8 bits


def test_variables_are_parameters_alone_and_one_field_needs_no_chain():
    _, variables = make_vae(fields=(Field("melody", 7),))
    assert set(variables) == {"params"}
    assert not [name for name in variables["params"]["decoder"] if name.startswith("chain")]
