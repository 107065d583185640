"""Laws of the three contexts of the decoder: how far a slot sees; sampling agrees with teacher forcing."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.models.decoder import Past
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.vae import decoder_method
from musicvae_jax.types import existing_fields, until_end
from tests.models.variants import DEEP, make_latents
from tests.tiny import ENDING, FIELDS, SLOTS, make_batch, make_ending_batch, make_vae, replace

CONTEXTS = ("none", "previous", "flat")
MEASURES = 6
WITH_ALL = {"slotwise": True, "intervals": True}
VOICES = (FIELDS[0]._replace(first_pitch=2), FIELDS[1]._replace(first_pitch=1))
SHALLOW = {"encoder_slot_layers": 0, "encoder_measure_layers": 0}  # nothing is encoded here


def make_model(context, fields=FIELDS, size=8, measures=3, **options):
    """A model with its variables, and random latents for it."""
    config = replace(DEEP, model=SHALLOW | {"context": context} | options)
    return *make_vae(config, fields), make_latents(config, size, measures)


@partial(jax.jit, static_argnums=0)
def forced(vae, variables, latents, batch):
    return vae.apply(variables, latents, batch, method="decode")


@pytest.mark.parametrize(("context", "layers"), [("none", 1), ("previous", 1), ("previous", 2), ("flat", 1)])
def test_a_measure_sees_as_far_as_its_context(context, layers):
    """none: itself alone. previous, with n layers: n measures back, and the slot before those. flat: all before it."""
    vae, variables, latents = make_model(context, size=2, measures=MEASURES, decoder_layers=layers)
    three = jax.tree.map(lambda leaf: leaf[[2, 1]], make_batch(4))  # two windows without padding
    batch = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf], 1) if leaf.ndim > 1 else leaf, three)
    before = forced(vae, variables, latents, batch)
    for measure, (slot, further) in itertools.product(range(MEASURES), ((0, 0), (SLOTS - 1, 1))):
        tokens = batch.tokens.copy()
        tokens[0, measure, slot] = (tokens[0, measure, slot] + 1) % [5, 3]
        after = forced(vae, variables, latents, batch._replace(tokens=tokens))
        moved = np.any([(one != two).any((-2, -1)) for one, two in zip(before, after, strict=True)], axis=0)
        # The first slot of a measure sees the last slot of the measure before, so it reaches one measure further.
        reach = {"none": 0, "previous": layers + further, "flat": MEASURES}[context]
        distance = np.arange(MEASURES) - measure
        np.testing.assert_array_equal(moved[0], (distance >= 0) & (distance <= reach))
        assert not moved[1].any()


@partial(jax.jit, static_argnums=0)
def stepped(vae, variables, latents, batch):
    """The logits of `MusicDecoder.step` on the true tokens, one position after the other."""
    apply, context = partial(vae.apply, variables), vae.config.context
    size, measures, slots = batch.mask.shape
    lanes = size * measures if context == "none" else size  # with none, measures are decoded in parallel
    guide = apply(latents, batch.metre, method=decoder_method("guide"))
    guide = jnp.broadcast_to(guide, (size, measures, slots, *guide.shape[3:]))
    length = {"none": slots, "previous": 2 * slots, "flat": measures * slots}[context]
    cache = apply((lanes,), length, method=decoder_method("empty_cache"))

    def by_position(leaf):
        return jnp.moveaxis(jnp.reshape(leaf, (lanes, -1, *leaf.shape[3:])), 1, 0)

    def body(carry, inputs):
        past, cache = carry
        position, here, tokens, present = inputs
        slot, origin = position % slots, 0
        if context == "previous":
            origin = position - slot - slots
            moved = jax.tree.map(lambda leaf: jnp.roll(leaf, -slots, 2).at[:, :, slots:].set(0), cache)
            cache = jax.tree.map(lambda one, other: jnp.where(slot == 0, one, other), moved, cache)
        x, cache = apply(past, position, here, cache, origin, method=decoder_method("step"))
        last = slot == slots - 1
        logits = partial(apply, method=decoder_method("field_logits"))
        fields = tuple(logits(x, tokens[:, :number], last, past.heard) for number in range(2))
        return (past.then(tokens, present, vae.fields), cache), fields

    inputs = [by_position(leaf) for leaf in (guide, batch.tokens, batch.mask)]
    carry = (Past.start((lanes,), vae.fields), cache)
    _, logits = jax.lax.scan(body, carry, (jnp.arange(len(inputs[0])), *inputs))
    return [jnp.moveaxis(field, 0, 1).reshape(size, measures, slots, -1) for field in logits]


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("fields", [FIELDS, ENDING, VOICES])
def test_sampling_cell_equals_teacher_forcing(context, fields):
    vae, variables, latents = make_model(context, fields, **{} if fields == FIELDS else WITH_ALL)
    batch = make_ending_batch() if fields == ENDING else make_batch()
    for one, other in zip(forced(vae, variables, latents, batch), stepped(vae, variables, latents, batch), strict=True):
        np.testing.assert_allclose(one[batch.mask], other[batch.mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("fields", [FIELDS, ENDING])
def test_greedy_tokens_are_the_most_probable_under_teacher_forcing(context, fields):
    vae, variables, latents = make_model(context, fields, **WITH_ALL if fields == ENDING else {})
    batch = make_batch()
    allowed = batch.mask if fields == FIELDS else np.repeat(batch.metre[..., :1] > 0, SLOTS, -1)
    greedy = SamplingConfig(temperature=0.0)
    tokens = np.asarray(sample_tokens(vae, variables, latents, batch.metre, allowed, jax.random.key(0), greedy))
    mask = until_end(tokens, allowed, fields)
    exists = existing_fields(tokens, mask, fields)
    assert not tokens[~exists].any()
    logits = forced(vae, variables, latents, batch._replace(tokens=tokens, mask=mask))
    for number in range(2):
        best = np.asarray(logits[number].argmax(-1))
        np.testing.assert_array_equal(best[exists[..., number]], tokens[..., number][exists[..., number]])
    assert len(np.unique(tokens[..., 0])) > 2  # not one token for all


def sample(vae, variables, latents, batch):
    frame, key = (batch.metre, batch.mask), jax.random.key(0)
    return np.asarray(sample_tokens(vae, variables, latents, *frame, key, SamplingConfig(temperature=0.5)))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_row_does_not_depend_on_its_neighbours(context):
    vae, variables, latents = make_model(context, conductor_layers=0, decoder_layers=1)
    batch = make_batch()
    others = {level: np.where(np.arange(8)[:, None, None] < 3, z, -z) for level, z in latents.items()}
    before, after = (sample(vae, variables, codes, batch) for codes in (latents, others))
    np.testing.assert_array_equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).any((1, 2, 3)).all()
    few = jax.tree.map(lambda leaf: leaf[:3], (latents, batch))
    np.testing.assert_array_equal(sample(vae, variables, *few), before[:3])


def test_measures_are_independent_given_the_latents():
    """Without a conductor, another fine latent of a measure changes the music of that measure alone."""
    vae, variables, latents = make_model("none", conductor_layers=0, decoder_layers=1)
    batch = make_batch()
    fine = latents["fine"].copy()
    fine[:, 1] = -fine[:, 1]
    before, after = (sample(vae, variables, codes, batch) for codes in (latents, latents | {"fine": fine}))
    changed = (before != after).any((2, 3))
    assert changed[:, 1].any()
    assert not changed[:, [0, 2]].any()
