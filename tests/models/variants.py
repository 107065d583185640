"""Models of every kind, small enough for every law: the subsets of levels, and each option on three levels."""

import dataclasses
import itertools
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from musicvae_jax.config import ModelConfig
from musicvae_jax.models.spans import present_latents
from musicvae_jax.types import LEVELS
from tests.tiny import MODEL

WIDTHS = {"global": 6, "local": 4, "fine": 3}
DEEP = dataclasses.replace(MODEL, global_dim=6, local_dim=4, fine_dim=3, local_span=2)
# For laws of the latents, where compiling the layers around them is what costs.
THREE = dataclasses.replace(DEEP, encoder_slot_layers=0, encoder_measure_layers=0, conductor_layers=0, decoder_layers=1)


def off(levels: Iterable[str]) -> dict[str, Any]:
    """Fields that turn levels off."""
    return {f"{level}_dim": 0 for level in levels}


SUBSETS = {
    "+".join(levels): dataclasses.replace(THREE, **off(set(LEVELS) - set(levels)))
    for number in (1, 2, 3)
    for levels in itertools.combinations(LEVELS, number)
}


def _options(table: dict[str, dict]) -> dict[str, ModelConfig]:
    return {name: dataclasses.replace(THREE, **options) for name, options in table.items()}


# What changes the latents, and what changes the rest of the model.
OF_LATENTS = SUBSETS | _options(
    {
        "causal": {"prior_context": "causal"},
        "causal, no global": {"prior_context": "causal", "global_dim": 0},
        "ladder": {"inference": "ladder"},
        "ladder, causal": {"inference": "ladder", "prior_context": "causal"},
        "delta": {"delta_levels": ("local", "fine"), "delta_alpha": 0.7},
        "batch norm": {"batch_norm_levels": ("global", "local", "fine"), "batch_norm_gamma": 0.8},
        "delta, batch norm": {
            "delta_levels": ("fine",), "delta_alpha": 0.7, "batch_norm_levels": ("global", "local"),
            "batch_norm_gamma": 0.8,
        },
        "spans, slotwise": {"local_span": 3, "fine_span": 2, "prior_layers": 0, "slotwise": True},
    }
)  # fmt: skip
OF_MUSIC = _options(
    {
        "flat, span heads": {"span_heads": ("global", "local", "fine"), "level_dropout": 0.5},
        "previous, skip": {"context": "previous", "skip": True},
        "none, slotwise, deep": {"context": "none", "slotwise": True}
        | {f"{part}_layers": 1 for part in ("encoder_slot", "encoder_measure", "conductor")},
    }
)


@partial(jax.jit, static_argnums=0)
def apply(vae, variables, batch, seed=1):
    return vae.apply(variables, batch, rngs={"latent": jax.random.key(seed)})


@partial(jax.jit, static_argnums=0, static_argnames=("deterministic", "draw", "batch_axes"))
def infer(vae, variables, features, metre, seed=1, given=None, **settings):
    """A pass down the levels, for features in place of an encoder's."""
    return vae.apply(
        variables,
        features,
        metre,
        given=given,
        method=lambda module, *args, **arguments: module.levels.infer(*args, **arguments),
        rngs=dict(zip(("latent", "level_dropout"), jax.random.split(jax.random.key(seed)), strict=True)),
        **settings,
    )


def make_features(config: ModelConfig, size: int = 8, measures: int = 3, scale: float = 1.0, seed: int = 1):
    """Random features, as an encoder would hand them to the levels."""
    return _draw(config, dict.fromkeys(config.widths, config.dim), size, measures, scale, seed)


def make_latents(config: ModelConfig, size: int = 8, measures: int = 3, scale: float = 2.0, seed: int = 0):
    """Random latents, as the levels would hand them to the decoder."""
    return _draw(config, config.widths, size, measures, scale, seed)


def _draw(config: ModelConfig, widths: dict[str, int], size: int, measures: int, scale: float, seed: int):
    rng = np.random.default_rng(seed)
    shapes = {level: (size, config.num_latents(level, measures), width) for level, width in widths.items()}
    return {level: rng.normal(0, scale, shape).astype(np.float32) for level, shape in shapes.items()}


def presence(config: ModelConfig, metre: np.ndarray) -> dict[str, np.ndarray]:
    """level -> bool[batch, time], the latents that are there."""
    return {level: np.asarray(present_latents(metre, config, level)) for level in config.widths}
