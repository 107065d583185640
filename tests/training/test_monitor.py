"""When the monitor speaks, what it says, and that it speaks the same after a resume."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.config import Config, LevelObjective, ObjectiveConfig
from musicvae_jax.models.groups import group_layout
from musicvae_jax.objectives.schedules import level_schedule
from musicvae_jax.training.monitor import VALIDATION, CollapseError, CollapseMonitor
from tests.tiny import CONFIG, replace

TWO = replace(CONFIG, model={"global_dim": 10, "local_dim": 4}, train={"collapse_nats": 1.0, "collapse_patience": 2})


def figures(config: Config = TWO, **changes: float) -> dict[str, float]:
    """A validation in which everything lives, but for the changes."""
    result: dict[str, float] = {}
    for level in config.model.widths:
        result[f"kl_{level}"] = 5.0
        result |= {f"active_units_b_{level}_{group}": 0.5 for group in group_layout(config.model, level)}
    assert set(changes) <= set(result)
    return result | changes


def test_a_dead_level_is_named_once_after_so_many_in_a_row():
    monitor = CollapseMonitor(TWO)
    assert monitor.observe(100, figures(kl_local=0.123)) == []
    assert monitor.observe(200, figures(kl_local=0.123)) == [
        "collapse: level 'local' carries 0.12 nats a window at step 200 (allowed: 1.0 and more); see docs/levels.md"
    ]
    assert monitor.observe(300, figures(kl_local=0.1)) == []
    assert monitor.observe(400, figures()) == ["level 'local' lives again at step 400"]
    assert monitor.observe(500, figures(kl_local=0.1)) == []
    (again,) = monitor.observe(600, figures(kl_local=0.1))
    assert "at step 600" in again


def test_a_group_without_an_active_dim_is_named_unless_its_level_is_dead():
    monitor = CollapseMonitor(replace(TWO, train={"collapse_patience": 1}))
    (line,) = monitor.observe(1, figures(active_units_b_global_pitch=0.0))
    assert "group 'global/pitch' has no active dim at step 1 (allowed: 1 and more)" in line
    died, lives = monitor.observe(2, figures(active_units_b_global_pitch=0.0, kl_global=0.5))
    assert "level 'global'" in died
    assert lives == "group 'global/pitch' lives again at step 2"


@given(st.lists(st.sampled_from([0.5, 1.0, 5.0]), max_size=12), st.integers(1, 4))
def test_dead_is_as_many_in_a_row_as_patience(nats, patience):
    monitor = CollapseMonitor(replace(TWO, train={"collapse_patience": patience}))
    for number, kl in enumerate(nats):
        monitor.observe(number, figures(kl_global=kl))
        recent = nats[max(number + 1 - patience, 0) : number + 1]
        assert ("level 'global'" in monitor.dead) == (len(recent) == patience and max(recent) < 1.0)


@given(st.lists(st.sampled_from([0.5, 5.0]), max_size=8), st.integers(0, 8))
def test_a_resumed_run_goes_on_as_if_nothing_was(nats, cut):
    straight, lines = CollapseMonitor(TWO), []
    for number, kl in enumerate(nats):
        lines.append(straight.observe(number, figures(kl_local=kl)))
    rows = [{"step": number, "loss": 1.0} for number in range(9)]  # of training: they say nothing
    rows += [
        {"step": number, **{f"{VALIDATION}{name}": value for name, value in figures(kl_local=kl).items()}}
        for number, kl in enumerate(nats[:cut])
    ]
    resumed = CollapseMonitor(TWO, rows)
    assert [resumed.observe(n, figures(kl_local=kl)) for n, kl in list(enumerate(nats))[cut:]] == lines[cut:]
    assert resumed.dead == straight.dead


def test_a_run_is_stopped_only_if_that_was_asked_for():
    for on_collapse in ("warn", "stop"):
        monitor = CollapseMonitor(replace(TWO, train={"on_collapse": on_collapse, "eval_every": 1}))
        for step in (1, 2):
            monitor.check(step)
            assert not monitor.stops
            monitor.observe(step, figures(kl_local=0.0))
        if on_collapse == "warn":
            monitor.check(2)
            continue
        with pytest.raises(CollapseError, match=r"level 'local' carries 0\.00 nats .* The run stops at step 2"):
            monitor.check(2)


@pytest.mark.parametrize(
    ("settings", "settled"),
    [
        ({}, 0),
        ({"beta_warmup_steps": 100}, 100),
        ({"fine_level": LevelObjective(schedule="linear", schedule_steps=80)}, 80),
        ({"local_level": LevelObjective(schedule="cyclical_cosine", schedule_steps=800, cycles=4, ramp=0.5)}, 100),
        ({"beta_warmup_steps": 50, "global_level": LevelObjective(schedule="linear", schedule_steps=200)}, 200),
        ({"local_level": LevelObjective(free_bits="capacity", nats=3.0, capacity_steps=70)}, 70),
        ({"kl_balance_steps": 60}, 60),
    ],
)
def test_nothing_counts_before_the_weights_have_risen(settings, settled):
    objective = ObjectiveConfig(**settings)
    assert objective.settled_step == settled
    for level in ("global", "local", "fine"):  # by then every schedule has been at its top
        schedule = level_schedule(objective, level)
        assert max(float(schedule(step)) for step in range(settled + 1)) == pytest.approx(1.0)
    config = replace(
        CONFIG,
        model={"global_dim": 4, "local_dim": 4, "fine_dim": 4},
        train={"collapse_patience": 1, "num_steps": 800},
    )
    monitor = CollapseMonitor(replace(config, objective=settings))
    dead = figures(config, kl_global=0.0)
    assert [bool(monitor.observe(step, dead)) for step in (settled - 1, settled)] == [False, True]


@given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 12), st.integers(1, 6))
def test_it_says_at_the_start_that_it_will_say_nothing_and_only_then(warmup, num_steps, eval_every, patience):
    """The monitor of a run in which a level is dead from the first step to the last names it, or has said it cannot."""
    train = {"num_steps": num_steps, "eval_every": eval_every, "collapse_patience": patience}
    config = replace(TWO, objective={"beta_warmup_steps": warmup}, train=train)
    monitor = CollapseMonitor(config)
    validations = [step for step in range(1, num_steps + 1) if step % eval_every == 0 or step == num_steps]
    stopping = [step for step in validations if warmup <= step < num_steps]
    assert config.settled_validations == len(stopping)
    said = [line for step in validations for line in monitor.observe(step, figures(config, kl_local=0.0))]
    assert bool(said) != bool(monitor.silence)
    if monitor.silence:
        counted = sum(step >= warmup for step in validations)
        assert f"validations only {counted} come at step {warmup} or later" in monitor.silence
