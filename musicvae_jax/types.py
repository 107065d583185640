"""The axis vocabulary and the array bundles that cross function boundaries.

Axes are full words, the same everywhere: ``batch measure slot field vocab``, ``time`` (of a level's latents), ``dim``,
``draw``. Leading batch axes are free unless a docstring says otherwise. Information is in nats.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a NumPy array on the host, a JAX array on a device
Latents: TypeAlias = dict[str, Array]  # level -> [batch, time, dim]
Variables: TypeAlias = dict[str, Any]  # a model's: "params", and "batch_stats" where it normalises over batches

LEVELS = ("global", "local", "fine")  # coarse to fine
GROUPS = ("rhythm", "pitch", "harmony", "dynamics", "style")  # of a level's dims, and of attributes
MEASURES_PER_PHRASE = 4  # of the phrase that nats are counted per; a level's own span is free
STANDARD_SPANS = (1, MEASURES_PER_PHRASE, 0)  # measures over which attributes are computed; 0 is the whole window


def span_name(span: int) -> str:
    """What a span of so many measures is called: measure, phrase, window (0), or such as ``"2_measures"``."""
    return {1: "measure", MEASURES_PER_PHRASE: "phrase", 0: "window"}.get(span, f"{span}_measures")


class Attribute(NamedTuple):
    """A column of an attribute array; see `codec.attributes`."""

    name: str
    group: str  # one of `GROUPS`
    unit: str
    spans: tuple[int, ...] = ()  # where it is defined, NaN at others; () for all spans


ATTRIBUTES = (
    Attribute("note_density", "rhythm", "notes per quarter"),
    Attribute("syncopation", "rhythm", "metrical levels per onset"),
    Attribute("rhythmic_complexity", "rhythm", "share"),
    Attribute("onset_entropy", "rhythm", "nats"),
    Attribute("arvae_rhythmic_complexity", "rhythm", "share", (1,)),
    Attribute("arvae_note_density", "rhythm", "share", (1,)),
    Attribute("dmelodies_rhythm_1", "rhythm", "number of a rhythm", (2,)),
    Attribute("dmelodies_rhythm_2", "rhythm", "number of a rhythm", (2,)),
    Attribute("mean_pitch", "pitch", "MIDI pitch"),
    Attribute("pitch_range", "pitch", "semitones"),
    Attribute("contour", "pitch", "semitones"),
    Attribute("mean_interval", "pitch", "semitones"),
    Attribute("arvae_pitch_range", "pitch", "semitones / 26", (1,)),
    Attribute("arvae_contour", "pitch", "semitones / 26", (1,)),
    Attribute("dmelodies_octave", "pitch", "octaves above C4", (2,)),
    Attribute("dmelodies_arpeggio_1", "pitch", "1 if down", (2,)),
    Attribute("dmelodies_arpeggio_2", "pitch", "1 if down", (2,)),
    Attribute("dmelodies_arpeggio_3", "pitch", "1 if down", (2,)),
    Attribute("dmelodies_arpeggio_4", "pitch", "1 if down", (2,)),
    Attribute("pitch_class_entropy", "harmony", "nats"),
    Attribute("scale_consistency", "harmony", "share"),
    Attribute("tonal_tension", "harmony", "radii of the spiral array"),
    Attribute("chord_change_rate", "harmony", "changes per quarter"),
    Attribute("dmelodies_tonic", "harmony", "semitones above C", (2,)),
    Attribute("dmelodies_scale", "harmony", "number of a scale", (2,)),
    Attribute("mean_velocity", "dynamics", "MIDI velocity"),
    Attribute("velocity_spread", "dynamics", "MIDI velocity"),
    Attribute("crescendo_slope", "dynamics", "MIDI velocity per quarter"),
    Attribute("style", "style", "number of a label"),
)

# One attribute for each group: the first. Style is nominal, so no dim can follow it.
PRIMARY = {
    group: next(attribute.name for attribute in ATTRIBUTES if attribute.group == group)
    for group in ("rhythm", "pitch", "harmony", "dynamics")
}

# Conditions with classes -> their number: tonics, modes, metres of up to 24 beats, and styles of a data set. Tempo and
# the attributes of the window are numbers. See `data.conditions`.
NOMINAL = {"key": 12, "mode": 7, "metre": 24 * 7, "style": 64}
CONDITIONS = (*NOMINAL, "tempo", *(found.name for found in ATTRIBUTES if not found.spans and found.name != "style"))


class Batch(NamedTuple):
    """Windows of music, as the model sees them."""

    tokens: Array  # int32[batch, measure, slot, field], 0 where masked
    mask: Array  # bool[batch, measure, slot], True where the measure has that slot
    metre: Array  # int32[batch, measure, 2], numerator and denominator; (0, 0) in a padding measure
    index: Array  # int32[batch], number of the window in its split; -1 in a row that pads the last batch
    attributes: Any = ()  # dict of span -> float32[batch, time, attribute], or () for none; see codec.attributes
    conditions: Any = ()  # float32[batch, condition], NaN where unknown, or () if all are; see data.conditions


class Field(NamedTuple):
    """One categorical variable of a slot."""

    name: str
    size: int  # number of classes
    end: int | None = None  # of a slot's first field: the class that ends the measure, and is the slot's only field
    first_pitch: int | None = None  # the class of MIDI pitch 0; all classes after it are pitches
    velocities: tuple[int, ...] = ()  # the MIDI velocity of each class, if the field is one of velocities


def until_end(tokens: Array, mask: Array, fields: Sequence[Field]) -> Array:
    """The slots of measures up to the first that ends its measure, which is included.

    Args:
        tokens: int[..., slot, field].
        mask: bool[..., slot], the slots that the metre allows.
        fields: of a slot.

    Returns:
        bool[..., slot]; the mask unchanged where no class ends a measure.
    """
    if fields[0].end is None:
        return mask
    ended = mask & (tokens[..., 0] == fields[0].end)
    return mask & (ended.cumsum(-1) - ended == 0)


def existing_fields(tokens: Array, mask: Array, fields: Sequence[Field]) -> Array:
    """The tokens that exist, and so cost nats and count; a slot that ends its measure has only its first field.

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
    """Number of phrases of four measures in a window; the last one may be shorter.

    Args:
        mask: bool[..., measure, slot].

    Returns:
        int[...], at least 1.
    """
    measures = mask.any(-1).sum(-1)
    return (-(-measures // MEASURES_PER_PHRASE)).clip(1)


class Gaussian(NamedTuple):
    """A diagonal Gaussian for each latent."""

    loc: Array  # float[batch, time, dim]
    log_scale: Array  # float[batch, time, dim], log of the standard deviation


class Moments(NamedTuple):
    """Mean and variance of the dims of a level over the present latents of a batch."""

    mean: Array  # float[dim]
    variance: Array  # float[dim]


class KL(NamedTuple):
    """KL(q(z | x) || p(z | above)) of each latent, in nats; 0 where a window has no latent."""

    total: Array  # float[batch, time], summed over dims
    per_dim: Array | None  # float[batch, time, dim]; None where only an estimate of the total is known


class VAEOutput(NamedTuple):
    """All that a pass through the model gives; weights and means are applied outside.

    A latent is z = loc + scale * e: a frame, given by the levels above, and e in its units.
    """

    logits: tuple[Array, ...]  # one float[batch, measure, slot, vocab] per field
    latents: Latents  # level -> the z that was decoded, [batch, time, dim]
    residual: dict[str, Gaussian]  # level -> the posterior q(e | x), in the units of the frame
    frame: dict[str, Gaussian]  # level -> loc and log scale at these latents; of a normal base, the prior p(z | above)
    kl: dict[str, KL]  # level -> KL; 0 where level dropout drew the latent from its prior
    log_ratio: dict[str, Array]  # level -> log q(e | x) - log p(e | above) of the draw, float[batch, time]
    present: dict[str, Array]  # level -> bool[batch, time], the latents that the window has
    span_nll: dict[str, Array]  # level -> -log p of its spans' bags of tokens, float[batch]; {} without span heads
    moments: dict[str, Moments]  # level -> what batch normalisation measured; {} without it
    kept: dict[str, Array]  # level -> bool[batch], windows whose own latents level dropout keeps; {} without it
    log_responsibilities: Any = ()  # dict of level -> log p(mode | e, above), float[batch, time, mode], of mixtures
    predicted: Any = ()  # dict of level -> float[batch, time, attribute and style], of its group heads; () without them
    conditions: Any = ()  # float[batch, condition], NaN where training hid them; () without conditions
