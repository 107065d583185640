"""The configuration: a tree of frozen dataclasses that is validated when it is built, and is JSON both ways.

An experiment is a value of `Config`, a variant of it ``dataclasses.replace``. An error quotes the value and says what
is allowed. What needs a model or a machine to check (`objectives.controller.check_set_points`, `training.parallel`) is
checked before a training makes its folder.
"""

from musicvae_jax.config.checks import ConfigError, UserError, check_seed, nearest
from musicvae_jax.config.data import CodecConfig, DataConfig
from musicvae_jax.config.experiment import Config
from musicvae_jax.config.json_form import differences, flat, from_json, to_json
from musicvae_jax.config.levels import LevelConfig, LevelsConfig
from musicvae_jax.config.model import ModelConfig
from musicvae_jax.config.objective import ObjectiveConfig
from musicvae_jax.config.prior import PriorConfig
from musicvae_jax.config.train import TrainConfig

__all__ = [
    "CodecConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "LevelConfig",
    "LevelsConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "PriorConfig",
    "TrainConfig",
    "UserError",
    "check_seed",
    "differences",
    "flat",
    "from_json",
    "nearest",
    "to_json",
]
