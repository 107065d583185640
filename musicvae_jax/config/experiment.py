"""One experiment: the parts of the configuration, and what they must agree on."""

import dataclasses

from musicvae_jax.config.checks import ConfigError, check, check_types
from musicvae_jax.config.data import CodecConfig, DataConfig
from musicvae_jax.config.model import ModelConfig
from musicvae_jax.config.objective import LevelObjective, ObjectiveConfig
from musicvae_jax.config.train import TrainConfig
from musicvae_jax.types import LEVELS, MEASURES_PER_PHRASE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment."""

    codec: CodecConfig = dataclasses.field(default_factory=CodecConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    objective: ObjectiveConfig = dataclasses.field(default_factory=ObjectiveConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        check_types(self)
        model, objective, measures = self.model, self.objective, self.data.measures
        for level in LEVELS:
            if level not in model.widths and objective.level(level) != LevelObjective():
                raise ConfigError(
                    f"ObjectiveConfig.{level}_level = {objective.level(level)!r}: the level is off "
                    f"(ModelConfig.{level}_dim = 0)"
                )
            steps, most = objective.level(level).schedule_steps, self.train.num_steps
            allowed = f"at most TrainConfig.num_steps = {most}"
            check(steps <= most, f"ObjectiveConfig.{level}_level.schedule_steps", steps, allowed)
        for level in model.delta_levels:
            span = f"{level}_span = {model.span(level, measures)} with DataConfig.measures = {measures}"
            several = model.num_latents(level, measures) > 1
            check(several, "ModelConfig.delta_levels", model.delta_levels, f"levels of two latents or more; {span}")
        if model.batch_norm_levels:
            rows = self.train.batch_size // self.train.accumulate
            allowed = f"none with one window a batch: TrainConfig.batch_size / accumulate = {rows}"
            check(rows > 1, "ModelConfig.batch_norm_levels", model.batch_norm_levels, allowed)
        if self.train.on_collapse == "stop":
            allowed = f"at most {self.settled_validations} with on_collapse = 'stop': the validations from step "
            allowed += f"{objective.settled_step} on, where the weights have risen, to before the run is over"
            patience = self.train.collapse_patience
            check(patience <= self.settled_validations, "TrainConfig.collapse_patience", patience, allowed)
            for level in model.widths:
                point = objective.level(level).kl_per_phrase
                least = self.train.collapse_nats / -(-measures // MEASURES_PER_PHRASE)
                allowed = f"0, or {least:.4g} and more with on_collapse = 'stop': TrainConfig.collapse_nats = "
                allowed += f"{self.train.collapse_nats} in the {measures} measures of a window"
                check(not 0 < point < least, f"ObjectiveConfig.{level}_level.kl_per_phrase", point, allowed)
        free = [level for level in model.widths if not objective.level(level).beta]
        if objective.kl_per_phrase and free:
            raise ConfigError(
                f"ObjectiveConfig.kl_per_phrase = {objective.kl_per_phrase}: beta is 0 at {', '.join(free)}, whose KL "
                "no weight holds; allowed is a set point of the total where beta is above 0 at every level that is on"
            )
        several = any(model.is_causal(level) and model.num_latents(level, measures) > 1 for level in model.widths)
        several = several or model.prior_context == "independent"
        allowed = f"'independent' where no level below global has two latents: DataConfig.measures = {measures}"
        check(several, "ModelConfig.prior_context", model.prior_context, allowed)
        if bool(model.span_heads) != bool(objective.span_weight):
            raise ConfigError(
                f"ObjectiveConfig.span_weight = {objective.span_weight} and ModelConfig.span_heads = "
                f"{model.span_heads!r}: allowed is both or neither"
            )

    @property
    def settled_validations(self) -> int:
        """How many validations before the last step come when the weights have settled: those that may stop the run."""
        train, settled = self.train, max(self.objective.settled_step, 1)
        return max((train.num_steps - 1) // train.eval_every - (settled - 1) // train.eval_every, 0)
