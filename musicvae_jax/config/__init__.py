"""The configuration: a tree of frozen dataclasses, validated when built, JSON both ways.

An experiment is a value of `Config`; a variant of it is ``dataclasses.replace``. What is wrong with it is said here,
when the value is built, and quotes the value and what is allowed; what takes a model or a machine to know
(`objectives.controller.check_set_points`, `training.parallel`) before a training makes its folder.
"""

from musicvae_jax.config.checks import ConfigError, UserError, check_seed, nearest
from musicvae_jax.config.data import CodecConfig, DataConfig
from musicvae_jax.config.experiment import Config
from musicvae_jax.config.json_form import differences, from_json, to_json
from musicvae_jax.config.model import ModelConfig
from musicvae_jax.config.objective import LevelObjective, ObjectiveConfig
from musicvae_jax.config.train import TrainConfig

__all__ = [
    "CodecConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "LevelObjective",
    "ModelConfig",
    "ObjectiveConfig",
    "TrainConfig",
    "UserError",
    "check_seed",
    "differences",
    "from_json",
    "nearest",
    "to_json",
]
