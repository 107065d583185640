"""The decoder obeys the dims that follow attributes: they are moved, and what is decoded must have moved along.

A code can tell an attribute and the decoder still read it elsewhere, because other dims and other levels tell it, too.
So each dim that follows an attribute takes its value from another window, and the attribute that the decoder then
expects is compared with that of the other window.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicvae_jax.config import Config
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.models.spans import into_spans
from musicvae_jax.objectives.attributes import attribute_values, standardised
from musicvae_jax.objectives.rates import Mean, identity
from musicvae_jax.types import Array, Batch, Field, Latents, VAEOutput

Place = Callable[[Latents, Latents], Latents]  # given latents, and e of all levels -> latents of all levels
Decode = Callable[[Latents], Sequence[Array]]  # latents -> logits per field
Shift = Callable[[Array, int], Array]  # rows, and a number -> the rows of the windows so many further on

_LEAST = 1e-3  # notes, or quarters, of a span that count as none
_CLASSES = 12


def expected_attributes(logits: Sequence[Array], batch: Batch, fields: Sequence[Field], span: int) -> dict[str, Array]:
    """Attributes of the notes that a decoder expects: name -> float[..., time], those of `CodecConfig.expected`.

    With probabilities of 0 and 1 they are those of `codec.attributes`: notes per quarter, the mean MIDI pitch, the
    entropy of the pitch classes in nats, of the expected number of notes of each pitch in the span, and the mean MIDI
    velocity. A list of notes has no `note_density`, because its slots are as many as the notes of the music that the
    decoder is shown.

    Args:
        logits: per field, float[..., measure, slot, vocab], under teacher forcing.
        batch: the windows, whose slots and metres count.
        fields: of a slot.
        span: in measures; 0 is the window.
    """
    end = fields[0].end
    there = batch.mask if end is None else batch.mask * (1 - jax.nn.softmax(logits[0])[..., end])
    counts, velocity = jnp.zeros(()), None
    for field, of_field in zip(fields, logits, strict=True):
        probability = jnp.where(batch.mask[..., None], jax.nn.softmax(of_field), 0.0)
        if field.first_pitch is not None:
            counts = counts + (probability * there[..., None])[..., field.first_pitch :].sum(
                -2
            )  # [..., measure, pitch]
        if field.velocities:
            velocity = (probability @ jnp.asarray(field.velocities, probability.dtype) * there).sum(-1)
    quarters = 4 * batch.metre[..., 0] / jnp.maximum(batch.metre[..., 1], 1)
    measures = span or counts.shape[-2]
    notes, length = into_spans(counts, measures, -2).sum(-2), into_spans(quarters, measures, -1).sum(-1)
    number, pitches = notes.sum(-1), jnp.arange(notes.shape[-1])
    by_class = notes @ jax.nn.one_hot(pitches % _CLASSES, _CLASSES, dtype=notes.dtype)
    some = jnp.maximum(number, _LEAST)
    found = {
        "mean_pitch": notes @ pitches.astype(notes.dtype) / some,
        "pitch_class_entropy": jnp.log(some) - (by_class * jnp.log(by_class + _LEAST**3)).sum(-1) / some,
    }
    if end is None:
        found["note_density"] = number / jnp.maximum(length, _LEAST)
    if velocity is not None:
        found["mean_velocity"] = into_spans(velocity, measures, -1).sum(-1) / some
    return found


def roll_rows(x: Array, number: int) -> Array:
    """For each window the row of the window so many further on, where one device has all windows."""
    return jnp.roll(x, -number, 0)


def control_loss(
    config: Config,
    output: VAEOutput,
    batch: Batch,
    fields: Sequence[Field],
    step: Array | int,
    place: Place,
    decode: Decode,
    shift: Shift = roll_rows,
    mean: Mean = identity,
) -> Array:
    """How far decoded attributes are from those asked for: float[], a device's share.

    The levels take turns, step by step. In every latent of the level, the dim of the first attribute takes its value
    from the next window, that of the second attribute from the one after, and so on; the levels above keep their
    latents and those below their e of z = loc(above) + scale(above) * e. The loss is Huber's, of the difference between
    the expected attribute and that of the other window in standard deviations, the mean over the latents where both
    windows have the attribute, summed over attributes. It has a gradient for decoder and frames, none for the encoder.

    Args:
        config: the experiment.
        output: of the model.
        batch: its input, with attributes.
        fields: of a slot.
        step: number of the training step.
        place: latents of all levels, from those given and from e.
        decode: logits under teacher forcing.
        shift: rows of the window so many further on, on any device.
        mean: of a number over devices.
    """
    output = jax.lax.stop_gradient(output)
    e = {name: to_frame(output.latents[name], frame) for name, frame in output.frame.items()}
    moves = [_move(config, name, output, batch, shift) for name in controlled_levels(config)]
    turn = jnp.asarray(step) % len(moves)
    placed = [place(move.given, e) for move in moves]
    latents = {
        name: jnp.select([turn == number for number in range(len(moves))], [one[name] for one in placed])
        for name in output.latents
    }
    logits, losses = decode(latents), []
    for move in moves:
        expected = expected_attributes(logits, batch, fields, move.span)
        of_attributes = []
        for name, (asked, known) in move.asked.items():
            _, spread = standardised(asked[..., None], known[..., None], mean)
            difference = jnp.where(known, (expected[name] - asked) / spread, 0)
            number = jnp.maximum(mean(known.sum(dtype=asked.dtype)), 1e-9)
            of_attributes.append(optax.losses.huber_loss(difference).sum() / number)
        losses.append(sum(of_attributes, jnp.zeros(())))
    return jnp.select([turn == number for number in range(len(moves))], losses)


def without_followed(config: Config, conditions: Any) -> Any:
    """The conditions for the decoder of `control_loss`: it cannot obey moved dims and attributes of before.

    Args:
        config: the experiment.
        conditions: float[batch, condition], or () without conditions.

    Returns:
        The same, with NaN in place of the attributes that are moved.
    """
    moved = {name for level in controlled_levels(config) for name in config.levels[level].followed}
    moved &= set(config.codec.expected)
    names = config.model.conditions
    if not len(conditions) or not moved & set(names):
        return conditions
    return jnp.where(np.array([name in moved for name in names]), jnp.nan, conditions)


class _Moved(NamedTuple):
    """A level whose dims have moved."""

    given: Latents  # of the level and those above it
    asked: dict[str, tuple[Array, Array]]  # attribute -> its value in the other window, and whether it counts
    span: int


def controlled_levels(config: Config) -> list[str]:
    """The levels with dims that follow an attribute that is known of what a decoder expects."""
    return [name for name, level in config.levels.on.items() if set(level.attributes) & set(config.codec.expected)]


def _move(config: Config, name: str, output: VAEOutput, batch: Batch, shift: Shift) -> _Moved:
    """Each dim that follows an attribute takes its value from another window, as `control_loss` says."""
    level, names = config.levels[name], list(config.levels.on)
    values, known = attribute_values(name, level, output, batch)
    z, asked = output.latents[name], {}
    for number, (attribute, dim) in enumerate(level.followed.items()):
        if attribute not in config.codec.expected:
            continue
        both = known[..., number] & shift(known[..., number], number + 1)
        moved = jnp.where(both, shift(z[..., dim], number + 1), z[..., dim])
        z = jnp.where(jnp.arange(level.dim) == dim, moved[..., None], z)
        asked[attribute] = shift(values[..., number], number + 1).astype(z.dtype), both
    above = {own: output.latents[own] for own in names[: names.index(name)]}
    return _Moved(above | {name: z}, asked, level.span)
