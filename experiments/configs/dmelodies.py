"""dMelodies (Pati et al. 2020): which methods find the nine factors that generated two measures."""

from collections.abc import Callable
from typing import Any

from musicvae_jax.codec.attributes.dmelodies import FACTORS
from musicvae_jax.config import Config, LevelConfig, LevelsConfig


def melodies(change: Callable[..., Config], short: Config, level: dict[str, Any], **objective: Any) -> Config:
    """A VAE of two measures with one latent of 32 dims, and half of the past hidden from its decoder."""
    supervised = bool(objective.get("attribute_weight"))
    names = tuple(f"dmelodies_{name}" for name in FACTORS) if supervised else ()
    local = LevelConfig(dim=32, span=2, groups=(8, 12, 12, 0, 0), attributes=names, **level)
    return change(
        short,
        LevelsConfig(global_=LevelConfig(), local=local),
        codec={"subdivisions": ("0", "1/2"), "slots": 8},
        data={"dataset": "dmelodies", "measures": 2, "hop": 2, "attributes": supervised},
        model={
            "dim": 64,
            "num_heads": 4,
            "encoder_slot_layers": 1,
            "encoder_measure_layers": 1,
            "conductor_layers": 0,
            "decoder_layers": 2,
            "level_dropout": 0.0,
            "token_dropout": 0.5,
        },
        objective={"span_weight": 0.0, "control_weight": 0.0, **objective},
        train={"num_steps": 4000, "eval_every": 1000, "batch_size": 128, "ema_decay": 0.99},
    )
