"""Which settings do not go together, as data: `check_rules` refuses them, and docs/levels.md shows them as a table.

``python -m musicvae_jax.config.rules`` prints that table.
"""

from collections.abc import Iterator

from musicvae_jax.config.checks import ConfigError
from musicvae_jax.config.levels import LevelConfig
from musicvae_jax.config.rule import Parts, Places, Rule, of_level, once, value_at, weighed
from musicvae_jax.types import LEVELS, MEASURES_PER_PHRASE, NOMINAL


def _settings_of_levels_off(config: Parts) -> Iterator[Places]:
    for name in LEVELS:
        level, default = config.levels[name], LevelConfig()
        if not level.dim:
            changed = [
                field for field in vars(default) if field != "span" and getattr(level, field) != getattr(default, field)
            ]
            if changed:
                yield (f"levels.{name}.dim", *(f"levels.{name}.{field}" for field in changed))


def _spans_out_of_order(config: Parts) -> Iterator[Places]:
    levels = config.levels
    if levels.local.dim and levels.fine.dim and levels.fine.span > levels.local.span:
        yield ("levels.fine.span", "levels.local.span")


def _is_single(config: Parts, level: LevelConfig) -> bool:
    return level.num_latents(config.data.measures) == 1


def _hears_metres(config: Parts, level: LevelConfig) -> bool:
    """Whether the prior of a level knows the metres without ``metre_context``."""
    reads_earlier = level.is_causal or level.memory_layers > 0
    return level is not config.levels[config.levels.top] or (reads_earlier and not config.model.conditions)


def _is_steered(config: Parts, level: LevelConfig) -> bool:
    """Whether a controller moves the weight of a level."""
    return bool(level.kl_per_phrase or config.objective.kl_per_phrase)


def _has_set_point(config: Parts) -> bool:
    return any(_is_steered(config, level) for level in config.levels.on.values())


def _dies_at(config: Parts, kl_per_phrase: float) -> bool:
    train, phrases = config.train, -(-config.data.measures // MEASURES_PER_PHRASE)
    return train.on_collapse == "stop" and 0 < kl_per_phrase * phrases < train.collapse_nats


_SET_POINT = ("levels.*.kl_per_phrase", "objective.kl_per_phrase")

RULES = (
    Rule(
        "dim = 0 at every level", "skip, a total set point", "a language model has no encoder and no KL",
        once(lambda c: not c.levels.on and (c.model.skip or c.objective.kl_per_phrase),
              "model.skip", "objective.kl_per_phrase"),
    ),
    Rule("dim = 0", "other settings of the level", "the level is off", _settings_of_levels_off),
    Rule("fine.span", "a local.span below it", "levels go from coarse to fine", _spans_out_of_order),
    Rule(
        "base = ar1", "inference = ladder", "a product with the prior can have a KL of 0, below the floor",
        of_level(lambda c, level: level.base == "ar1" and c.model.inference == "ladder",
               "levels.*.base", "model.inference"),
    ),
    Rule(
        "base = ar1", "prior_context = causal", "the AR(1) process is the only memory along time",
        of_level(lambda _, level: level.base == "ar1" and level.is_causal, "levels.*.base", "levels.*.prior_context"),
    ),
    Rule(
        "base = ar1", "one latent in a window", "a process needs two latents, so it is never for global",
        of_level(lambda c, level: level.base == "ar1" and _is_single(c, level),
               "levels.*.base", "levels.*.span", "data.measures"),
    ),
    Rule(
        "base = ar1", "batch_norm", "the floor of batch norm needs a prior without memory",
        of_level(lambda _, level: level.base == "ar1" and level.batch_norm, "levels.*.base", "levels.*.batch_norm"),
    ),
    Rule(
        "batch_norm", "inference = ladder", "a product with the prior can have a KL of 0, below the floor",
        of_level(lambda c, level: level.batch_norm and c.model.inference == "ladder",
               "levels.*.batch_norm", "model.inference"),
    ),
    Rule(
        "batch_norm", "prior_context = causal", "batch norm needs the prior of all latents at once",
        of_level(lambda _, level: level.batch_norm and level.is_causal,
                 "levels.*.batch_norm", "levels.*.prior_context"),
    ),
    Rule(
        "batch_norm below the top level", "level_dropout", "a batch may have no window that keeps the level",
        of_level(lambda c, level: level.batch_norm and c.model.level_dropout,
               "levels.*.batch_norm", "model.level_dropout", below_top=True),
    ),
    Rule(
        "batch_norm", "one window in a microbatch", "one window has no variance",
        of_level(lambda c, level: level.batch_norm and c.train.batch_size // c.train.accumulate < 2,
               "levels.*.batch_norm", "train.batch_size", "train.accumulate"),
    ),
    Rule(
        "prior_context = causal", "one latent in a window", "there is no earlier latent, so it is never for global",
        of_level(lambda c, level: level.is_causal and _is_single(c, level),
               "levels.*.prior_context", "levels.*.span", "data.measures"),
    ),
    Rule(
        "kl_estimate = draw", "free_bits = per_dim, per_dim_per_example", "a draw gives no KL by dim",
        of_level(lambda _, level: level.kl_estimate == "draw" and level.free_bits.startswith("per_dim"),
               "levels.*.kl_estimate", "levels.*.free_bits"),
    ),
    Rule(
        "kl_estimate = draw", "free_bits = total, capacity", "the charge of one draw of the KL is biased",
        of_level(lambda _, level: level.kl_estimate == "draw" and level.free_bits in ("total", "capacity"),
               "levels.*.kl_estimate", "levels.*.free_bits"),
    ),
    Rule(
        "base = mixture, flow, vamp", "kl_estimate = exact", "their KL has no closed form",
        of_level(lambda _, level: level.is_learned and level.kl_estimate == "exact",
                 "levels.*.base", "levels.*.kl_estimate"),
    ),
    Rule(
        "base = mixture, flow, vamp", "inference = ladder", "a ladder multiplies Gaussians",
        of_level(lambda c, level: level.is_learned and c.model.inference == "ladder",
                 "levels.*.base", "model.inference"),
    ),
    Rule(
        "base = mixture, flow, vamp", "batch_norm", "its floor is that of a KL from N(0, 1)",
        of_level(lambda _, level: level.is_learned and level.batch_norm, "levels.*.base", "levels.*.batch_norm"),
    ),
    Rule(
        "base = vamp", "a level below the top, prior_context = causal", "its posterior also needs what is above",
        of_level(lambda c, level: level.base == "vamp" and (level is not c.levels[c.levels.top] or level.is_causal),
                 "levels.*.base", "levels.*.prior_context"),
    ),
    Rule(
        "memory_layers, metre_context", "base = normal, ar1, vamp", "these depend on no context",
        of_level(lambda _, own: (own.memory_layers or own.metre_context) and own.base not in ("mixture", "flow"),
                 "levels.*.memory_layers", "levels.*.metre_context", "levels.*.base"),
    ),
    Rule(
        "memory_layers", "one latent in a window", "there is no earlier latent, so it is never for global",
        of_level(lambda c, level: level.memory_layers and _is_single(c, level),
                 "levels.*.memory_layers", "levels.*.span", "data.measures"),
    ),
    Rule(
        "metre_context", "a level below the top; a top one that reads earlier latents, no conditions", "it hears them",
        of_level(lambda c, level: level.metre_context and _hears_metres(c, level),
                 "levels.*.metre_context", "levels.*.memory_layers", "levels.*.prior_context", "model.conditions"),
    ),
    Rule(
        "base = flow", "dim = 1", "one half of the dims changes the other",
        of_level(lambda _, level: level.base == "flow" and level.dim == 1, "levels.*.base", "levels.*.dim"),
    ),
    Rule(
        "posterior = absolute", "inference = ladder", "a ladder is a product with the prior",
        of_level(lambda c, level: level.posterior == "absolute" and c.model.inference == "ladder",
                 "levels.*.posterior", "model.inference"),
    ),
    Rule(
        "posterior = absolute", "batch_norm", "batch norm is of means in the units of the frame",
        of_level(lambda _, level: level.posterior == "absolute" and level.batch_norm,
                 "levels.*.posterior", "levels.*.batch_norm"),
    ),
    Rule(
        "level_dropout", "one level or none", "there is no level below it",
        once(lambda c: c.model.level_dropout and len(c.levels.on) < 2, "model.level_dropout"),
    ),
    *weighed("span_head", "span_weight"),
    Rule(
        "attributes, group_heads", "data.attributes = false", "batches would carry no attributes",
        of_level(lambda c, level: (level.attributes or level.group_heads) and not c.data.attributes,
               "levels.*.attributes", "levels.*.group_heads", "data.attributes"),
    ),
    Rule(
        "conditions", "dim = 0 at every level", "they shape the prior of the top level",
        once(lambda c: c.model.conditions and not c.levels.on, "model.conditions", "levels.global.dim"),
    ),
    Rule(
        "conditions", "base = vamp", "its modes are posteriors of music without conditions",
        of_level(lambda c, level: c.model.conditions and level.base == "vamp", "model.conditions", "levels.*.base"),
    ),
    Rule(
        "conditions with attributes", "data.attributes = false", "the windows' attributes are then not measured",
        once(lambda c: set(c.model.conditions) - {*NOMINAL, "tempo"} and not c.data.attributes,
              "model.conditions", "data.attributes"),
    ),
    Rule(
        "condition_levels", "no conditions", "there is nothing to tell the levels",
        once(lambda c: c.model.condition_levels and not c.model.conditions,
              "model.condition_levels", "model.conditions"),
    ),
    Rule(
        "condition_levels", "one level or none", "there is no level below the top",
        once(lambda c: c.model.condition_levels and len(c.levels.on) < 2, "model.condition_levels"),
    ),
    Rule(
        "condition_decoder", "no conditions", "there is nothing to tell the decoder",
        once(lambda c: c.model.condition_decoder and not c.model.conditions,
              "model.condition_decoder", "model.conditions"),
    ),
    *weighed("attributes", "attribute_weight"),
    Rule(
        "attributes", "one window in a microbatch", "pairs would be within one window",
        of_level(lambda c, level: level.attributes and c.train.batch_size // c.train.accumulate < 2,
               "levels.*.attributes", "train.batch_size", "train.accumulate"),
    ),
    *weighed("group_heads", "group_head_weight"),
    Rule(
        "control_weight", "no attributes that the codec's decoder expects",
        "grid: note_density, mean_pitch, pitch_class_entropy; performance: the last two and mean_velocity",
        once(lambda c: c.objective.control_weight and not set(c.codec.expected)
              & {name for level in c.levels.on.values() for name in level.attributes},
              "objective.control_weight", "codec.name"),
    ),
    Rule(
        "mode_weight", "a top level without a mixture", "there is no Gaussian that could stand for a style",
        once(lambda c: c.objective.mode_weight and not (c.levels.on and c.levels[c.levels.top].base == "mixture"),
              "objective.mode_weight"),
    ),
    Rule(
        "mode_weight", "data.attributes = false", "batches would carry no styles",
        once(lambda c: c.objective.mode_weight and not c.data.attributes, "objective.mode_weight", "data.attributes"),
    ),
    Rule(
        "leakage_weight", "no attributes", "there is nothing that other groups could leak",
        once(lambda c: c.objective.leakage_weight and not any(level.attributes for level in c.levels.on.values()),
              "objective.leakage_weight"),
    ),
    Rule(
        "a term of independence", "one window in a microbatch", "it is over the latents of several windows",
        once(lambda c: c.objective.independence_weights and c.train.batch_size // c.train.accumulate < 2,
              "train.batch_size", "train.accumulate"),
    ),
    Rule(
        "a total set point", "set points of levels", "two controllers would move one weight",
        of_level(lambda c, level: c.objective.kl_per_phrase and level.kl_per_phrase, *_SET_POINT),
    ),
    Rule(
        "a set point", "free_bits = capacity", "a capacity already holds the KL at a number of nats",
        of_level(lambda c, level: _is_steered(c, level) and level.free_bits == "capacity",
               *_SET_POINT, "levels.*.free_bits"),
    ),
    Rule(
        "a set point", "a cyclical schedule", "the controller would fight the cycles",
        of_level(lambda c, level: _is_steered(c, level) and level.is_cyclical, *_SET_POINT, "levels.*.schedule"),
    ),
    Rule(
        "a set point", "beta = 0 of the level", "a weight of 0 moves nothing",
        of_level(lambda c, level: _is_steered(c, level) and not level.beta, *_SET_POINT, "levels.*.beta"),
    ),
    Rule(
        "a set point", "objective.beta = 0", "a weight of 0 moves nothing",
        once(lambda c: _has_set_point(c) and not c.objective.beta, "objective.beta"),
    ),
    Rule(
        "a set point", "controller_integral = 0", "the KL would stay off its set point",
        once(lambda c: _has_set_point(c) and not c.objective.controller_integral, "objective.controller_integral"),
    ),
    Rule(
        "schedule_steps", "a run of fewer steps", "the weight would not reach its value",
        of_level(lambda c, level: level.schedule_steps > c.train.num_steps,
               "levels.*.schedule_steps", "train.num_steps"),
    ),
    Rule(
        "on_collapse = stop", "fewer settled validations than collapse_patience", "nothing could stop the run",
        once(lambda c: c.train.on_collapse == "stop" and c.train.collapse_patience > c.settled_validations,
              "train.on_collapse", "train.collapse_patience", "settled_step", "settled_validations"),
    ),
    Rule(
        "on_collapse = stop", "a set point below collapse_nats per window", "the level would count as dead",
        of_level(lambda c, level: _dies_at(c, level.kl_per_phrase),
               "train.on_collapse", "levels.*.kl_per_phrase", "train.collapse_nats"),
    ),
    Rule(
        "on_collapse = stop", "a total set point below collapse_nats per window", "every level would count as dead",
        once(lambda c: _dies_at(c, c.objective.kl_per_phrase),
              "train.on_collapse", "objective.kl_per_phrase", "train.collapse_nats"),
    ),
)  # fmt: skip


def check_rules(config: Parts) -> None:
    """Raises `ConfigError` for the first rule that a config breaks, with the values of the fields that break it."""
    for rule in RULES:
        for places in rule.broken(config):
            values = ", ".join(f"{place} = {value_at(config, place)!r}" for place in places)
            raise ConfigError(f"{values}: {rule.setting} does not go with {rule.excluded}: {rule.reason}")


def rules_table() -> str:
    """The rules as a Markdown table."""
    rows = [("setting", "does not go with", "why"), ("---", "---", "---")]
    rows += [(f"{rule.setting}", rule.excluded, rule.reason) for rule in RULES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(rules_table())
