"""An evaluation as text to read."""

import math
import statistics
from collections.abc import Sequence

from musicvae_jax.config import UserError
from musicvae_jax.evaluation.ablation_table import mean_and_error
from musicvae_jax.evaluation.figures import (
    ANOTHER_PIECE,
    PRIORS,
    ConditionFigures,
    Evaluation,
    FlowFigures,
    LikenessFigures,
    PriorFigures,
    SampleFigures,
    TwoSampleFigures,
)
from musicvae_jax.evaluation.fitted_priors import OWN
from musicvae_jax.evaluation.likeness import GROUP_OF
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.objectives.usage import LevelFigures
from musicvae_jax.types import GROUPS

_PLACES = {"none": "", "slot": " and the place in the measure", "measure": " and the place in the window"}
_MAIN = (  # field of `Evaluation`, and what it is called
    ("perplexity", "perplexity given the latents, exp(nll / tokens)"),
    ("onset_perplexity", "  over tokens that start a note"),
    ("nll", "reconstruction, nats per window"),
    ("kl", "KL, nats per window"),
    ("kl_per_phrase", "KL, nats per phrase of 4 measures"),
    ("accuracy_teacher_forced", "accuracy, teacher-forced"),
    ("accuracy_free_running", "accuracy, decoded from the latents alone"),
    ("onset_f1", "onset F1, decoded from the latents alone"),
    ("onset_f1_sampled", "  decoded at temperature 1"),
    ("onset_f1_swapped", "  from the latents of another piece"),
)
_USAGE = (  # field of `LevelFigures`, and what it is called
    ("kl", "KL, nats per window"),
    ("kl_per_latent", "  per latent"),
    ("active_a", "active dims, rule a (mean sigma < 0.98)"),
    ("active_b", "active dims, rule b (variance of mu >= 0.01)"),
    ("active_b_raw", "  of the posterior itself"),
    ("mutual_information", "I(x; z) estimate, nats"),
)
_REPLACED = (
    ("prior_mean", "nll grows by, at the prior's mean"),
    ("noise", "  at a draw from the prior"),
    ("other_piece", "  at the latents of another piece"),
)


def evaluation_text(evaluation: Evaluation) -> str:
    """The main figures and, by level, what it carries and says; "-" stands for what is not finite."""
    head = f"{evaluation.num_examples} windows of {evaluation.split!r}, checkpoint of step {evaluation.step}"
    if evaluation.prior:
        head += f", prior {evaluation.prior!r}"
    if evaluation.times_measured:
        head += f", measured {evaluation.times_measured} time{'s' * (evaluation.times_measured > 1)}"
    lines = [f"  {text:<72} {_number(value):>8}" for text, value in main_rows(evaluation)]
    return "\n".join([head, *lines, "", level_tables(evaluation)])


def seeds_text(evaluations: Sequence[Evaluation]) -> str:
    """The main figures of several runs of one config, mean and standard error over the runs that have the figure.

    Raises:
        UserError: they were not measured on as many windows of the same split, or two are of the same seed.
    """
    seeds = [evaluation.train_seed for evaluation in evaluations if evaluation.train_seed is not None]
    if again := [seed for seed in set(seeds) if seeds.count(seed) > 1]:
        raise UserError(f"two files are of a run with seed {again[0]}: allowed is one file of each seed")
    first, *others = (
        f"{evaluation.num_examples} windows of {evaluation.split!r}, prior {evaluation.prior or OWN!r}"
        for evaluation in evaluations
    )
    if differ := [head for head in others if head != first]:
        raise UserError(f"one file is of {differ[0]}: allowed are {first}, as in the first file")
    lines = [f"{first}, {len(evaluations)} runs: mean ± standard error over runs"]
    tables = [dict(main_rows(evaluation)) for evaluation in evaluations]
    for text in tables[0]:
        values = [value for table in tables if (value := table.get(text)) is not None]
        lines.append(f"  {text:<72} {mean_and_error(values, '.3f'):>8}")
    return "\n".join(lines)


def main_rows(evaluation: Evaluation) -> list[tuple[str, float | None]]:
    """The main figures: what each is called, and its value."""
    rivals = evaluation.rivals
    bound = "perplexity, exp((nll + kl) / tokens): comparable with the next two"
    rows: list[tuple[str, float | None]] = [(bound, evaluation.perplexity_elbo)]
    if rivals:
        chain = rivals.markov
        depends = f"the last {chain.order} {chain.unit}s" + _PLACES[chain.place]
        rows += [(f"  Markov chain on {depends}", chain.perplexity), ("  unigram", rivals.unigram)]
    rows += [(text, value) for name, text in _MAIN if (value := getattr(evaluation, name)) is not None]
    if rivals:
        copies = rivals.copy_onset_f1.items()
        rows += [(f"  of the training window with the nearest attributes by {span}", value) for span, value in copies]
    if evaluation.flow and evaluation.flow.skip_share:
        rows.append(("share of the nll that the skip connection saves", evaluation.flow.skip_share.value))
    if evaluation.iwae:
        rows.append((f"nll + kl by the bound of {evaluation.iwae.draws} draws, nats per window", evaluation.iwae.nll))
        rows.append(("  perplexity, comparable with the Markov chain", evaluation.iwae.perplexity))
    return rows


def level_tables(evaluation: Evaluation) -> str:
    """Tables by level; of several levels also what each says, and the targets."""
    levels, flow = evaluation.levels, evaluation.flow
    by_level = [[text, *_fields(levels, name)] for name, text in _USAGE]
    tables = []
    if flow:
        by_level += [
            [text, *(_number(flow.replaced[level][kind].value) for level in levels)] for kind, text in _REPLACED
        ]
        by_level += [
            [f"KL grows by, {upper} swapped", *(_number(below[low].value) if low in below else "" for low in levels)]
            for upper, below in flow.swapped.items()
        ]
        tables.append(_decoded(flow))
        tables += [_groups(flow)] if flow.groups else []
        tables += [_control(flow)] if any(flow.control.values()) else []
    tables.insert(0, _table(["by level", *levels], by_level))
    tables += [_priors(evaluation.priors)] if evaluation.priors else []
    tables += [_samples(evaluation.samples)] if evaluation.samples else []
    if len(levels) > 1:
        rows = [
            [aim.name, f"{aim.value:.3f}", aim.goal, "met" if aim.met else "MISSED"]
            for aim in check_targets(evaluation)
        ]
        tables.append(_table(["target", "is", "aim", ""], rows))
    if evaluation.conditions:
        tables.insert(1, _conditions(evaluation.conditions))
    return "\n\n".join(tables)


def _fields(levels: dict[str, LevelFigures], name: str) -> list[str]:
    return [_number(getattr(figures, name)) for figures in levels.values()]


def _decoded(flow: FlowFigures) -> str:
    spans = list(flow.decoded[PRIORS].r2)[::-1]
    names = {PRIORS: "priors alone", ANOTHER_PIECE: "another piece's"}
    order = [PRIORS, *flow.own_span, ANOTHER_PIECE]
    rows = [[names.get(name, f"down to {name}"), *_cells(flow.decoded[name], spans)] for name in order]
    return _table(["decoded from the latents", *(f"r2 {span}" for span in spans), "chroma", "rhythm", "onset F1"], rows)


def _groups(flow: FlowFigures) -> str:
    """R2 of the attributes of each group, the mean, from the dims of each group; and MIG of each level."""
    known = {GROUP_OF[name] for figures in flow.groups.values() for read in figures.leakage.values() for name in read}
    heads = [group for group in GROUPS if group in known]
    rows = []
    for level, figures in flow.groups.items():
        gap = f"{_number(figures.mig)} of {_number(figures.mig_ceiling)}"
        for group, read in figures.leakage.items():
            values = [[value for name, value in read.items() if GROUP_OF[name] == head] for head in heads]
            cells = [_number(statistics.fmean(found) if found else None) for found in values]
            rows.append([f"{level}/{group}", *cells, gap])
            gap = ""
    return _table(["r2 from the dims of", *heads, "MIG, of at most"], rows)


def _control(flow: FlowFigures) -> str:
    """What each dim that follows an attribute does after decoding, and how much it changes every attribute."""
    moved = [(attribute, figures) for level in flow.control.values() for attribute, figures in level.items()]
    heads = list(dict.fromkeys(name for _, figures in moved for name in figures.changes))
    rows = []
    for attribute, figures in moved:
        scores = (figures.consistency, figures.restrictiveness, figures.monotonicity)
        changes = (_number(figures.changes.get(name)) for name in heads)
        rows.append([f"{figures.dim} {attribute}", *map(_number, scores), *changes])
    return _table(["moved", "consistent", "restrictive", "monotonic", *(f"+ {name}" for name in heads)], rows)


def _conditions(figures: ConditionFigures) -> str:
    """How often each condition is heard, and what knowing them all saves."""
    rows = [
        [name, *map(_number, (found.real, found.alone, found.together, found.unasked))]
        for name, found in figures.heard.items()
    ]
    rows.append(["perplexity_elbo", "", "", _number(figures.perplexity_elbo_told), _number(figures.perplexity_elbo)])
    if figures.diversity is not None:
        distances = (figures.diversity_of_held_out, None, figures.diversity, figures.diversity_unasked)
        rows.append(["diversity", *("" if distance is None else _number(distance) for distance in distances)])
    return _table(["condition heard in", "real music", "asked alone", "all asked", "none asked"], rows)


def _priors(priors: PriorFigures) -> str:
    """What tells latents of held-out music from draws of the prior, by level and of all levels."""
    columns: list[TwoSampleFigures] = [*priors.levels.values(), priors.together]
    gaps = (*(figures.gap for figures in priors.levels.values()), priors.gap)
    rows = [["gap KL(q(z) || p(z)), nats per latent, in all per window", *map(_number, gaps)]]
    rows.append(["maximum mean discrepancy, squared", *(_number(figures.mmd.value) for figures in columns)])
    for kind in priors.together.accuracy:
        cells = (_number(figures.accuracy[kind].value) for figures in columns)
        rows.append([f"accuracy of a classifier, {kind}; chance is .5", *cells])
    return _table(["prior against posteriors", *priors.levels, "all"], rows)


def _samples(samples: SampleFigures) -> str:
    """Samples beside held-out music, and what is decoded from its posteriors, and training music."""
    columns = {
        "samples": samples.overlap,
        "from posteriors": samples.overlap_of_posteriors,
        "training music": samples.overlap_of_training,
    }
    columns = {heading: areas for heading, areas in columns.items() if areas}
    rows = [[name, *(_number(areas[name]) for areas in columns.values())] for name in samples.overlap]
    rows.append(["mean", *(_number(statistics.fmean(areas.values())) for areas in columns.values())])
    beside = (
        ("mean distance of two windows, / that of held-out music", samples.relative_diversity),
        ("distance from the nearest training window, median", samples.nearest),
        ("  of held-out music", samples.nearest_of_held_out),
        ("share that is memorised", samples.memorised),
    )
    lines = "\n".join(f"  {text:<72} {_number(value):>8}" for text, value in beside)
    return _table(["overlap with held-out music of", *columns], rows) + "\n\n" + lines


def _cells(figures: LikenessFigures, spans: Sequence[str]) -> list[str]:
    estimates = [*(figures.r2[span] for span in spans), figures.chroma, figures.rhythm, figures.onset_f1]
    return [_number(estimate.value) for estimate in estimates]


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first one aligned left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (head, *rows)
    ]
    return "\n".join(lines)
