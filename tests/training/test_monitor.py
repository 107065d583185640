"""Laws of the monitor: what counts as dead, what it says, and that it goes on after a resume."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import Config, UserError
from musicvae_jax.figures import flatten
from musicvae_jax.objectives.rates import level_schedule
from musicvae_jax.objectives.usage import GroupFigures, LevelFigures
from musicvae_jax.training.monitor import VALIDATION, CollapseError, CollapseMonitor
from musicvae_jax.training.validation import ValidationFigures
from tests.tiny import CONFIG, replace

TWO = replace(CONFIG, train={"collapse_nats": 1.0, "collapse_patience": 2}, **{"global": {"dim": 10}}, local={"dim": 4})


def figures(config: Config = TWO, inactive: str = "", exact: bool = True, **kl: float) -> dict[str, LevelFigures]:
    """Figures of living levels with 5 nats each, but for those with other nats and for one group of global."""
    result = {}
    for name, level in config.levels.on.items():
        nats = kl.get(f"{name}_nats", 5.0)
        own: dict[str, Any] = {"active_a": 1.0, "active_b": 0.5, "active_a_raw": 1.0, "active_b_raw": 1.0}
        own |= {"mutual_information": 1.0}
        of_group = own | dict.fromkeys(("kl", "kl_per_phrase", "kl_per_latent"), 1.0 if exact else None)
        groups = {group: GroupFigures(**of_group) for group in level.layout}
        if inactive and name == "global":
            groups[inactive] = dataclasses.replace(groups[inactive], active_b=0.0)
        result[name] = LevelFigures(kl=nats, kl_per_phrase=nats, kl_per_latent=nats, groups=groups, **own)
    return result


def validation(levels: dict[str, LevelFigures], objective: float = 1.0) -> ValidationFigures:
    return ValidationFigures(1.0, 1.0, objective, 1.0, 1.0, 1.0, levels)


def test_a_dead_level_is_named_once_and_when_it_lives_again():
    monitor = CollapseMonitor(TWO)
    assert monitor.observe(100, figures(local_nats=0.123)) == []
    (line,) = monitor.observe(200, figures(local_nats=0.123))
    assert "level 'local' carries 0.12 nats" in line and "step 200" in line
    assert monitor.observe(300, figures(local_nats=0.1)) == []
    assert monitor.observe(400, figures()) == ["level 'local' lives again at step 400"]
    assert monitor.observe(500, figures(local_nats=0.1)) == []
    (again,) = monitor.observe(600, figures(local_nats=0.1))
    assert "step 600" in again


def test_a_group_without_an_active_dim_is_named_unless_its_level_is_dead():
    monitor = CollapseMonitor(replace(TWO, train={"collapse_patience": 1}))
    (line,) = monitor.observe(1, figures(inactive="pitch"))
    assert "group 'global/pitch' has no active dim at step 1" in line
    died, lives = monitor.observe(2, figures(inactive="pitch", global_nats=0.5))
    assert "level 'global'" in died
    assert lives == "group 'global/pitch' lives again at step 2"


@given(st.lists(st.sampled_from([0.5, 1.0, 5.0]), max_size=12), st.integers(1, 4))
def test_a_level_is_dead_after_patience_validations_in_a_row(nats, patience):
    monitor = CollapseMonitor(replace(TWO, train={"collapse_patience": patience}))
    for number, kl in enumerate(nats):
        monitor.observe(number, figures(global_nats=kl))
        recent = nats[max(number + 1 - patience, 0) : number + 1]
        assert ("level 'global'" in monitor.dead) == (len(recent) == patience and max(recent) < 1.0)


@given(st.lists(st.sampled_from([0.5, 5.0]), max_size=8), st.integers(0, 8), st.booleans())
def test_a_resumed_monitor_says_what_an_uninterrupted_one_says(nats, cut, exact):
    """Also where the KL is estimated by draws, and has no value by group."""
    straight, lines = CollapseMonitor(TWO), []
    every = [figures(local_nats=kl, exact=exact) for kl in nats]
    for number, levels in enumerate(every):
        lines.append(straight.observe(number, levels))
    rows = [{"step": number, "loss": 1.0} for number in range(9)]  # of training
    for number, levels in enumerate(every[:cut]):
        rows.append({"step": number, **flatten({VALIDATION: validation(levels)})})
    resumed = CollapseMonitor(TWO, rows)
    assert [resumed.observe(n, levels) for n, levels in list(enumerate(every))[cut:]] == lines[cut:]
    assert resumed.dead == straight.dead


@pytest.mark.parametrize("on_collapse", ["warn", "stop"])
def test_a_run_is_stopped_only_if_that_is_asked_for(on_collapse):
    monitor = CollapseMonitor(replace(TWO, train={"on_collapse": on_collapse, "eval_every": 1}))
    for step in (1, 2):
        monitor.check(step)
        assert not monitor.stops
        monitor.observe(step, figures(local_nats=0.0))
    if on_collapse == "warn":
        monitor.check(2)
    else:
        with pytest.raises(CollapseError, match=r"level 'local' carries 0\.00 nats .* step 2"):
            monitor.check(2)


@pytest.mark.parametrize(
    ("changes", "settled"),
    [
        ({}, 0),
        ({"objective": {"beta_warmup_steps": 100}}, 100),
        ({"objective": {"kl_balance_steps": 60}}, 60),
        ({"fine": {"schedule": "linear", "schedule_steps": 80}}, 80),
        ({"local": {"schedule": "cyclical_cosine", "schedule_steps": 800, "cycles": 4, "ramp": 0.5}}, 100),
        ({"objective": {"beta_warmup_steps": 50}, "global": {"schedule": "linear", "schedule_steps": 200}}, 200),
        ({"local": {"free_bits": "capacity", "nats": 3.0, "capacity_steps": 70}}, 70),
    ],
)
def test_nothing_counts_before_the_weights_have_risen(changes, settled):
    config = replace(
        CONFIG,
        train={"collapse_patience": 1, "num_steps": 800},
        **{"global": {"dim": 4}},
        local={"dim": 4},
        fine={"dim": 4},
    )
    config = replace(config, **changes)
    assert config.settled_step == settled
    for level in config.levels.on.values():  # by then every weight has been at its top
        schedule = level_schedule(config.objective, level)
        assert max(float(schedule(step)) for step in range(settled + 1)) == pytest.approx(1.0)
    monitor, dead = CollapseMonitor(config), figures(config, global_nats=0.0)
    assert [bool(monitor.observe(step, dead)) for step in (settled - 1, settled)] == [False, True]


@given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 12), st.integers(1, 6))
def test_a_monitor_that_cannot_name_a_dead_level_says_so_at_the_start(warmup, num_steps, eval_every, patience):
    train = {"num_steps": num_steps, "eval_every": eval_every, "collapse_patience": patience}
    config = replace(TWO, objective={"beta_warmup_steps": warmup}, train=train)
    monitor = CollapseMonitor(config)
    validations = [step for step in range(1, num_steps + 1) if step % eval_every == 0 or step == num_steps]
    assert config.settled_validations == sum(warmup <= step < num_steps for step in validations)
    said = [line for step in validations for line in monitor.observe(step, figures(config, local_nats=0.0))]
    assert bool(said) != bool(monitor.silence)
    if monitor.silence:
        counted = sum(step >= warmup for step in validations)
        assert f"only {counted} come at step {warmup} or later" in monitor.silence


def test_a_damaged_validation_in_the_metrics_is_named():
    with pytest.raises(UserError, match=r"the validation of step 3 in metrics\.jsonl is damaged"):
        CollapseMonitor(CONFIG, [{"step": 3, "validation.nll": 1.0}])
