"""The axis vocabulary and the array bundles that cross function boundaries.

Axes are full words, the same everywhere: ``batch measure slot field vocab``, ``phrase``, ``dim``, ``draw``.
Leading batch axes are free unless a docstring says otherwise. All information is in nats.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a NumPy array on the host, a JAX array on a device
Latents: TypeAlias = dict[str, Array]  # level -> [batch, time, dim]
Variables: TypeAlias = dict[str, Any]  # a model's: "params", and "batch_stats" where it normalises over batches

LEVELS = ("global", "local", "fine")  # coarse to fine
MEASURES_PER_PHRASE = 4
STANDARD_SPANS = (1, MEASURES_PER_PHRASE, 0)  # measures that an attribute is taken over; 0 is the whole window
GROUPS = ("rhythm", "pitch", "harmony", "dynamics", "style")  # of attributes, and of the dims of a level


def span_name(span: int) -> str:
    """The name of a span of measures: 1 "measure", 4 "phrase", 0 "window" (all measures), n "n_measures"."""
    return {0: "window", 1: "measure", MEASURES_PER_PHRASE: "phrase"}.get(span, f"{span}_measures")


class Batch(NamedTuple):
    """Windows of music, as the model sees them."""

    tokens: Array  # int32[batch, measure, slot, field], 0 where masked
    mask: Array  # bool[batch, measure, slot], True where the measure has that slot
    metre: Array  # int32[batch, measure, 2], numerator and denominator; (0, 0) in a padding measure
    index: Array  # int32[batch], the window's number in its split; -1 marks a row that pads a last batch
    attributes: Any = ()  # dict of span -> float32[batch, time, attribute], or () for none; see codec.attributes


class Field(NamedTuple):
    """One categorical variable of a slot."""

    name: str
    size: int  # number of classes
    end: int | None = None  # of a slot's first field: the class that ends the measure, and is the slot's only field


def until_end(tokens: Array, mask: Array, fields: Sequence[Field]) -> Array:
    """The slots that measures have: up to the first that says END, itself included.

    Args:
        tokens: int[..., slot, field].
        mask: bool[..., slot], the slots that the metre allows.
        fields: of a slot.

    Returns:
        bool[..., slot]; the mask itself where no class ends a measure.
    """
    if fields[0].end is None:
        return mask
    ended = mask & (tokens[..., 0] == fields[0].end)
    return mask & (ended.cumsum(-1) - ended == 0)


def existing_fields(tokens: Array, mask: Array, fields: Sequence[Field]) -> Array:
    """The tokens that say something, hence cost nats and count: of a slot that ends the measure only the first field.

    Args:
        tokens: int[..., slot, field].
        mask: bool[..., slot], the slots that measures have.
        fields: of a slot.

    Returns:
        bool[..., slot, field].
    """
    if fields[0].end is None:
        return mask[..., None] & np.ones(len(fields), bool)
    first = np.arange(len(fields)) == 0
    return mask[..., None] & (first | (tokens[..., :1] != fields[0].end))


def num_phrases(mask: Array) -> Array:
    """Number of phrases of four measures a window holds; the last one may be shorter.

    Args:
        mask: bool[..., measure, slot].

    Returns:
        int[...], at least 1.
    """
    measures = mask.any(-1).sum(-1)
    return (-(-measures // MEASURES_PER_PHRASE)).clip(1)


class Gaussian(NamedTuple):
    """A diagonal Gaussian per latent."""

    loc: Array  # float[batch, time, dim]
    log_scale: Array  # float[batch, time, dim], log of the standard deviation


class Moments(NamedTuple):
    """Mean and variance of the dims of a level over the unmasked latents of a batch."""

    mean: Array  # float[dim]
    variance: Array  # float[dim]


class VAEOutput(NamedTuple):
    """Everything a pass through the model says; weighting and averaging happen outside."""

    logits: tuple[Array, ...]  # one float[batch, measure, slot, vocab] per field
    posterior: dict[str, Gaussian]  # level -> q(z | x)
    latents: Latents  # level -> the z that was decoded, [batch, time, dim]
    kl: dict[str, Array]  # level -> KL(q(z | x) || p(z | above)) in nats, float[batch, time, dim], 0 where masked
    prior: dict[str, Gaussian]  # level -> p(z | above), of an AR(1) prior the marginals
    span_nll: dict[str, Array]  # level -> -log p of its spans' bags of tokens, float[batch]; {} without span heads
    moments: dict[str, Moments]  # level -> what batch normalisation measured; {} without it
    kept: dict[str, Array]  # level -> bool[batch], windows that level dropout leaves the level in; {} without it
