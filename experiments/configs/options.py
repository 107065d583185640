"""One option at a time, on a config without any: what `benchmark.py --options` times."""

import contextlib
import dataclasses
from typing import Any

from configs.ablations import change
from musicvae_jax.config import (
    Config,
    ConfigError,
    LevelConfig,
    LevelsConfig,
    ModelConfig,
    ObjectiveConfig,
    PriorConfig,
)

_KEPT = (
    "dim", "num_heads", "mlp_ratio", "encoder_slot_layers", "encoder_measure_layers", "conductor_layers",
    "decoder_layers", "prior_layers",
)  # fmt: skip

# What is changed: fields of the model, and of every level that is on, or of the levels under the topmost.
_MODEL: dict[str, dict[str, Any]] = {
    "context previous": {"context": "previous"},
    "context flat": {"context": "flat"},
    "intervals": {"intervals": True},
    "slotwise": {"slotwise": True},
    "dropout": {"dropout": 0.1},
    "token dropout": {"token_dropout": 0.3},
    "level dropout": {"level_dropout": 0.2},
    "skip": {"skip": True},
    "ladder": {"inference": "ladder"},
    "scan layers": {"scan_layers": True},
    "remat": {"remat": True},
    "bfloat16": {"dtype": "bfloat16"},
}
_EVERY_LEVEL: dict[str, dict[str, Any]] = {
    "free bits, total": {"free_bits": "total", "nats": 1.0},
    "free bits, per dim": {"free_bits": "per_dim", "nats": 0.1},
    "free bits, per dim and example": {"free_bits": "per_dim_per_example", "nats": 0.1},
    "free bits, capacity": {"free_bits": "capacity", "nats": 1.0},
    "batch norm": {"batch_norm": 0.6},
    "cyclical": {"schedule": "cyclical_cosine", "schedule_steps": 400},
    "controllers": {"kl_per_phrase": 10.0},
    "KL of draws": {"kl_estimate": "draw"},
    "absolute posterior": {"posterior": "absolute"},
    "mixture prior": {"base": "mixture", "kl_estimate": "draw"},
    "affine flow prior": {"base": "flow", "kl_estimate": "draw"},
    "spline flow prior": {"base": "flow", "flow": "spline", "kl_estimate": "draw"},
}
_LOWER_LEVELS: dict[str, dict[str, Any]] = {
    "AR(1) prior": {"base": "ar1"},
    "causal prior": {"prior_context": "causal"},
    "affine flow prior with memory": {"base": "flow", "memory_layers": 1, "kl_estimate": "draw"},
}


def plain(config: Config) -> Config:
    """The same music, layers and latents without any option; each measure is decoded by itself."""
    kept = {name: getattr(config.model, name) for name in _KEPT}
    return dataclasses.replace(
        config,
        model=ModelConfig(**kept, context="none"),
        levels=_levels({name: LevelConfig(dim=on.dim, span=on.span) for name, on in config.levels.on.items()}),
        objective=ObjectiveConfig(),
        prior=PriorConfig(),
    )


def options(config: Config) -> dict[str, Config]:
    """What each option alone makes of `plain`, and at the end the config itself.

    Options that do not fit are left out: a config with one level has no level dropout.
    """
    base = plain(config)
    levels = base.levels
    changes: dict[str, dict[str, Any]] = {name: {"model": fields} for name, fields in _MODEL.items()}
    changes |= {name: {"levels": _each(levels, fields)} for name, fields in _EVERY_LEVEL.items()}
    top = next(iter(levels.on), "")  # none in a language model
    changes |= {name: {"levels": _each(levels, fields, but=top)} for name, fields in _LOWER_LEVELS.items()}
    heads = _each(levels, {"span_head": True}, but="fine")
    changes["span heads"] = {"levels": heads, "objective": {"span_weight": 0.2}}
    built = {"plain": base}
    for name, parts in changes.items():
        with contextlib.suppress(ConfigError):
            built[name] = change(base, **parts)
    changed = {name: made for name, made in built.items() if name == "plain" or made != base}
    return changed | {"all of the config": config}


def _each(levels: LevelsConfig, fields: dict[str, Any], but: str = "") -> LevelsConfig:
    """The levels that are on with these fields, all but one."""
    return _levels(
        {name: level if name == but else dataclasses.replace(level, **fields) for name, level in levels.on.items()}
    )


def _levels(levels: dict[str, LevelConfig]) -> LevelsConfig:
    """Levels by name; those without a name are off."""
    off = LevelConfig()
    return LevelsConfig(global_=levels.get("global", off), local=levels.get("local", off), fine=levels.get("fine", off))
