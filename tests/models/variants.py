"""Small configs of every kind of model: the subsets of levels, and each option on three levels."""

import itertools
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from musicvae_jax.config import Config, LevelConfig
from musicvae_jax.types import LEVELS
from tests.tiny import CONFIG, MODEL, replace

WIDTHS = {"global": 6, "local": 4, "fine": 3}
DEEP = replace(CONFIG, model=vars(MODEL), **{"global": {"dim": 6}}, local={"dim": 4, "span": 2}, fine={"dim": 3})
# For laws of the latents, where compiling the layers around them is what costs.
SHALLOW_LAYERS = {"encoder_slot_layers": 0, "encoder_measure_layers": 0, "conductor_layers": 0, "decoder_layers": 1}
THREE = replace(DEEP, model=SHALLOW_LAYERS)


def each(levels: Iterable[str] = LEVELS, **fields: Any) -> dict[str, dict[str, Any]]:
    """The same fields for several levels: ``replace(THREE, **each(("local", "fine"), base="ar1"))``."""
    return {level: dict(fields) for level in levels}


def off(levels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What turns levels off."""
    return each(levels, dim=0)


SUBSETS = {
    "+".join(levels): replace(THREE, **off(set(LEVELS) - set(levels)))
    for number in (1, 2, 3)
    for levels in itertools.combinations(LEVELS, number)
}
_LOWER = ("local", "fine")
_CAUSAL = each(_LOWER, prior_context="causal")
_LEARNED: dict[str, dict[str, Any]] = {
    "local": {"base": "mixture", "modes": 3, "kl_estimate": "draw"},
    "fine": {"base": "flow", "flow_layers": 2, "kl_estimate": "draw"},
}


def _options(table: dict[str, dict]) -> dict[str, Config]:
    return {name: replace(THREE, **options) for name, options in table.items()}


# What changes the latents, and what changes the rest of the model.
OF_LATENTS = SUBSETS | _options(
    {
        "causal": _CAUSAL,
        "causal, no global": _CAUSAL | off(("global",)),
        "ladder": {"model": {"inference": "ladder"}},
        "ladder, causal": {"model": {"inference": "ladder"}} | _CAUSAL,
        "ar1": each(_LOWER, base="ar1", alpha=0.7),
        "batch norm": each(batch_norm=0.8),
        "ar1, batch norm": each(("global", "local"), batch_norm=0.8) | {"fine": {"base": "ar1", "alpha": 0.7}},
        "draw": each(kl_estimate="draw"),
        "learned": _LEARNED,
        "memory": {level: own | {"memory_layers": 1} for level, own in _LEARNED.items()},
        "metre context": {
            "global": {"base": "flow", "flow_layers": 2, "kl_estimate": "draw", "metre_context": True},
        },
        "conditions": {"model": {"conditions": ("key", "tempo")}},
        "spans, slotwise": {
            "local": {"span": 3}, "fine": {"span": 2}, "model": {"prior_layers": 0, "slotwise": True},
        },
        "span longer than the window, slotwise": {"local": {"span": 8}, "model": {"slotwise": True}},
    }
)  # fmt: skip
OF_MUSIC = _options(
    {
        "flat, span heads": {
            **each(span_head=True), "model": {"level_dropout": 0.5}, "objective": {"span_weight": 0.1},
        },
        "previous, skip": {"model": {"context": "previous", "skip": True}},
        "none, slotwise, deep": {
            "model": {"context": "none", "slotwise": True}
            | {f"{part}_layers": 1 for part in ("encoder_slot", "encoder_measure", "conductor")}
        },
    }
)  # fmt: skip


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
        method=lambda module, *args, **arguments: module.stack.infer(*args, **arguments),
        rngs=dict(zip(("latent", "level_dropout"), jax.random.split(jax.random.key(seed)), strict=True)),
        **settings,
    )


def make_features(config: Config, size: int = 8, measures: int = 3, scale: float = 1.0, seed: int = 1):
    """Random features, as an encoder gives them to the levels."""
    return _draw(config, dict.fromkeys(config.levels.on, config.model.dim), size, measures, scale, seed)


def make_latents(config: Config, size: int = 8, measures: int = 3, scale: float = 2.0, seed: int = 0):
    """Random latents, as the levels give them to the decoder."""
    return _draw(config, {name: level.dim for name, level in config.levels.on.items()}, size, measures, scale, seed)


def _draw(config: Config, widths: dict[str, int], size: int, measures: int, scale: float, seed: int):
    rng = np.random.default_rng(seed)
    shapes = {name: (size, config.levels[name].num_latents(measures), width) for name, width in widths.items()}
    return {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def presence(config: Config, metre: np.ndarray) -> dict[str, np.ndarray]:
    """level -> bool[batch, time]: a latent is present if one of the measures that it spans is."""
    there, measures = metre[..., 0] > 0, metre.shape[-2]
    spans = {name: level.span or measures for name, level in config.levels.on.items()}
    return {
        name: np.stack([there[..., start : start + span].any(-1) for start in range(0, measures, span)], -1)
        for name, span in spans.items()
    }


def covariance(level: LevelConfig, num: int) -> np.ndarray:
    """Of the first so many latents of a base along time: float64[time, time]."""
    lag = np.abs(np.subtract.outer(np.arange(num), np.arange(num)))
    return np.where(lag == 0, 1.0, level.alpha**lag if level.base == "ar1" else 0.0)
