"""One experiment: the parts of the configuration."""

import dataclasses

from musicvae_jax.config.checks import ConfigError, check, check_types
from musicvae_jax.config.data import CodecConfig, DataConfig
from musicvae_jax.config.levels import LevelsConfig
from musicvae_jax.config.model import ModelConfig
from musicvae_jax.config.objective import ObjectiveConfig
from musicvae_jax.config.prior import PriorConfig
from musicvae_jax.config.rules import check_rules
from musicvae_jax.config.train import TrainConfig
from musicvae_jax.types import STANDARD_SPANS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment.

    Raises:
        ConfigError: a value is out of range, or settings do not go together (`config.rules`).
    """

    codec: CodecConfig = dataclasses.field(default_factory=CodecConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    levels: LevelsConfig = dataclasses.field(default_factory=LevelsConfig)
    objective: ObjectiveConfig = dataclasses.field(default_factory=ObjectiveConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)

    def __post_init__(self) -> None:
        check_types(self)
        check_rules(self)
        if self.prior.base != "none":
            try:
                _ = self.fitted  # what does not go together is refused now
            except ConfigError as error:
                made = "so the model would be with its fitted prior; prior.base = 'none' fits none instead of"
                raise ConfigError(f"{error} ({made} {self.prior.base!r})") from None

    @property
    def fitted(self) -> "Config":
        """The config of the model with its fitted prior: other bases, with a KL by draws and without free bits.

        Raises:
            ConfigError: there is no prior to fit, or it does not go with the levels.
        """
        prior, on, changed = self.prior, self.levels.on, {}
        names = prior.fitted_levels(self.levels)
        top = self.levels.top
        readers = [name for name in names if name != top and on[name].num_latents(self.data.measures) > 1]
        allowed = "0: no level that gets the prior has earlier latents and one above it"
        check(not prior.memory_layers or bool(readers), "prior.memory_layers", prior.memory_layers, allowed)
        # A causal frame at the top hears the metres already, unless there are conditions; a vamp hears nothing.
        told = prior.base != "vamp" and not (on[top].is_causal and not self.model.conditions)
        for name in names:
            changed["global_" if name == "global" else name] = dataclasses.replace(
                on[name],
                **{field: getattr(prior, field) for field in ("base", "modes", "flow", "flow_layers")},
                memory_layers=prior.memory_layers if name in readers else 0,
                metre_context=prior.metre_context and name == top and told,
                kl_estimate="draw",
                free_bits="none",
                nats=0.0,
                capacity_steps=0,
            )
        objective = dataclasses.replace(self.objective, mode_weight=0.0)  # no part of the fit
        levels = dataclasses.replace(self.levels, **changed)
        return dataclasses.replace(self, levels=levels, objective=objective, prior=PriorConfig())

    @property
    def settled_step(self) -> int:
        """The step at which all weights and capacities have first reached their values.

        Before it, a level with little KL has not died.
        """
        objective = self.objective
        steps = [objective.beta_warmup_steps, objective.kl_balance_steps]
        return max(steps + [level.settled_step for level in self.levels.on.values()])

    @property
    def settled_validations(self) -> int:
        """How many validations come at `settled_step` or later and before the last step: those that can stop a run."""
        train, settled = self.train, max(self.settled_step, 1)
        return max((train.num_steps - 1) // train.eval_every - (settled - 1) // train.eval_every, 0)

    @property
    def spans(self) -> tuple[int, ...]:
        """The spans of attributes in measures, 0 for the window: the standard ones and those of the levels."""
        spans = {*STANDARD_SPANS, *(level.span for level in self.levels.on.values())}
        return tuple(sorted(spans, key=lambda span: span or float("inf")))
