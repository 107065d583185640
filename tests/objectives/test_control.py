"""Decoded attributes: what a decoder expects, what moved dims ask for, and where the gradient goes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, VoicesCodec
from musicvae_jax.config import CodecConfig, LevelConfig
from musicvae_jax.data.attributes import window_attributes
from musicvae_jax.evaluation.likeness import NAMES, true_attributes
from musicvae_jax.inference import forward, reconstruct
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.objectives.control import (
    control_loss,
    controlled_levels,
    expected_attributes,
    roll_rows,
    without_followed,
)
from musicvae_jax.training.step import Carried, make_loss
from musicvae_jax.types import Batch, until_end
from tests.models.variants import DEEP, THREE, each
from tests.tiny import make_batch, make_vae, replace

ROWS, MEASURES = 8, 3
CODECS = {
    "melody": MelodyCodec(subdivisions=("0", "1/2"), slots=8),
    "voices": VoicesCodec(subdivisions=("0", "1/2"), slots=8, voices=2),
    "performance": PerformanceCodec(subdivisions=("0", "1/2"), slots=8, positions=8, longest=4, velocities=8, tracks=2),
}
SETTINGS = {
    "melody": CodecConfig(),
    "voices": CodecConfig(name="voices"),
    "performance": CodecConfig(name="performance"),
}
CODEC = CODECS["melody"]
CONFIG = replace(
    DEEP,
    data={"attributes": True},
    objective={"attribute_weight": 1.0, "control_weight": 1.0},
    **{"global": {"dim": 5, "groups": (1, 1, 1, 1, 1), "attributes": ("note_density", "mean_pitch")}},
    fine={"dim": 3, "groups": (1, 1, 1, 0, 0), "attributes": ("contour", "pitch_class_entropy")},
)
LEVELS = list(CONFIG.levels.on)


def make_music(codec=CODEC, seed=0) -> Batch:
    """Random notes, holds and rests in two metres; the last measure of every third window is missing."""
    rng = np.random.default_rng(seed)
    metre = np.full((ROWS, MEASURES, 2), 4, np.int32)
    metre[1::2, :, 0] = 3
    metre[::3, -1] = 0
    mask = codec.slot_mask(metre)
    shape = (*mask.shape, len(codec.fields))
    density = rng.uniform(0.2, 0.9, (ROWS, 1, 1, 1))
    if isinstance(codec, PerformanceCodec):
        tokens, mask = _random_notes(codec, rng, mask, metre, density)
    else:
        tokens = np.where(rng.random(shape) < density, rng.integers(40, 90, shape), rng.integers(0, 2, shape))
    batch = Batch(np.where(mask[..., None], tokens, 0).astype(np.int32), mask, metre, np.arange(ROWS, dtype=np.int32))
    return batch._replace(attributes=window_attributes(batch, codec, spans=(1, 2, 0)))


def _random_notes(codec, rng, mask, metre, density):
    """Notes at rising positions of each measure, one or none at each, then its END."""
    tokens = np.zeros((*mask.shape, len(codec.fields)), np.int32)
    for row, measure in np.argwhere(mask.any(-1)):
        places = np.flatnonzero(rng.random(2 * metre[row, measure, 0]) < density[row, 0, 0, 0])[: codec.slots - 1]
        sizes = [field.size for field in codec.fields[2:]]
        for slot, place in enumerate(places):
            tokens[row, measure, slot] = [1 + place, rng.integers(40, 90), *(rng.integers(size) for size in sizes)]
    return tokens, until_end(tokens, mask, codec.fields)


def certain(tokens, fields):
    """Logits of a decoder that is sure of these tokens."""
    return [100.0 * jax.nn.one_hot(tokens[..., number], field.size) for number, field in enumerate(fields)]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("span", [1, 2, 0])
def test_a_decoder_that_is_certain_expects_the_attributes_of_its_music(codec, span):
    batch = make_music(codec)
    found = expected_attributes(certain(batch.tokens, codec.fields), batch, codec.fields, span)
    (true,) = true_attributes(batch, codec, (span,)).values()
    assert set(found) == set(SETTINGS[codec.name].expected)
    for name in found:
        expected = true[..., NAMES.index(name)]
        known = np.isfinite(expected)
        np.testing.assert_allclose(found[name][known], expected[known], rtol=1e-4, atol=1e-4)
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.fixture(scope="module")
def passed():
    """A model, its variables, its output and the batch."""
    batch = make_music()
    model, variables = make_model(CONFIG, batch)
    output = reconstruct(model, variables, batch, jax.random.split(jax.random.key(0), ROWS))
    return model, variables, output, batch


def make_model(config, batch):
    """A model of such music, with random parameters."""
    model = make_vae(config, CODEC.fields)[0].clone(slots=CODEC.slots)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: model.init({"params": jax.random.key(0), "latent": jax.random.key(0)}, batch))
    return model, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), shapes)


def loss(passed, decode, step, config=CONFIG, place=None):
    model, variables, output, batch = passed
    own = partial(model.apply, variables, batch, method="place")
    return control_loss(config, output, batch, CODEC.fields, step, place or own, decode)


@pytest.mark.parametrize("model", [{}, {"conditions": ("key", "tempo"), "condition_levels": True}])
@pytest.mark.parametrize("context", ["independent", "causal"])
def test_latents_of_training_are_placed_where_they_were_drawn(model, context):
    """Also those that level dropout drew from their priors, and under conditions of which some were hidden."""
    below = each(("local", "fine"), prior_context=context)
    config = replace(THREE, model=model | {"level_dropout": 0.6, "condition_dropout": 0.5}, **below)
    vae, variables = make_vae(config)
    batch, rng = make_batch(), np.random.default_rng(0)
    if model:
        numbers = np.stack([rng.integers(12, size=len(batch.metre)), rng.normal(size=len(batch.metre))], -1)
        batch = batch._replace(conditions=numbers.astype(np.float32))
    keys = jax.random.split(jax.random.key(0), len(batch.metre))
    output = jax.jit(partial(forward, vae, deterministic=False))(variables, batch, keys)
    assert not all(kept.all() for kept in output.kept.values())
    e = {name: to_frame(output.latents[name], frame) for name, frame in output.frame.items()}
    shown = batch._replace(conditions=output.conditions)
    placed = jax.jit(partial(vae.apply, method="place"))(variables, shown, {"global": output.latents["global"]}, e)
    for name in LEVELS:
        np.testing.assert_allclose(placed[name], output.latents[name], rtol=1e-4, atol=1e-4)
    if model:
        hidden = np.isnan(output.conditions)
        assert hidden.any() and not hidden.all()
        np.testing.assert_array_equal(output.conditions[~hidden], batch.conditions[~hidden])


def test_latents_are_placed_where_they_were_drawn(passed):
    model, variables, output, batch = passed
    e = {name: to_frame(output.latents[name], frame) for name, frame in output.frame.items()}
    place = jax.jit(partial(model.apply, method="place"))
    for given in ((), ("global",), ("global", "local")):
        known = {name: output.latents[name] for name in given}
        placed = place(variables, batch, known, e)
        for name in LEVELS:
            np.testing.assert_allclose(placed[name], output.latents[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("step", "name"), [(0, "global"), (1, "fine"), (2, "global")])
def test_levels_take_turns_and_their_dims_come_from_other_windows(passed, step, name):
    *_, output, _ = passed
    seen = {}

    def decode(latents):
        seen.update(latents)
        return output.logits

    loss(passed, decode, step)
    assert controlled_levels(CONFIG) == ["global", "fine"]
    shifts = {"global": {0: 1, 1: 2}, "fine": {2: 2}}[name]  # dim -> windows further on: its place among attributes
    before = np.asarray(output.latents[name])
    for dim in range(before.shape[-1]):
        asked = np.roll(before[..., dim], -shifts[dim], 0) if dim in shifts else before[..., dim]
        moved = np.asarray(seen[name][..., dim])
        there = np.isclose(moved, before[..., dim], atol=1e-5)
        assert np.isclose(moved, asked, atol=1e-5)[~there].all()
        assert (not there.all()) == (dim in shifts)
    for above in LEVELS[: LEVELS.index(name)]:
        np.testing.assert_allclose(seen[above], output.latents[above], rtol=1e-5)
    for below in LEVELS[LEVELS.index(name) + 1 :]:
        assert not np.allclose(seen[below], output.latents[below])  # its frame has moved


def test_a_decoder_that_obeys_costs_nothing_and_one_that_does_not_costs_more(passed):
    *_, batch = passed
    one = replace(CONFIG, **{"global": {"attributes": ("note_density",)}}, fine={"attributes": ()})
    full = batch._replace(metre=np.full_like(batch.metre, 4), mask=np.ones_like(batch.mask))
    full = full._replace(attributes=window_attributes(full, CODEC, spans=(1, 2, 0)))
    model, variables, _, _ = passed
    output = reconstruct(model, variables, full, jax.random.split(jax.random.key(0), ROWS))
    obeying = certain(np.roll(full.tokens, -1, 0), CODEC.fields)
    deaf = certain(full.tokens, CODEC.fields)
    losses = [loss((model, variables, output, full), lambda _, of=of: of, 0, one) for of in (obeying, deaf)]
    assert losses[0] == pytest.approx(0, abs=1e-5) and losses[1] > 0.2
    # In standard deviations, so the unit does not matter: half the square of small differences (Huber).
    values = full.attributes["window"][:, 0, 0].astype(float)
    difference = np.abs(values - np.roll(values, -1)) / values.std()
    huber = np.where(difference <= 1, 0.5 * difference**2, difference - 0.5)
    assert losses[1] == pytest.approx(huber.mean(), rel=1e-3)


def test_only_decoder_and_frames_have_a_gradient(passed):
    model, variables, _, batch = passed
    keys = jax.random.split(jax.random.key(0), ROWS)

    def of(params):
        own = {"params": params}
        output = reconstruct(model, own, batch, keys)
        return control_loss(
            CONFIG, output, batch, CODEC.fields, 0, partial(model.apply, own, batch, method="place"),
            lambda latents: model.apply(own, latents, batch, method="decode"),
        )  # fmt: skip

    slope = jax.jit(jax.grad(of))(variables["params"])
    sizes = {name: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(part)) for name, part in slope.items()}
    assert all(np.isfinite(size) for size in sizes.values())
    moved = {name for name, size in sizes.items() if size > 0}
    assert "decoder" in moved and "encoder" not in moved
    assert not {name for name in moved if name.startswith(("heads", "span_heads"))}
    assert {"priors_local", "priors_fine"} <= moved


def test_a_decoder_is_not_told_what_the_dims_are_moved_away_from():
    """Told the density of the window, it could not give that of another one; of the rest it is told."""
    told = {"conditions": ("note_density", "tempo"), "condition_decoder": True, "condition_dropout": 0.0}
    config = replace(CONFIG, model=told)
    numbers = np.arange(2 * ROWS, dtype=np.float32).reshape(ROWS, 2)
    hidden = without_followed(config, numbers)
    assert np.isnan(hidden[:, 0]).all() and np.array_equal(hidden[:, 1], numbers[:, 1])
    assert without_followed(CONFIG, ()) == ()
    # The contour is followed, but no decoder expects it, so nothing moves it.
    unmoved = replace(CONFIG, model=told | {"conditions": ("contour", "pitch_class_entropy")})
    np.testing.assert_array_equal(np.isnan(without_followed(unmoved, numbers)).all(0), [False, True])

    batch = make_music()._replace(conditions=numbers)
    model, variables = make_model(config, batch)
    loss_of = jax.jit(make_loss(config, model))
    keys = jax.random.split(jax.random.key(0), ROWS)

    def terms(name):
        """The nll and the control term with other weights of a condition's numbers in the decoder."""
        params = jax.tree.map(jnp.asarray, variables["params"])
        kernel = params["decoder"]["told"][name]["kernel"]
        params["decoder"]["told"][name]["kernel"] = kernel.at[:2].add(0.3)
        found, metrics, _ = loss_of(params, Carried(0, {}, (), ()), batch, keys)
        return metrics["nll"], found.batch["control"]

    density, tempo = terms("note_density"), terms("tempo")
    own, metrics, _ = loss_of(variables["params"], Carried(0, {}, (), ()), batch, keys)
    assert all(np.abs(nll - metrics["nll"]).max() > 1e-3 for nll, _ in (density, tempo))
    assert density[1] == pytest.approx(float(own.batch["control"]), rel=1e-5)
    assert tempo[1] != pytest.approx(float(own.batch["control"]), rel=1e-3)


def test_missing_attributes_ask_for_nothing(passed):
    model, variables, output, batch = passed
    nothing = {span: np.full_like(values, np.nan) for span, values in batch.attributes.items()}
    silent = model, variables, output, batch._replace(attributes=nothing)
    assert loss(silent, lambda _: output.logits, 0) == 0
    np.testing.assert_array_equal(roll_rows(np.arange(4), 1), [1, 2, 3, 0])


def test_levels_without_known_attributes_are_not_controlled():
    assert LevelConfig(dim=8, attributes=("contour",), groups=(4, 4, 0, 0, 0)).followed == {"contour": 4}
    config = replace(CONFIG, fine={"attributes": ("contour",)})
    assert controlled_levels(config) == ["global"]
