"""What a model of several levels is aimed at, against what evaluation.json says."""

import itertools
import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from musicvae_jax.types import LEVELS

_OWN_SPAN = {"global": "window", "local": "phrase", "fine": "measure"}
_RELATIONS = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "+-": lambda value, bound: abs(value) < bound,
}


class Target(NamedTuple):
    """One aim."""

    name: str  # of the figure
    value: float
    goal: str
    met: bool


def check_targets(evaluation: Mapping[str, Any]) -> list[Target]:
    """Every aim of a model of several levels, met or not; those of figures that are not there are left out.

    Perplexity and onset perplexity below 5; 10 to 50 nats per phrase; every level at least 1 nat per window, and over
    .9 of its dims active by both rules, of the whole level and of its least active group; what each level adds in the
    top-k test, in the attributes of its own span and in both similarities, above its standard error, and all of them
    above another piece's by more than both standard errors; the KL of a level above its own by more than its standard
    error, when the level above is another piece's; R2 of the windows' attributes from the global code, decoded and read
    off by a straight line, at least .2, of the phrases' from the global and the local ones at least .5; and within .05
    of 0 from the codes of other pieces. R2 of what is decoded is that within windows of the same metres, which the
    decoder is told whatever the code says; a line that knows the metre alone explains about .15 (of folk tunes).
    Nothing is above a standard error that is not known.

    Args:
        evaluation: what evaluation.json holds.
    """
    levels = [level for level in LEVELS if f"kl_{level}" in evaluation]
    aims: list[tuple[str, str, float]] = [
        ("perplexity", "<", 5),
        ("onset_perplexity", "<", 5),
        ("kl_per_phrase", ">=", 10),
        ("kl_per_phrase", "<=", 50),
    ]
    for level in levels:
        aims.append((f"kl_{level}", ">=", 1))
        for rule in "ab":
            whole = f"active_units_{rule}_{level}"
            groups = [name for name in evaluation if name.startswith(f"{whole}_")]
            aims += [(name, ">", 0.9) for name in (whole, *sorted(groups, key=evaluation.__getitem__)[:1])]
    for k, level in enumerate(levels, 1):
        for kind in (f"r2_{_OWN_SPAN[level]}_within_metre", "chroma", "rhythm"):
            name = f"top_{k}_minus_top_{k - 1}_{kind}"
            aims.append((name, ">", evaluation.get(f"{name}_se", math.nan)))
    for kind in (*(f"r2_{_OWN_SPAN[level]}_within_metre" for level in levels), "chroma", "rhythm"):
        own, other = f"top_{len(levels)}_{kind}", f"shuffled_{kind}"
        errors = sum(evaluation.get(f"{figure}_se", math.nan) for figure in (own, other))
        aims.append((own, ">", evaluation.get(other, 0.0) + errors))
    for upper, lower in itertools.pairwise(levels):
        name = f"swap_{upper}_kl_{lower}"
        aims.append((name, ">", evaluation.get(f"{name}_se", math.nan)))
    if levels[:1] == ["global"]:
        aims += [(name, ">=", 0.2) for name in ("top_1_r2_window_within_metre", "probe_r2_global_window")]
    if levels[:2] == ["global", "local"]:
        aims += [(name, ">=", 0.5) for name in ("top_2_r2_phrase_within_metre", "probe_r2_local_phrase")]
    shuffled = [f"shuffled_r2_{span}_within_metre" for span in _OWN_SPAN.values()]
    shuffled += [name for name in evaluation if name.startswith("probe_") and name.endswith("_shuffled")]
    aims += [(name, "+-", 0.05) for name in shuffled]
    return [
        Target(name, evaluation[name], _goal(relation, bound), bool(_RELATIONS[relation](evaluation[name], bound)))
        for name, relation, bound in aims
        if name in evaluation
    ]


def _goal(relation: str, bound: float) -> str:
    return f"{relation} {'unknown' if math.isnan(bound) else f'{bound:.3g}'}"
