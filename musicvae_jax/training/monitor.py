"""Tells by name when a latent level, or a group of its dims, has died."""

from collections.abc import Iterable, Mapping
from typing import Any

from musicvae_jax.config import Config, UserError
from musicvae_jax.models.groups import group_layout

VALIDATION = "validation_"  # what the figures of a validation are called by in metrics.jsonl


class CollapseError(UserError):
    """A level or a group has died, and TrainConfig.on_collapse is "stop"; the message names it."""


class CollapseMonitor:
    """Watches the validations of a run.

    A level is dead if it carries less than ``TrainConfig.collapse_nats`` nats a window, a group of a living level if
    none of its dims is active by rule b on the residual (see `objectives.latent_usage`), both for
    ``collapse_patience`` validations in a row. Validations before `ObjectiveConfig.settled_step` do not count.

    Attributes:
        dead: what is dead now, name -> a sentence that says why.
    """

    def __init__(self, config: Config, rows: Iterable[Mapping[str, Any]] = ()):
        """Takes up where a run stands.

        Args:
            config: the experiment.
            rows: of metrics.jsonl up to the step at which the run goes on; those of validations count.
        """
        self._config, self._model, self._train = config, config.model, config.train
        self._settled = config.objective.settled_step
        self._in_a_row: dict[str, int] = {}
        self.dead: dict[str, str] = {}
        for row in rows:
            figures = {name.removeprefix(VALIDATION): row[name] for name in row if name.startswith(VALIDATION)}
            if figures:
                self.observe(row["step"], figures)

    def observe(self, step: int, figures: Mapping[str, float]) -> list[str]:
        """Takes the figures of a validation.

        Args:
            step: at which it was made.
            figures: as the validator gave them.

        Returns:
            What to tell the user: a line for every level or group that has died since, or lives again.
        """
        if step < self._settled:
            return []
        signs = self._signs(step, figures)
        self._in_a_row = {name: self._in_a_row.get(name, 0) + 1 for name in signs}
        before = self.dead
        self.dead = {
            name: sign for name, sign in signs.items() if self._in_a_row[name] >= self._train.collapse_patience
        }
        died = [f"collapse: {sign}; see docs/levels.md" for name, sign in self.dead.items() if name not in before]
        return died + [f"{name} lives again at step {step}" for name in before if name not in self.dead]

    @property
    def silence(self) -> str:
        """Why nothing will be said whatever dies: the run has too few validations that count; empty if it has enough.

        The last step's validation counts here: it cannot stop the run, but can name what has died.
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
        """Whether the run shall not go on."""
        return bool(self.dead) and self._train.on_collapse == "stop"

    def check(self, step: int) -> None:
        """Raises `CollapseError` where the run shall not go on, whenever it is asked: a dead run stays dead."""
        if self.stops:
            raise CollapseError(
                f"{'; '.join(self.dead.values())}. The run stops at step {step}, where it has a checkpoint, because "
                "TrainConfig.on_collapse = 'stop'; see docs/levels.md"
            )

    def _signs(self, step: int, figures: Mapping[str, float]) -> dict[str, str]:
        """Levels and groups that look dead, name -> why."""
        signs, nats = {}, self._train.collapse_nats
        for level in self._model.widths:
            if figures[f"kl_{level}"] < nats:
                signs[f"level {level!r}"] = (
                    f"level {level!r} carries {figures[f'kl_{level}']:.2f} nats a window at step {step} "
                    f"(allowed: {nats} and more)"
                )
                continue
            for group in group_layout(self._model, level):
                # The rows of a run that an older version began say nothing of groups.
                if figures.get(f"active_units_b_{level}_{group}", 1) == 0:
                    name = f"group '{level}/{group}'"
                    signs[name] = f"{name} has no active dim at step {step} (allowed: 1 and more)"
        return signs
