"""The prior that is fitted once the model is trained."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import check, check_not_negative, check_positive, check_types
from musicvae_jax.config.levels import LevelsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """A prior that is fitted to the posteriors of the trained model, which stays as it is; see `fit_prior`."""

    base: Literal["none", "mixture", "flow", "vamp"] = "none"
    """What it is made of, see `LevelConfig.base`; none: the model keeps the prior that it was trained with."""
    levels: tuple[str, ...] = ()
    """Which levels get it; all that are on if none is named, of vamp the top one."""
    modes: int = 8
    """mixture, vamp: number of Gaussians."""
    flow: Literal["affine", "spline"] = "affine"
    """flow: what a coupling layer does to a dim."""
    flow_layers: int = 4
    """flow: coupling layers."""
    memory_layers: int = 0
    """mixture, flow: layers of a causal transformer that reads the earlier latents of a level; 0: none. The top level
    has none in any case, nor has a level with one latent in a window."""
    metre_context: bool = True
    """mixture, flow: the prior of the top level depends on the metres, as those below do in any case."""
    style_weight: float = 0.0
    """mixture: weight of the error of styles, which the Gaussians of the top level are to mean; see
    `ObjectiveConfig.mode_weight`."""
    num_steps: int = 2000
    """Steps of Adam, with a cosine decay."""
    batch_size: int = 128
    """Windows in a step."""
    learning_rate: float = 0.0
    """That of the first step; 0 takes 0.003 for flow, 0.01 for mixture and vamp."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "modes", "flow_layers", "num_steps", "batch_size")
        check_not_negative(self, "memory_layers", "style_weight", "learning_rate")

    def fitted_levels(self, levels: LevelsConfig) -> tuple[str, ...]:
        """The levels that get the prior, of a model with these.

        Raises:
            ConfigError: there is nothing to fit, or a level is off.
        """
        check(self.base != "none", "prior.base", self.base, "mixture, flow or vamp, to fit one")
        on = tuple(levels.on)
        named = self.levels or on[: 1 if self.base == "vamp" else None]
        allowed = f"some of {', '.join(on) or 'none: all are off'}, each once"
        check(bool(named) and set(named) <= set(on) and len(set(named)) == len(named), "prior.levels", named, allowed)
        fits = not self.style_weight or (self.base == "mixture" and levels.top in named)
        check(fits, "prior.style_weight", self.style_weight, "0 but for a mixture of the top level")
        return named
