"""The latent levels: all that a level is stands in one `LevelConfig`."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from musicvae_jax.config.checks import (
    check,
    check_not_negative,
    check_positive,
    check_probability,
    check_types,
)
from musicvae_jax.types import ATTRIBUTES, GROUPS, LEVELS, PRIMARY, span_name

FreeBits = Literal["none", "total", "per_dim", "per_dim_per_example", "capacity"]
Schedule = Literal["constant", "linear", "cyclical_linear", "cyclical_cosine", "cyclical_sigmoid"]

_USUAL_SPANS = {"global": 0, "local": 4, "fine": 1}
ATTRIBUTE_OF = {attribute.name: attribute for attribute in ATTRIBUTES}
_USUAL_GROUP = 8  # dims of a group where the config names no sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """One latent level: its latents, its prior, and its KL in the loss."""

    dim: int = 0
    """Width of one latent; 0 turns the level off."""
    span: int = 0
    """Measures that one latent spans; 0 takes the usual: local 4, fine 1. A global latent spans the window."""
    groups: tuple[int, ...] = ()
    """Dims of the groups rhythm, pitch, harmony, dynamics, style; empty: 8 each while dims last, the rest style."""

    attributes: tuple[str, ...] = ()
    """Attributes of the level's spans that its dims follow, each the next dim of its group; see
    `objectives.attributes`. The word primary alone stands for one of each group that has dims, but style."""

    group_heads: bool = False
    """Each group must predict the attributes of its name, of the level's spans, from its own dims; see `supervised`."""
    style_classes: int = 0
    """Under group_heads: labels of style that the dims of the group style must tell apart, at least as many as the data
    set has; 0: none."""

    base: Literal["normal", "ar1", "mixture", "flow", "vamp"] = "normal"
    """p(e) of z = loc(above) + scale(above) * e. normal: N(0, 1). ar1: an AR(1) process along time, whose KL from a
    posterior that is independent along time cannot be 0 (delta-VAE, Razavi et al. 2019). mixture: of Gaussians, with
    weights that depend on the levels above. flow: coupling layers from N(0, 1), given the levels above. vamp: the mean
    of the posteriors of learned inputs, of the top level (Tomczak & Welling 2018)."""
    modes: int = 8
    """mixture, vamp: number of Gaussians."""
    flow: Literal["affine", "spline"] = "affine"
    """flow: what a coupling layer does to a dim (Dinh et al. 2017; Durkan et al. 2019)."""
    flow_layers: int = 4
    """flow: coupling layers; each changes every other dim."""
    memory_layers: int = 0
    """mixture, flow: layers of a causal transformer by which the base also hears the earlier latents of its level; 0:
    it does not."""
    metre_context: bool = False
    """mixture, flow: the base of the top level also depends on the metres. Levels below do in any case, and so does a
    top level that reads earlier latents, in a model without conditions."""
    posterior: Literal["residual", "absolute"] = "residual"
    """What the music says is q(e), or q(z): then the KL also trains the frame. A causal frame and a ladder have their
    own way: q(z), and a product with the prior."""
    alpha: float = 0.9
    """ar1: the correlation of a latent with the one before it."""
    prior_context: Literal["independent", "causal"] = "independent"
    """What loc and scale depend on beside the levels above: nothing, or the earlier latents of the level."""
    kl_estimate: Literal["exact", "draw"] = "exact"
    """The KL in closed form, by dim, or log q(e) - log p(e) at the latents drawn, without a value by dim."""
    batch_norm: float = 0.0
    """Standard deviation gamma that the posterior means get over a batch, in units of the prior, so that their KL
    cannot be 0 (Zhu et al. 2020); 0 turns it off."""
    span_head: bool = False
    """The level, with those above it, must predict the bag of tokens and the rhythm of its span."""

    beta: float = 1.0
    """Weight of the KL, times ObjectiveConfig.beta, once the schedule has risen."""
    schedule: Schedule = "constant"
    """How the weight rises from 0 to beta (cyclical: Fu et al. 2019)."""
    schedule_steps: int = 0
    """linear: steps of the rise. cyclical: steps of all cycles; the weight is constant afterwards."""
    cycles: int = 4
    """cyclical: number of cycles."""
    ramp: float = 0.5
    """cyclical: share of a cycle in which the weight rises; it is constant for the rest."""
    free_bits: FreeBits = "none"
    """Which part of the KL is charged, see `objectives.rates`."""
    nats: float = 0.0
    """What is free. total, capacity: nats per window; per_dim: per latent and dim; per_dim_per_example: per latent."""
    capacity_steps: int = 0
    """capacity: steps in which it rises from 0 to nats."""
    kl_per_phrase: float = 0.0
    """Set point of the KL in nats per phrase of four measures, held by a controller of the weight; 0: no controller."""

    def __post_init__(self) -> None:
        check_types(self)
        check_not_negative(self, "dim", "span", "batch_norm", "beta", "schedule_steps", "nats", "capacity_steps")
        check_not_negative(self, "kl_per_phrase", "style_classes", "memory_layers")
        check_positive(self, "alpha", "cycles", "modes", "flow_layers")
        check_probability(self, "alpha")
        check(0 < self.ramp <= 1, "LevelConfig.ramp", self.ramp, "0 < value <= 1")
        sizes = self.groups
        fits = not sizes or (len(sizes) == len(GROUPS) and min(sizes) >= 0 and sum(sizes) == self.dim)
        check(fits, "LevelConfig.groups", sizes, f"nothing, or {len(GROUPS)} sizes that add up to dim = {self.dim}")
        if self.attributes == ("primary",):
            object.__setattr__(self, "attributes", tuple(PRIMARY[group] for group in self.layout if group in PRIMARY))
        known = [
            name
            for name, found in ATTRIBUTE_OF.items()
            if found.group in PRIMARY and (not found.spans or self.span in found.spans)
        ]
        fits = set(self.attributes) <= set(known)
        check(fits, "LevelConfig.attributes", self.attributes, f"primary alone, or names among {', '.join(known)}")
        check(len(set(self.attributes)) == len(self.attributes), "LevelConfig.attributes", self.attributes, "each once")
        for group, names in _by_group(self.attributes).items():
            size = len(range(self.dim)[self.layout.get(group, slice(0))])
            allowed = f"at most as many of {group} as the group has dims: {size}"
            check(len(names) <= size, "LevelConfig.attributes", self.attributes, allowed)
        groups = list(self.layout)
        fits = not self.group_heads or bool(self.supervised) or self.style_classes > 0
        allowed = f"False with no group but {' and '.join(groups)}, and no style_classes"
        check(fits, "LevelConfig.group_heads", self.group_heads, allowed)
        fits = not self.style_classes or (self.group_heads and "style" in groups)
        check(fits, "LevelConfig.style_classes", self.style_classes, "0 without group_heads and a group style")
        timed = (self.schedule == "constant") == (self.schedule_steps == 0)
        allowed = f"{'0' if self.schedule == 'constant' else 'above 0'} with schedule = {self.schedule!r}"
        check(timed, "LevelConfig.schedule_steps", self.schedule_steps, allowed)
        turning = not self.is_cyclical or self.cycles <= self.schedule_steps
        allowed = f"at most schedule_steps = {self.schedule_steps}: a cycle takes a step or more"
        check(turning, "LevelConfig.cycles", self.cycles, allowed)
        rising = self.free_bits == "capacity" or self.capacity_steps == 0
        check(rising, "LevelConfig.capacity_steps", self.capacity_steps, f"0 with free_bits = {self.free_bits!r}")
        free = self.free_bits != "none" or self.nats == 0
        check(free, "LevelConfig.nats", self.nats, "0 with free_bits = 'none'")

    @property
    def layout(self) -> dict[str, slice]:
        """Which dims belong to which group: a partition of the dims, in order, without empty groups.

        Example:
            >>> LevelConfig(dim=20).layout
            {'rhythm': slice(0, 8, None), 'pitch': slice(8, 16, None), 'harmony': slice(16, 20, None)}
        """
        layout, start = {}, 0
        for number, group in enumerate(GROUPS):
            left = self.dim - start
            usual = left if number == len(GROUPS) - 1 else min(_USUAL_GROUP, left)
            size = self.groups[number] if self.groups else usual
            if size:
                layout[group] = slice(start, start + size)
            start += size
        return layout

    @property
    def followed(self) -> dict[str, int]:
        """Attribute -> the dim that follows it.

        Example:
            >>> LevelConfig(dim=20, attributes=("mean_pitch", "note_density", "contour")).followed
            {'note_density': 0, 'mean_pitch': 8, 'contour': 9}
        """
        layout = self.layout
        return {
            name: layout[group].start + place
            for group, names in _by_group(self.attributes).items()
            for place, name in enumerate(names)
        }

    @property
    def supervised(self) -> dict[str, tuple[str, ...]]:
        """Group -> the attributes that its dims must predict under ``group_heads``: all of its name, but AR-VAE's.

        Example:
            >>> LevelConfig(dim=16).supervised["pitch"]
            ('mean_pitch', 'pitch_range', 'contour', 'mean_interval')
        """
        general = [attribute for attribute in ATTRIBUTES if not attribute.spans]
        return {
            group: tuple(attribute.name for attribute in general if attribute.group == group)
            for group in self.layout
            if group in PRIMARY
        }

    def dim_names(self, level: str) -> list[str]:
        """The name of every dim: its level, its group and its place there, such as ``"fine/rhythm[3]"``."""
        groups = self.layout.items()
        return [f"{level}/{group}[{place}]" for group, dims in groups for place in range(dims.stop - dims.start)]

    def span_in(self, num_measures: int) -> int:
        """Measures that one latent spans in a window of so many."""
        return self.span or num_measures

    def num_latents(self, num_measures: int) -> int:
        """Latents in a window of so many measures; the last one may span fewer."""
        return -(-num_measures // self.span_in(num_measures))

    @property
    def span_name(self) -> str:
        """What a span is called in figures: window, phrase, measure; see `types.span_name`."""
        return span_name(self.span)

    @property
    def is_learned(self) -> bool:
        """Whether the base has parameters; its KL then has no closed form."""
        return self.base in ("mixture", "flow", "vamp")

    @property
    def has_modes(self) -> bool:
        """Whether the base is made of Gaussians, each of which is responsible for a part of the latents."""
        return self.base in ("mixture", "vamp")

    @property
    def is_causal(self) -> bool:
        """Whether the prior of a latent depends on the earlier latents of the level."""
        return self.prior_context == "causal"

    @property
    def is_cyclical(self) -> bool:
        """Whether the schedule of the weight has cycles."""
        return self.schedule.startswith("cyclical")

    @property
    def settled_step(self) -> int:
        """The step at which weight and capacity have first reached their values; of cycles, the end of the first rise.

        Later cycles start from a weight of 0, which cannot make a level collapse.
        """
        rise = self.ramp / self.cycles if self.is_cyclical else 1.0
        return max(round(self.schedule_steps * rise), self.capacity_steps)


def _by_group(names: Sequence[str]) -> dict[str, list[str]]:
    """The attributes of each group, in the order of the groups."""
    return {group: own for group in GROUPS if (own := [name for name in names if ATTRIBUTE_OF[name].group == group])}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelsConfig:
    """The three latent levels, coarse to fine. On the command line and in JSON: ``global``, ``local``, ``fine``."""

    global_: Annotated[LevelConfig, tyro.conf.arg(name="global")] = LevelConfig(dim=128)
    """The piece: one latent for the whole window."""
    local: LevelConfig = LevelConfig()
    """The phrases: one latent for each ``span`` measures, usually 4."""
    fine: LevelConfig = LevelConfig()
    """The measures: one latent for each ``span`` measures, usually 1."""

    def __post_init__(self) -> None:
        check_types(self)
        check(self.global_.span == 0, "levels.global.span", self.global_.span, "0: the level spans the window")
        for level in ("local", "fine"):
            own = self[level]
            object.__setattr__(self, level, dataclasses.replace(own, span=own.span or _USUAL_SPANS[level]))

    def __getitem__(self, level: str) -> LevelConfig:
        """A level by its name, on or off."""
        if level not in LEVELS:
            raise KeyError(f"no level {level!r}: allowed is {', '.join(LEVELS)}")
        config: LevelConfig = getattr(self, "global_" if level == "global" else level)
        return config

    @property
    def on(self) -> dict[str, LevelConfig]:
        """The levels that are on, coarse to fine."""
        return {level: self[level] for level in LEVELS if self[level].dim}

    @property
    def top(self) -> str:
        """The coarsest level that is on."""
        return next(iter(self.on))
