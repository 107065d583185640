"""Priors of one frozen model beside each other: what they gain in nats, and what their samples are like."""

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musicvae_jax.config import UserError, check_seed
from musicvae_jax.config.checks import check
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import Families
from musicvae_jax.evaluation.ablation_table import mean_and_error
from musicvae_jax.evaluation.bounds import Bounds, paired_gain, window_bounds
from musicvae_jax.evaluation.figures import PriorFigures, SampleFigures
from musicvae_jax.evaluation.fitted_priors import OWN
from musicvae_jax.evaluation.modes import MixtureFigures, mixture_figures, mixture_text
from musicvae_jax.evaluation.prior_distance import prior_figures
from musicvae_jax.evaluation.samples import real_music, sample_figures
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.figures import Estimate, build, flatten, without_nan
from musicvae_jax.training.workdir import write_text
from musicvae_jax.types import existing_fields


@dataclasses.dataclass(frozen=True)
class PriorRow:
    """One prior of a model."""

    base: dict[str, str]  # by level
    kl: dict[str, float]  # level -> nats per window
    elbo: float  # nats per window
    iwae: float
    perplexity_elbo: float
    perplexity_iwae: float
    elbo_gain: Estimate  # over the model's own prior, nats per window, in pairs
    iwae_gain: Estimate
    fit: PriorFigures
    samples: SampleFigures
    mixture: MixtureFigures | None = None  # what the Gaussians of the top level mean


@dataclasses.dataclass(frozen=True)
class PriorComparison:
    """Several priors of a model, measured on the same windows with the same draws."""

    split: str
    windows: int
    draws: int  # of each posterior, for the bounds
    step: int  # of the checkpoint
    train_seed: int
    seed: int
    priors: dict[str, PriorRow]  # `OWN` first


def compare_priors(
    vae: TrainedVAE,
    fitted: Mapping[str, TrainedVAE],
    split: str,
    *,
    num_windows: int = 512,
    num_draws: int = 64,
    seed: int = 0,
) -> PriorComparison:
    """Measures priors of one model on windows spread evenly over a split.

    Args:
        vae: the model with its own prior.
        fitted: name -> the model with another prior, as `load_prior` gives it.
        split: such as ``"validation"``.
        num_windows: at most so many.
        num_draws: K of the importance-weighted bound.
        seed: of all draws, which the priors share.

    Raises:
        UserError: a name is `OWN`, or has a dot, which the names of figures cannot have.
    """
    check_seed(seed)
    check(vae.prior == OWN, "vae.prior", vae.prior, f"{OWN!r}: load the run with its own prior")
    check(bool(vae.config.levels.on), "levels", [], "a model with a level: a language model has no prior")
    for name in fitted:
        check(name != OWN and "." not in name, "prior", name, f"a name without dots, other than {OWN!r}")
    vae, parallel = on_all_devices(vae)
    priors = {OWN: vae} | {name: on_all_devices(other)[0] for name, other in fitted.items()}
    source = load_windows(vae.config, split, attributes=False)
    batches = make_eval_batches(source, EVALUATION_ROWS, num_examples=num_windows)
    parts: dict[str, list[Bounds]] = {name: [] for name in priors}
    rows, tokens = [], 0
    for batch in tqdm(batches, desc="bounds", unit="batch", dynamic_ncols=True):
        real = batch.index >= 0
        rows.append(batch.index[real])
        tokens += int(existing_fields(batch.tokens, batch.mask, vae.codec.fields).sum())
        for name, found in window_bounds(priors, parallel.shard_rows(batch), num_draws, seed).items():
            kl = {level: values[real] for level, values in found.kl.items()}
            parts[name].append(Bounds(found.elbo[real], found.iwae[real], kl))
    families = Families(source)(np.concatenate(rows))
    bounds = {name: _joined(found) for name, found in parts.items()}
    music = real_music(vae.config, vae.codec, split, num_windows)
    compared = {}
    for name, own in priors.items():
        here, first = bounds[name], bounds[OWN]
        compared[name] = PriorRow(
            base={level: config.base for level, config in own.config.levels.on.items()},
            kl={level: float(here.kl[level].mean()) for level in own.config.levels.on},
            elbo=float(here.elbo.mean()),
            iwae=float(here.iwae.mean()),
            perplexity_elbo=math.exp(-here.elbo.sum() / tokens),
            perplexity_iwae=math.exp(-here.iwae.sum() / tokens),
            elbo_gain=paired_gain(first.elbo, here.elbo, families, seed),
            iwae_gain=paired_gain(first.iwae, here.iwae, families, seed),
            fit=prior_figures(own, split, num_windows=num_windows, seed=seed),
            samples=sample_figures(own, split, num_windows=num_windows, seed=seed, real=music),
            mixture=mixture_figures(own, split, num_windows=num_windows),
        )
    return PriorComparison(split, len(families), num_draws, vae.step, vae.config.train.seed, seed, compared)


def _joined(parts: Sequence[Bounds]) -> Bounds:
    kl = {level: np.concatenate([part.kl[level] for part in parts]) for level in parts[0].kl}
    elbo, iwae = (np.concatenate(values) for values in zip(*(part[:2] for part in parts), strict=True))
    return Bounds(elbo, iwae, kl)


def write_comparison(path: str | Path, comparison: PriorComparison) -> Path:
    """Writes the figures by dotted names, null for what is not finite, and returns the path."""
    write_text(Path(path), json.dumps(without_nan(flatten(comparison)), indent=2, allow_nan=False) + "\n")
    return Path(path)


def read_comparison(path: str | Path) -> PriorComparison:
    """The figures of a file that `write_comparison` wrote; raises `UserError` if it is not one."""
    try:
        flat: Any = json.loads(Path(path).read_text())
        return build(PriorComparison, flat)
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is no comparison: allowed is what experiments/compare_priors.py writes") from None


def comparison_text(comparisons: Sequence[PriorComparison]) -> str:
    """Two Markdown tables with a row for each prior: nats, and samples; of several runs the means ± standard errors.

    A table for each mixture follows, of the first run.

    Raises:
        UserError: the runs have other priors, windows or draws than the first, or two have one seed.
    """
    first, seeds = comparisons[0], [comparison.train_seed for comparison in comparisons]
    settings = [(one.split, one.windows, one.draws, tuple(one.priors)) for one in comparisons]
    for other in settings:
        wanted = f"{settings[0]}, as in the first"
        check(other == settings[0], "split, windows, draws and priors of a file", other, wanted)
    check(len(set(seeds)) == len(seeds), "train_seed of the files", seeds, "one file of each seed")
    runs = f"{len(seeds)} runs, mean ± standard error over runs" if len(seeds) > 1 else f"seed {seeds[0]}"
    head = f"{first.windows} windows of {first.split!r}, {first.draws} draws of each posterior, {runs}"
    tables = [_table(comparisons, columns) for columns in (_nats, _samples)]
    for name, row in first.priors.items():
        if row.mixture:
            text = f"What the Gaussians of `{name}` mean, seed {seeds[0]}: the most common label of their windows"
            tables += [text, mixture_text(row.mixture)]
    return "\n\n".join([head, *tables])


Columns = list[tuple[str, str, float | Estimate]]  # heading, format, figure


def _nats(row: PriorRow) -> Columns:
    by_level: Columns = []
    for level, kl in row.kl.items():
        by_level += [(f"KL `{level}`", ".2f", kl), (f"gap `{level}`, per latent", ".2f", row.fit.levels[level].gap)]
    return [
        *by_level,
        ("KL", ".2f", sum(row.kl.values())),
        ("gap", ".2f", row.fit.gap),
        ("`perplexity_elbo`", ".3f", row.perplexity_elbo),
        ("gain in ELBO", ".2f", row.elbo_gain),
        ("gain in IWAE", ".2f", row.iwae_gain),
    ]


def _samples(row: PriorRow) -> Columns:
    tested = {**row.fit.levels, "all": row.fit.together}
    overlap, of_training = row.samples.overlap.values(), row.samples.overlap_of_training.values()
    return [
        *((f"accuracy `{level}`", ".3f", figures.accuracy["mlp"]) for level, figures in tested.items()),
        ("accuracy all, linear", ".3f", row.fit.together.accuracy["linear"]),
        ("MMD all", ".4f", row.fit.together.mmd.value),
        ("mean overlap", ".3f", statistics.fmean(overlap)),
        ("least overlap", ".3f", min(overlap)),
        ("mean overlap of training music", ".3f", statistics.fmean(of_training)),
        ("diversity", ".3f", row.samples.relative_diversity),
        ("memorised", ".3f", row.samples.memorised),
    ]


def _table(comparisons: Sequence[PriorComparison], columns: Callable[[PriorRow], Columns]) -> str:
    table = []
    for name, first in comparisons[0].priors.items():
        headings, forms, _ = zip(*columns(first), strict=True)
        figures = zip(*([figure for *_, figure in columns(one.priors[name])] for one in comparisons), strict=True)
        bases = ", ".join(dict.fromkeys(first.base.values()))
        table.append([f"`{name}`, {bases}", *map(_cell, figures, forms)])
    rows = [["prior", *headings], ["---", *["---:"] * len(headings)], *table]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cell(values: Sequence[float | Estimate], form: str) -> str:
    """One figure with its own standard error, or the mean over several runs with that over runs."""
    numbers = [value.value if isinstance(value, Estimate) else value for value in values]
    if len(values) == 1 and isinstance(values[0], Estimate):
        return f"{numbers[0]:{form}} ± {values[0].se:{form}}"
    return mean_and_error(numbers, form)
