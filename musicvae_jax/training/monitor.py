"""A monitor of collapse: which latent levels, and which groups of their dims, are dead."""

from collections.abc import Iterable, Mapping
from typing import Any

from musicvae_jax.config import Config, UserError
from musicvae_jax.figures import build
from musicvae_jax.objectives.usage import LevelFigures
from musicvae_jax.training.validation import ValidationFigures

VALIDATION = "validation"  # the name of `ValidationFigures` in metrics.jsonl


class CollapseError(UserError):
    """A level or group is dead, and TrainConfig.on_collapse is "stop"; the message names it."""


class CollapseMonitor:
    """Watches the validations of a run.

    A level is dead if its KL is below ``TrainConfig.collapse_nats`` per window in ``collapse_patience`` validations in
    a row. A group of a living level is dead if it has no active dim by rule b (`objectives.usage`) in as many.
    Validations before `Config.settled_step` do not count.

    Attributes:
        dead: name of a dead level or group -> a sentence that says why.
    """

    def __init__(self, config: Config, rows: Iterable[Mapping[str, Any]] = ()):
        """Starts from the validations in rows of metrics.jsonl, those up to the step from which a run goes on."""
        self._config, self._train, self._settled = config, config.train, config.settled_step
        self._in_a_row: dict[str, int] = {}
        self.dead: dict[str, str] = {}
        for row in rows:
            prefix = f"{VALIDATION}."
            flat = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
            if flat:
                self.observe(row["step"], _build_validation(row["step"], flat).levels)

    def observe(self, step: int, levels: Mapping[str, LevelFigures]) -> list[str]:
        """Takes a validation; returns a line for each level or group that has died since the last, or lives again."""
        if step < self._settled:
            return []
        signs = self._signs(step, levels)
        self._in_a_row = {name: self._in_a_row.get(name, 0) + 1 for name in signs}
        before = self.dead
        self.dead = {
            name: sign for name, sign in signs.items() if self._in_a_row[name] >= self._train.collapse_patience
        }
        died = [f"collapse: {sign}; see docs/levels.md" for name, sign in self.dead.items() if name not in before]
        return died + [f"{name} lives again at step {step}" for name in before if name not in self.dead]

    @property
    def silence(self) -> str:
        """A sentence that no dead level can be named, because too few validations count; empty if there are enough.

        The validation of the last step counts here. It cannot stop the run, but it can name a dead level.
        """
        count = self._config.settled_validations + (self._settled <= self._train.num_steps)
        if count >= self._train.collapse_patience:
            return ""
        return (
            f"no dead level or group will be named: of this run's validations only {count} come at step "
            f"{self._settled} or later, where the weights have risen; "
            f"TrainConfig.collapse_patience = {self._train.collapse_patience}"
        )

    @property
    def stops(self) -> bool:
        """Whether the run must stop."""
        return bool(self.dead) and self._train.on_collapse == "stop"

    def check(self, step: int) -> None:
        """Raises `CollapseError` if the run must stop."""
        if self.stops:
            raise CollapseError(
                f"{'; '.join(self.dead.values())}. The run stops at step {step}, where it has a checkpoint, because "
                "TrainConfig.on_collapse = 'stop'; see docs/levels.md"
            )

    def _signs(self, step: int, levels: Mapping[str, LevelFigures]) -> dict[str, str]:
        """Levels and groups that look dead in one validation: name -> why."""
        signs, least = {}, self._train.collapse_nats
        for level, figures in levels.items():
            if figures.kl < least:
                signs[f"level {level!r}"] = (
                    f"level {level!r} carries {figures.kl:.2f} nats a window at step {step} (allowed: {least} and more)"
                )
                continue
            for group, found in figures.groups.items():
                if found.active_b == 0:
                    name = f"group '{level}/{group}'"
                    signs[name] = f"{name} has no active dim at step {step} (allowed: 1 and more)"
        return signs


def _build_validation(step: int, flat: Mapping[str, Any]) -> ValidationFigures:
    try:
        return build(ValidationFigures, flat)
    except (TypeError, AttributeError) as error:
        message = f"the validation of step {step} in metrics.jsonl is damaged: {error}"
        raise UserError(f"{message}; allowed are the figures that train.py writes") from None
