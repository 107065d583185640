"""Dims that follow attributes: losses over pairs of latents."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import Config, LevelConfig, ObjectiveConfig
from musicvae_jax.models.embedding import of_class
from musicvae_jax.objectives.rates import Mean, identity, own_latents
from musicvae_jax.types import ATTRIBUTES, PRIMARY, Array, Batch, VAEOutput

Gather = Callable[[Array], Array]  # the rows of all devices, from those of one

_COLUMNS = {attribute.name: column for column, attribute in enumerate(ATTRIBUTES)}


def attribute_loss(
    config: Config, name: str, output: VAEOutput, batch: Batch, gather: Gather = identity, mean: Mean = identity
) -> Array:
    """How badly dims of a level follow their attributes: float[], the sum over dims of means over pairs of latents.

    A pair is two latents of the level anywhere in the batch, on any device. It counts where both windows have their
    latent and have not drawn it from the prior, and both attributes are defined. The result is the share of this
    device, of which the mean over devices is the loss; it is 0 without a pair.

    Args:
        config: the experiment.
        name: of the level.
        output: of the model.
        batch: its input, with attributes.
        gather: the rows of all devices.
        mean: of a number over devices.

    Raises:
        ValueError: the batch has no attributes.
    """
    level = config.levels[name]
    followed = level.followed
    values, known = attribute_values(name, level, output, batch)
    codes = output.latents[name]
    if config.objective.attribute_target == "e":
        frame = output.frame[name]
        codes = (codes - frame.loc) * jnp.exp(-frame.log_scale)
    codes = jnp.stack([codes[..., dim] for dim in followed.values()], -1)
    rows = [leaf.reshape(-1, len(followed)) for leaf in (codes, values.astype(codes.dtype), known)]
    loss, weight = pair_losses(config.objective, *rows, *map(gather, rows))
    return (loss.sum((0, 1)) / jnp.maximum(mean(weight.sum((0, 1))), 1e-9)).sum()


def attribute_values(
    name: str, level: LevelConfig, output: VAEOutput, batch: Batch, attributes: Iterable[str] = ()
) -> tuple[Array, Array]:
    """Attributes of a level's spans, and where they count: float and bool[batch, time, attribute].

    An attribute counts where it is defined and the window has its own latent there; elsewhere its value is 0.

    Args:
        name: of the level.
        level: its config.
        output: of the model.
        batch: its input, with attributes.
        attributes: their names; those that the level follows if not given.

    Raises:
        ValueError: the batch has no attributes.
    """
    if not batch.attributes:
        raise ValueError("the batch has no attributes: allowed are batches of windows that are loaded with attributes")
    # Slices, because the gradient of a gather is a scatter.
    of_span = batch.attributes[level.span_name]
    values = jnp.stack([of_span[..., _COLUMNS[attribute]] for attribute in attributes or level.followed], -1)
    known = jnp.isfinite(values) & own_latents(output, name)[..., None]
    return jnp.where(known, values, 0.0), known


def group_head_loss(config: Config, name: str, output: VAEOutput, batch: Batch, mean: Mean = identity) -> Array:
    """Half the squared error of a level's group heads, summed over attributes: float[], a device's share.

    Attributes count in standard deviations from their mean over the batch; each is a mean over the latents where it
    counts. So it is -log p under a normal of variance 1, up to a constant. With `LevelConfig.style_classes` the cross
    entropy of the style is added, the mean over the latents whose style is known.

    Args:
        config: the experiment.
        name: of the level.
        output: of the model.
        batch: its input, with attributes.
        mean: of a number over devices.

    Raises:
        ValueError: the batch has no attributes.
    """
    level = config.levels[name]
    names = [attribute for own in level.supervised.values() for attribute in own]
    values, known = attribute_values(name, level, output, batch, [*names, "style"])
    predicted = output.predicted[name]

    def mean_over_latents(errors: Array, known: Array) -> Array:
        number = jnp.maximum(mean(known.sum((0, 1), dtype=predicted.dtype)), 1e-9)
        return jnp.where(known, errors, 0).sum((0, 1)) / number

    centred, _ = standardised(values[..., :-1].astype(predicted.dtype), known[..., :-1], mean)
    loss = (0.5 * mean_over_latents((predicted[..., : len(names)] - centred) ** 2, known[..., :-1])).sum()
    if level.style_classes:
        log_p = jax.nn.log_softmax(predicted[..., len(names) :])
        loss += mean_over_latents(-of_class(log_p, values[..., -1].astype(jnp.int32)), known[..., -1])
    return loss


def mode_loss(config: Config, output: VAEOutput, batch: Batch, mean: Mean = identity) -> Array:
    """The cross entropy of styles under the responsibilities of the top level's Gaussians: float[], a device's share.

    It is -log p(mode = style | e) of the drawn e, the mean over the latents whose style is known, in nats.

    Args:
        config: the experiment, whose top level has a mixture.
        output: of the model.
        batch: its input, with attributes.
        mean: of a number over devices.

    Raises:
        ValueError: the batch has no attributes.
    """
    name = config.levels.top
    values, known = attribute_values(name, config.levels[name], output, batch, ["style"])
    number = jnp.maximum(mean(known.sum(dtype=jnp.float32)), 1e-9)
    return style_error(output.log_responsibilities[name], values[..., 0], known[..., 0]).sum() / number


def style_error(log_share: Array, style: Array, known: Array) -> Array:
    """-log p(mode = style | e) in nats, 0 where the style is unknown: float[...].

    Args:
        log_share: float[..., mode], `VAEOutput.log_responsibilities` of a level.
        style: float[...], the number of the style.
        known: bool[...].
    """
    return jnp.where(known, -of_class(log_share, jnp.where(known, style, 0).astype(jnp.int32)), 0)


def standardised(values: Array, known: Array, mean: Mean = identity) -> tuple[Array, Array]:
    """Attributes in standard deviations from their mean over a batch, and these deviations: [..., attribute] both.

    Args:
        values: float[batch, time, attribute].
        known: bool of the same shape, which values count; the others become 0.
        mean: of a number over devices.
    """
    number = jnp.maximum(mean(known.sum((0, 1), dtype=values.dtype)), 1e-9)
    centre = mean(jnp.where(known, values, 0).sum((0, 1))) / number
    spread = jnp.sqrt(mean(jnp.where(known, (values - centre) ** 2, 0).sum((0, 1))) / number + 1e-6)
    return jnp.where(known, (values - centre) / spread, 0), spread


def attribute_notes(config: Config, batch: Batch) -> list[str]:
    """What a user of `LevelConfig.attributes` should know about this music, a line each.

    Attributes that are undefined in all windows, such as velocities without dynamics, so that their dims follow
    nothing; and groups without dims, though the music has their attributes.

    Args:
        config: the experiment.
        batch: windows with attributes, enough to stand for the music.
    """
    notes = []
    for name, level in config.levels.on.items():
        if not level.attributes:
            continue
        values = batch.attributes[level.span_name]
        defined = {own: bool(np.isfinite(values[..., column]).any()) for own, column in _COLUMNS.items()}
        names = level.dim_names(name)
        notes += [
            f"{names[dim]}: {attribute} is undefined in this music, so the dim follows nothing"
            for attribute, dim in level.followed.items()
            if not defined[attribute]
        ]
        left = [group for group, attribute in PRIMARY.items() if group not in level.layout and defined[attribute]]
        if left:
            notes.append(
                f"{name}: its {level.dim} dims leave no room for {' and '.join(left)}; see levels.{name}.groups"
            )
    return notes


def pair_losses(
    config: ObjectiveConfig,
    codes: Array,
    values: Array,
    known: Array,
    other_codes: Array,
    other_values: Array,
    other_known: Array,
) -> tuple[Array, Array]:
    """The weighted losses of all pairs, and their weights: float[row, other, attribute] both.

    With d the difference of two codes, a that of their attributes and s the sharpness:

        sign: |tanh(s d) - sign(a)|, weight 1 (Pati & Lerch 2021, eq. 5)
        rank: log(1 + exp(-s d sign(a))) / log 2, weight |a|

    so that both are 1 where the code is constant. Under ``sign`` equal attributes pull their codes together, and nearly
    equal ones apart as much as any; under ``rank`` a pair matters as much as its attributes differ.

    Args:
        config: names the rule.
        codes: float[row, attribute], the dim that follows each attribute.
        values: float[row, attribute].
        known: bool[row, attribute], False where a pair must not count.
        other_codes: float[other, attribute], the second of each pair; likewise the next two.
        other_values: of the same.
        other_known: of the same.
    """
    d, a = codes[:, None] - other_codes, values[:, None] - other_values
    both = known[:, None] & other_known
    sign = jnp.sign(a)
    if config.attribute_rule == "sign":
        loss, weight = jnp.abs(jnp.tanh(config.attribute_sharpness * d) - sign), jnp.ones_like(a)
    else:
        loss = jax.nn.softplus(-config.attribute_sharpness * d * sign) / jnp.log(2.0)
        weight = jnp.abs(a)
    weight = jnp.where(both, weight, 0.0)
    return weight * loss, weight
