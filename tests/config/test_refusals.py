"""What means nothing, alone or beside another part of the config, is refused by its value; what just fits is not."""

import dataclasses

import pytest

from musicvae_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    LevelObjective,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
)
from tests.models.variants import THREE

REFUSED = [
    ({"global_dim": 0, "local_dim": 0, "fine_dim": 0}, "are all 0: allowed is one level or more"),
    ({"local_dim": -1}, r"local_dim = -1: allowed is 0 or more"),
    ({"local_span": 0}, r"local_span = 0: allowed is a number above 0"),
    ({"fine_span": 0}, r"fine_span = 0: allowed"),
    ({"fine_span": 3, "local_span": 2}, r"fine_span = 3: allowed is at most local_span = 2"),
    ({"global_groups": (2, 2, 2)}, r"global_groups = \(2, 2, 2\): allowed is nothing, or five sizes .* 6"),
    ({"global_groups": (2, 2, 2, 2, -2)}, r"global_groups = \(2, 2, 2, 2, -2\)"),
    ({"fine_groups": (1, 1, 1, 1, 1)}, r"fine_groups = \(1, 1, 1, 1, 1\): .* 3"),
    ({"fine_dim": 0, "fine_groups": (1, 1, 1, 0, 0)}, r"fine_groups = .* add up to 0"),
    ({"delta_levels": ("global",)}, r"delta_levels = \('global',\): allowed is local, fine"),
    (
        {"delta_levels": ("fine", "fine")},
        r"delta_levels = \('fine', 'fine'\): allowed is some of the levels that are on",
    ),
    ({"fine_dim": 0, "delta_levels": ("fine",)}, r"delta_levels = \('fine',\): .*: global, local"),
    ({"fine_dim": 0, "batch_norm_levels": ("fine",)}, r"batch_norm_levels = \('fine',\): .*: global, local"),
    ({"fine_dim": 0, "span_heads": ("fine",)}, r"span_heads = \('fine',\): .*: global, local"),
    ({"delta_levels": ("fine",), "delta_alpha": 0.0}, r"delta_alpha = 0.0: allowed is above 0"),
    ({"delta_alpha": 1.0}, r"delta_alpha = 1.0: allowed is 0 <= value < 1"),
    ({"batch_norm_gamma": -0.1}, r"batch_norm_gamma = -0.1"),
    ({"level_dropout": 1.0}, r"level_dropout = 1.0"),
    ({"local_dim": 0, "fine_dim": 0, "level_dropout": 0.1}, r"level_dropout = 0.1: allowed is 0 with one level"),
    (
        {"level_dropout": 0.1, "batch_norm_levels": ("global", "fine")},
        r"batch_norm_levels does not go .*level_dropout = 0.1, .*only the windows that keep it count",
    ),
    ({"skip_dropout": -0.1}, r"skip_dropout = -0.1"),
    ({"num_heads": 3}, r"dim = 16: allowed is a multiple of 2 x num_heads = 6"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_what_means_nothing_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(THREE, **options)


EXPERIMENTS = [
    (
        {"model": ModelConfig(), "objective": {"fine_level": LevelObjective(beta=2.0)}},
        r"fine_level = .*the level is off",
    ),
    (
        {"train": {"on_collapse": "stop", "num_steps": 400, "eval_every": 200}},
        r"collapse_patience = 2: allowed is at most 1 with on_collapse = 'stop'",
    ),
    (  # of 100, 200, ... 1,000 the weights have risen at 900 and 1,000, and the last stops nothing
        {
            "objective": {"beta_warmup_steps": 801},
            "train": {"on_collapse": "stop", "num_steps": 1000, "eval_every": 100},
        },
        r"collapse_patience = 2: allowed is at most 1 .* from step 801 on, where the weights have risen",
    ),
    (
        {"objective": {"kl_balance_steps": 5000}, "train": {"on_collapse": "stop", "collapse_patience": 1}},
        r"collapse_patience = 1: allowed is at most 0 .* from step 5000 on",
    ),
    (
        {"objective": {"fine_level": LevelObjective(schedule="cyclical_linear", schedule_steps=2001)}},
        r"fine_level\.schedule_steps = 2001: allowed is at most TrainConfig\.num_steps = 2000",
    ),
    (
        {
            "model": ModelConfig(local_dim=4),
            "objective": {"kl_per_phrase": 9.0, "local_level": LevelObjective(beta=0.0)},
        },
        r"kl_per_phrase = 9\.0: beta is 0 at local, whose KL no weight holds",
    ),
    (
        {
            "objective": {"local_level": LevelObjective(kl_per_phrase=0.9)},
            "train": {"on_collapse": "stop", "num_steps": 4000},
        },
        r"local_level\.kl_per_phrase = 0\.9: allowed is 0, or 1 and more with on_collapse = 'stop'",
    ),
    (
        {"model": ModelConfig(local_dim=4, prior_context="causal")},
        r"prior_context = 'causal': allowed is 'independent' where no level below global has two latents: .* = 3",
    ),
    ({"model": THREE, "objective": {"span_weight": 0.1}}, r"span_weight = 0.1 and ModelConfig.span_heads = \(\)"),
    ({"model": dataclasses.replace(THREE, span_heads=("fine",))}, r"span_weight = 0.0 and .* \('fine',\)"),
    (
        {
            "model": dataclasses.replace(THREE, batch_norm_levels=("fine",)),
            "train": {"batch_size": 4, "accumulate": 4},
        },
        r"batch_norm_levels = \('fine',\): allowed is none with one window a batch: .*batch_size / accumulate = 1",
    ),
    (
        {"model": dataclasses.replace(THREE, delta_levels=("local",), local_span=3)},
        r"delta_levels = \('local',\): .*local_span = 3 with DataConfig.measures = 3",
    ),
]


@pytest.mark.parametrize(("parts", "message"), EXPERIMENTS, ids=[message for _, message in EXPERIMENTS])
def test_parts_that_disagree_are_refused(parts, message):
    objective, train = ObjectiveConfig(**parts.get("objective", {})), TrainConfig(**parts.get("train", {}))
    with pytest.raises(ConfigError, match=message):
        Config(data=DataConfig(measures=3), model=parts.get("model", THREE), objective=objective, train=train)


def test_what_just_fits_into_a_run_is_accepted():
    rising, little = LevelObjective(schedule="linear", schedule_steps=1000), LevelObjective(beta=1e-3)
    Config(
        model=THREE,
        objective=ObjectiveConfig(kl_per_phrase=9.0, global_level=little, local_level=little, fine_level=rising),
        train=TrainConfig(num_steps=1000, eval_every=250),
    )
    Config(data=DataConfig(measures=5), model=ModelConfig(local_dim=4, prior_context="causal"))
    held = ObjectiveConfig(local_level=LevelObjective(kl_per_phrase=0.5))
    Config(data=DataConfig(measures=8), model=THREE, objective=held, train=TrainConfig(on_collapse="stop"))
    early = ObjectiveConfig(beta_warmup_steps=800)
    Config(objective=early, train=TrainConfig(on_collapse="stop", num_steps=1000, eval_every=100))
