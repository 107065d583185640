"""Ablations by name: which variants of a config are trained, from which seeds, and what the table shows.

A row counts as long as its recipe is the same: a change of a config here asks for new runs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from configs import DEBUG, FOLK_PLAIN
from configs.ar_vae import make_ar_vae
from configs.dmelodies import make_dmelodies
from configs.priors import make_priors
from musicvae_jax.config import Config, LevelConfig, LevelsConfig
from musicvae_jax.evaluation.ablations import Ablation, Column
from musicvae_jax.types import LEVELS


def change(config: Config, levels: LevelsConfig | None = None, **parts: dict[str, Any]) -> Config:
    """A config with other levels and other fields: ``change(config, model={"dim": 64}, train={"num_steps": 9})``."""
    changed: dict[str, Any] = {
        part: dataclasses.replace(getattr(config, part), **fields) for part, fields in parts.items()
    }
    return dataclasses.replace(config, levels=levels or config.levels, **changed)


def three_levels(settings: Mapping[str, dict[str, Any]]) -> LevelsConfig:
    """Three levels with the widths of `folk-plain` and the given settings of each, all else at its default."""
    own = {level: LevelConfig(dim=FOLK_PLAIN.levels[level].dim, **settings[level]) for level in LEVELS}
    return LevelsConfig(global_=own["global"], local=own["local"], fine=own["fine"])


def every_level(**settings: Any) -> LevelsConfig:
    """The same settings at all three levels."""
    return three_levels(dict.fromkeys(LEVELS, settings))


# `folk-plain` for a few hundred steps. The average of the parameters and the controllers settle within that time.
SHORT = change(
    FOLK_PLAIN,
    objective={"controller_min_beta": 0.01},
    train={"num_steps": 600, "eval_every": 300, "ema_decay": 0.98},
)

# `folk-plain` with all its remedies for its levels, and three levels without any. A run takes about three minutes on
# two cores. Without a moving average, because batch normalisation needs the statistics of the parameters themselves.
BEST = change(SHORT, train={"num_steps": 400, "eval_every": 200, "ema_decay": 0.0})
PLAIN = change(BEST, every_level(), model={"level_dropout": 0.0}, objective={"span_weight": 0.0})

# Set point of each level in nats per phrase, as in `folk-plain`, and their sum.
SHARES = {level: FOLK_PLAIN.levels[level].kl_per_phrase for level in LEVELS}
TOTAL = sum(SHARES.values())


def three(kl_per_phrase: float, steps: int = SHORT.train.num_steps) -> Config:
    """Three levels, each with a set point in proportion to its share of the total, in nats per phrase."""
    settings = {
        level: {"kl_per_phrase": kl_per_phrase * share / TOTAL, "span_head": FOLK_PLAIN.levels[level].span_head}
        for level, share in SHARES.items()
    }
    return change(SHORT, three_levels(settings), train={"num_steps": steps, "eval_every": steps // 2})


# Seconds per step of one latent / of three levels, taken in turns in one process, by the context of the decoder. The
# steps are divided by it, so that both train for the same time.
ONE_TIME = {"none": 1.0, "flat": 1.11}


def one(kl_per_phrase: float, context: Literal["none", "flat"], steps: int = SHORT.train.num_steps) -> Config:
    """One latent with the latent dims, the KL and the training time of `three`, and .2 % more parameters.

    Its span is the window, so that every measure has its own linear maps, as in `three`.
    """
    config = three(kl_per_phrase, steps)
    measures = config.data.measures
    dims = sum(level.dim * level.num_latents(measures) for level in config.levels.on.values())
    return change(
        config,
        LevelsConfig(global_=LevelConfig(dim=0), local=LevelConfig(dim=dims, span=measures, span_head=True)),
        model={"context": context, "level_dropout": 0.0},
        objective={"kl_per_phrase": kl_per_phrase},
        train={"num_steps": round(config.train.num_steps / ONE_TIME[context])},
    )


# The nats of each level in a window of eight measures, two phrases, as in `folk-plain`.
BUDGET = {level: 2 * share for level, share in SHARES.items()}


def free_bits(rule: str, **settings: Any) -> LevelsConfig:
    """Three levels with this rule of free bits, which leaves `BUDGET` free in total, in whatever unit it counts."""
    by_level = {}
    for name, level in PLAIN.levels.on.items():
        latents = level.num_latents(PLAIN.data.measures)
        parts = {"per_dim": latents * level.dim, "per_dim_per_example": latents}.get(rule, 1)
        by_level[name] = {"free_bits": rule, "nats": BUDGET[name] / parts, **settings}
    return three_levels(by_level)


def _listed(nats: dict[str, float]) -> str:
    *first, last = (f"{value:g}" for value in nats.values())
    return f"{', '.join(first)} and {last}"


_MUSIC = (
    Column("nll", "nll", ".1f"),
    Column("onset_f1", "onset F1"),
    Column("onset_f1_sampled", "sampled"),
    Column("accuracy_free_running", "free-running accuracy"),
    Column("perplexity", "perplexity", ".2f"),
    Column("onset_perplexity", "onset perplexity", ".2f"),
    Column("perplexity_elbo", "ELBO perplexity", ".2f"),
    Column("kl_per_phrase", "KL per phrase", ".1f"),
)
_FLOW = (
    Column("flow.decoded.global.r2_within_metre.window.value", "R2 window, global"),
    Column("flow.decoded.local.r2_within_metre.phrase.value", "R2 phrase, + local"),
    Column("flow.decoded.fine.r2_within_metre.measure.value", "R2 measure, all"),
)
_RATES = tuple(Column(f"levels.{level}.kl", f"KL {level}", ".1f") for level in LEVELS)
_USE = tuple(
    Column(f"levels.{level}.active_{rule}", f"active {level} ({rule})", ".2f") for level in LEVELS for rule in "ab"
)

RATES = (10, 20, 40)
LEVELS_OR_ONE = Ablation(
    text=(
        "Three latent levels against one latent. Equal are the parameters, the latent dims per window, the training "
        "time and the total KL: a controller holds 10, 20 or 40 nats per phrase. All have span heads (of the two upper "
        "levels, or of the one latent), tokens hidden from the past as in `folk-plain` (`token_dropout` .3), and "
        "linear maps of their own for each slot of a measure and each measure of a span (`slotwise`). `one-none` "
        "decodes each measure from the latent alone, like the three levels; `one-flat` sees the whole past of the "
        "window."
    ),
    variants={
        **{f"three-{nats}": three(nats) for nats in RATES},
        **{f"one-none-{nats}": one(nats, "none") for nats in RATES},
        **{f"one-flat-{nats}": one(nats, "flat") for nats in RATES},
    },
    seeds=(0, 1, 2),
    columns=(*_MUSIC, *_RATES),
    flow_windows=0,
)

# About 40 minutes on two cores.
_LONG = 4800
LEVELS_LONG = Ablation(
    text=(
        "The pair of `levels` at 20 nats per phrase, three levels against one latent whose decoder sees the whole past "
        "of the window, trained for eight times as long."
    ),
    variants={"three-20": three(20, _LONG), "one-flat-20": one(20, "flat", _LONG)},
    seeds=(0,),
    columns=(*_MUSIC, *_RATES),
    flow_windows=0,
)

COLLAPSE = Ablation(
    text=(
        "Remedies for posterior collapse, one at a time, on three levels trained on the ELBO. All kinds of free bits "
        f"leave the same KL free: {_listed(BUDGET)} nats per window at the global, local and fine level. `best` holds "
        "the same KL with controllers, and has the level dropout, span heads and free bits per dim of `folk-plain`."
    ),
    variants={
        "none": PLAIN,
        "free-bits-total": change(PLAIN, free_bits("total")),
        "free-bits-per-dim": change(PLAIN, free_bits("per_dim")),
        "free-bits-per-dim-per-example": change(PLAIN, free_bits("per_dim_per_example")),
        "free-bits-capacity": change(PLAIN, free_bits("capacity")),
        "batch-norm": change(PLAIN, every_level(batch_norm=0.6)),
        "delta": change(
            PLAIN, three_levels({level: {"base": "ar1", "alpha": 0.7} if level != "global" else {} for level in LEVELS})
        ),
        "ladder": change(PLAIN, model={"inference": "ladder"}),
        "skip": change(PLAIN, model={"skip": True}),
        "cyclical": change(PLAIN, every_level(schedule="cyclical_linear", schedule_steps=400)),
        "best": BEST,
    },
    columns=(*_MUSIC, *_RATES, *_FLOW, *_USE),
    num_examples=446,
)

_HALF = change(PLAIN, objective={"beta": 0.5})
BETA = Ablation(
    text=(
        "The weight of the KL over time, on three levels: constants, a linear warm-up and cycles up to 0.5, a rising "
        f"capacity, and controllers with a set point of {TOTAL:g} nats per phrase, for the total or for each level "
        f"({_listed(SHARES)})."
    ),
    variants={
        **{f"constant-{beta}": change(PLAIN, objective={"beta": beta}) for beta in (0.2, 0.5, 1.0)},
        "linear": change(_HALF, objective={"beta_warmup_steps": 200}),
        **{
            f"cyclical-{rise}": change(_HALF, every_level(schedule=f"cyclical_{rise}", schedule_steps=400))
            for rise in ("linear", "cosine", "sigmoid")
        },
        "capacity": change(PLAIN, free_bits("capacity", capacity_steps=200)),
        "controller-total": change(PLAIN, objective={"kl_per_phrase": TOTAL}),
        "controller-per-level": change(
            PLAIN, three_levels({level: {"kl_per_phrase": share} for level, share in SHARES.items()})
        ),
    },
    columns=(*_MUSIC, *_RATES, *_FLOW, *_USE),
    num_examples=446,
)

# Dims that follow one attribute of each group, at every level. Groups: rhythm, pitch, harmony, (no) dynamics, style.
_SIZES = {"global": (8, 8, 8, 0, 8), "local": (8, 8, 8, 0, 8), "fine": (6, 6, 4, 0, 0)}


def named(**objective: Any) -> Config:
    """`SHORT` with groups; with dims that follow attributes, and with group heads, where the objective has a weight."""
    attributes = ("primary",) if objective.get("attribute_weight") else ()
    heads = "group_head_weight" in objective
    own = {
        level: dataclasses.replace(
            SHORT.levels[level],
            groups=sizes,
            attributes=attributes,
            group_heads=heads,
            style_classes=13 if heads and level == "global" else 0,  # the data set has as many styles
        )
        for level, sizes in _SIZES.items()
    }
    levels = LevelsConfig(global_=own["global"], local=own["local"], fine=own["fine"])
    return change(SHORT, levels, data={"attributes": bool(attributes)}, objective=objective)


_GROUPS = (
    *(Column(f"flow.groups.{level}.mig", f"MIG {level}") for level in LEVELS),
    *(
        Column(f"flow.control.{level}.{attribute}.changes.{attribute}", f"{level}, + {attribute}", ".1f")
        for level in LEVELS
        for attribute in ("note_density", "mean_pitch", "pitch_class_entropy")
    ),
)
NAMED_GROUPS = Ablation(
    text=(
        "Dims that follow attributes: one of rhythm (`note_density`), one of pitch (`mean_pitch`) and one of harmony "
        "(`pitch_class_entropy`) at every level of `folk-plain`, over the level's span. `sign` and `rank` are the "
        "rules, `z` and `e` the targets, and the number is the weight. The last four are `sign-z-1` with one more "
        "term. `fine, + mean_pitch` is what moving the dim from its 5th to its 95th percentile changes in decoded "
        "music, in standard deviations over the data; for a normal dim that controls its attribute it would be 3.3."
    ),
    variants={
        "none": named(),
        "sign-z-1": named(attribute_weight=1.0),
        "sign-z-5": named(attribute_weight=5.0),
        "sign-e-5": named(attribute_weight=5.0, attribute_target="e"),
        "rank-z-1": named(attribute_weight=1.0, attribute_rule="rank"),
        "rank-z-5": named(attribute_weight=5.0, attribute_rule="rank"),
        "rank-e-5": named(attribute_weight=5.0, attribute_rule="rank", attribute_target="e"),
        "control": named(attribute_weight=1.0, control_weight=5.0),
        "leakage": named(attribute_weight=1.0, leakage_weight=5.0),
        "orthogonality": named(attribute_weight=1.0, orthogonality_weight=1.0),
        "supervision": named(attribute_weight=1.0, group_head_weight=1.0),
    },
    seeds=(0, 1),
    columns=(*_MUSIC, *_RATES, *_GROUPS),
)

_SHORT = change(DEBUG, train={"num_steps": 20})
SMALL = Ablation(
    text="A minute on two cores: shows that everything runs, and compares next to nothing.",
    variants={
        "one-level": _SHORT,
        "two-levels": change(
            _SHORT, dataclasses.replace(_SHORT.levels, fine=LevelConfig(dim=8)), model={"context": "none"}
        ),
    },
    seeds=(0,),
    columns=_MUSIC,
    num_examples=64,
    flow_windows=16,
)

ABLATIONS = {
    "levels": LEVELS_OR_ONE,
    "levels-long": LEVELS_LONG,
    "collapse": COLLAPSE,
    "beta": BETA,
    "groups": NAMED_GROUPS,
    "ar-vae": make_ar_vae(change, SHORT),
    "dmelodies": make_dmelodies(change, SHORT),
    "priors": make_priors(change, SHORT),
    "debug": SMALL,
}
