"""The loss: nll + sum over levels of weight x rate(KL), all summed in nats."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from musicvae_jax.config.checks import ConfigError, check, check_not_negative, check_positive, check_types

FreeBits = Literal["none", "total", "per_dim", "per_dim_per_example", "capacity"]
Schedule = Literal["constant", "linear", "cyclical_linear", "cyclical_cosine", "cyclical_sigmoid"]
_STEERABLE = "another rule with a set point: capacity holds the KL at nats already"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelObjective:
    """The weight and the rule of one level's KL."""

    beta: float = 1.0
    """Times ObjectiveConfig.beta: the level's weight once its schedule has risen."""
    schedule: Schedule = "constant"
    """How the weight comes to beta; cyclical after Fu et al. (2019)."""
    schedule_steps: int = 0
    """linear: steps of the rise; cyclical: steps of all cycles together, then the weight stays."""
    cycles: int = 4
    """cyclical: how many."""
    ramp: float = 0.5
    """cyclical: share of a cycle in which the weight rises; it stays for the rest."""
    free_bits: FreeBits = "none"
    """What of the KL is charged, see `objectives.free_bits`."""
    nats: float = 0.0
    """What is free. total, capacity: nats per window; per_dim: per latent and dim; per_dim_per_example: per latent."""
    capacity_steps: int = 0
    """capacity: steps over which it rises from 0 to nats."""
    kl_per_phrase: float = 0.0
    """Set point in nats per phrase that the weight is steered to; 0 for none. A controller multiplies the schedule,
    which must then be no cycle."""

    def __post_init__(self) -> None:
        check_types(self)
        check_not_negative(self, "beta", "schedule_steps", "nats", "capacity_steps", "kl_per_phrase")
        check_positive(self, "cycles")
        check(0 < self.ramp <= 1, "LevelObjective.ramp", self.ramp, "0 < value <= 1")
        timed = (self.schedule == "constant") == (self.schedule_steps == 0)
        allowed = f"{'0' if self.schedule == 'constant' else 'above 0'} with schedule = {self.schedule!r}"
        check(timed, "LevelObjective.schedule_steps", self.schedule_steps, allowed)
        turning = not self.schedule.startswith("cyclical") or self.cycles <= self.schedule_steps
        allowed = f"at most schedule_steps = {self.schedule_steps}: a cycle takes a step or more"
        check(turning, "LevelObjective.cycles", self.cycles, allowed)
        rising = self.free_bits == "capacity" or self.capacity_steps == 0
        allowed = f"0 with free_bits = {self.free_bits!r}"
        check(rising, "LevelObjective.capacity_steps", self.capacity_steps, allowed)
        free = self.free_bits != "none" or self.nats == 0
        check(free, "LevelObjective.nats", self.nats, "0 with free_bits = 'none'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss: nll + beta * KL, both summed in nats; per level more."""

    beta: float = 1.0
    """Weight of the KL (Higgins et al. 2017); 1 is the ELBO."""
    beta_warmup_steps: int = 0
    """Steps over which beta rises linearly from 0."""
    global_level: LevelObjective = LevelObjective()
    local_level: LevelObjective = LevelObjective()
    fine_level: LevelObjective = LevelObjective()
    kl_balance_steps: int = 0
    """Steps in which levels with little KL are charged less than others (Vahdat & Kautz 2020)."""
    kl_per_phrase: float = 0.0
    """Set point of the total KL, in nats per phrase, that beta is steered to (Shao et al. 2020); 0 for none."""
    controller_proportional: float = 0.5
    """The controller's proportional gain, on log(KL / set point)."""
    controller_integral: float = 0.02
    """Its integral gain per step."""
    controller_min_beta: float = 1e-3
    controller_max_beta: float = 10.0
    span_weight: float = 0.0
    """Weight of the span heads' nll, in nats per window; see ModelConfig.span_heads."""

    def __post_init__(self) -> None:
        check_types(self)
        check_not_negative(self, "beta", "beta_warmup_steps", "kl_balance_steps", "kl_per_phrase", "span_weight")
        check_not_negative(self, "controller_proportional", "controller_integral")
        check_positive(self, "controller_min_beta", "controller_max_beta")
        if self.controller_min_beta > self.controller_max_beta:
            raise ConfigError(
                f"ObjectiveConfig.controller_min_beta = {self.controller_min_beta}: allowed is at most "
                f"controller_max_beta = {self.controller_max_beta}"
            )
        levels = {level: getattr(self, f"{level}_level") for level in ("global", "local", "fine")}
        steered = [level for level, objective in levels.items() if objective.kl_per_phrase]
        if self.kl_per_phrase and steered:
            raise ConfigError(
                f"ObjectiveConfig.kl_per_phrase = {self.kl_per_phrase}: {', '.join(steered)} have set points of their "
                "own; allowed is one or the other"
            )
        if self.kl_per_phrase or steered:
            self._check_steering(levels if self.kl_per_phrase else steered)

    def level(self, name: str) -> LevelObjective:
        """The part of a level."""
        level: LevelObjective = getattr(self, f"{name}_level")
        return level

    @property
    def settled_step(self) -> int:
        """The step at which all weights, capacities and the balance of the warm-up have first come to their values.

        Before it a level that carries little is none that has died. Of a cyclical schedule it is the end of the first
        rise: later cycles start from a weight of 0, which kills nothing.
        """
        steps = [self.beta_warmup_steps, self.kl_balance_steps]
        for level in (self.global_level, self.local_level, self.fine_level):
            rise = level.ramp / level.cycles if level.schedule.startswith("cyclical") else 1.0
            steps += [round(level.schedule_steps * rise), level.capacity_steps]
        return max(steps)

    def _check_steering(self, steered: Iterable[str]) -> None:
        """What a controller multiplies must move, and move the KL."""
        allowed = "above 0 with a set point"
        check(self.beta > 0, "ObjectiveConfig.beta", self.beta, allowed)
        check(self.controller_integral > 0, "ObjectiveConfig.controller_integral", self.controller_integral, allowed)
        for name in steered:
            level, place = self.level(name), f"ObjectiveConfig.{name}_level"
            check(level.free_bits != "capacity", f"{place}.free_bits", level.free_bits, _STEERABLE)
            steady = not level.schedule.startswith("cyclical")
            check(steady, f"{place}.schedule", level.schedule, "constant or linear with a set point")
            check(level.beta > 0 or not level.kl_per_phrase, f"{place}.beta", level.beta, allowed)
