"""What a model of several levels is aimed at, and whether an evaluation meets it."""

import itertools
import math
import operator
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from musicvae_jax.evaluation.figures import ANOTHER_PIECE, Evaluation, FlowFigures, LikenessFigures
from musicvae_jax.figures import Estimate
from musicvae_jax.objectives.usage import LevelFigures

_RELATIONS = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "+-": lambda value, bound: abs(value) < bound,
}


class Target(NamedTuple):
    """One aim."""

    name: str  # of the figure, dotted
    value: float
    relation: Literal["<", ">", "<=", ">=", "+-"]  # to the bound; +- is an absolute value below it
    bound: float  # NaN where it is a standard error that is unknown: then the aim is missed

    @property
    def met(self) -> bool:
        return bool(_RELATIONS[self.relation](self.value, self.bound))

    @property
    def goal(self) -> str:
        """The relation and the bound, as text."""
        return f"{self.relation} {'unknown' if math.isnan(self.bound) else f'{self.bound:.3g}'}"


def check_targets(evaluation: Evaluation) -> list[Target]:
    """Every aim of a model of several levels, met or not; docs/results.md lists and explains them.

    Aims of figures that the evaluation does not have are left out.
    """
    aims = [
        Target("perplexity", evaluation.perplexity, "<", 5),
        Target("onset_perplexity", evaluation.onset_perplexity, "<", 5),
        Target("kl_per_phrase", evaluation.kl_per_phrase, ">=", 10),
        Target("kl_per_phrase", evaluation.kl_per_phrase, "<=", 50),
    ]
    for level, figures in evaluation.levels.items():
        aims += _of_usage(f"levels.{level}", figures)
    if evaluation.flow:
        aims += _of_flow(evaluation.flow)
    return [aim for aim in aims if not math.isnan(aim.value)]


def _of_usage(place: str, figures: LevelFigures) -> Iterator[Target]:
    """A level carries a nat, and nearly all dims are active by both rules, those of its least active group too."""
    yield Target(f"{place}.kl", figures.kl, ">=", 1)
    for rule in ("active_a", "active_b"):
        yield Target(f"{place}.{rule}", getattr(figures, rule), ">", 0.9)
        shares = {group: getattr(found, rule) for group, found in figures.groups.items()}
        if shares:
            least = min(shares, key=shares.__getitem__)
            yield Target(f"{place}.groups.{least}.{rule}", shares[least], ">", 0.9)


def _of_flow(flow: FlowFigures) -> Iterator[Target]:
    """Each level says something about its own span that the levels above and another piece's latents do not say."""
    own = flow.own_span
    for level, added in flow.added.items():
        for name, figure in _likenesses(added, [own[level]]):
            yield Target(f"flow.added.{level}.{name}", figure.value, ">", figure.se)
    *_, finest = own
    strangers = dict(_likenesses(flow.decoded[ANOTHER_PIECE], own.values()))
    for name, figure in _likenesses(flow.decoded[finest], own.values()):
        other = strangers[name]
        yield Target(f"flow.decoded.{finest}.{name}", figure.value, ">", other.value + figure.se + other.se)
    levels = list(own)
    for upper, lower in itertools.pairwise(levels):
        growth = flow.swapped[upper][lower]
        yield Target(f"flow.swapped.{upper}.{lower}", growth.value, ">", growth.se)
    for number, (level, least) in enumerate((("global", 0.2), ("local", 0.5)), 1):
        if levels[:number] == ["global", "local"][:number]:
            span = own[level]
            r2 = flow.decoded[level].r2_within_metre[span].value
            yield Target(f"flow.decoded.{level}.r2_within_metre.{span}", r2, ">=", least)
            read = flow.probes[span][level].within_metre
            if read is not None:
                yield Target(f"flow.probes.{span}.{level}.within_metre", read, ">=", least)
    for span in own.values():
        r2 = flow.decoded[ANOTHER_PIECE].r2_within_metre[span].value
        yield Target(f"flow.decoded.{ANOTHER_PIECE}.r2_within_metre.{span}", r2, "+-", 0.05)
    for span, probes in flow.probes.items():
        for level, probe in probes.items():
            if probe.shuffled is not None:
                yield Target(f"flow.probes.{span}.{level}.shuffled", probe.shuffled, "+-", 0.05)


def _likenesses(figures: LikenessFigures, spans: Iterable[str]) -> Iterator[tuple[str, Estimate]]:
    """R2 within metre of spans, and both similarities, by name."""
    for span in spans:
        yield f"r2_within_metre.{span}", figures.r2_within_metre[span]
    yield "chroma", figures.chroma
    yield "rhythm", figures.rhythm
