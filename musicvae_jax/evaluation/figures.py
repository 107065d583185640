"""The figures of an evaluation, as a tree. Nats are per window unless a name says otherwise."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from musicvae_jax.config import UserError
from musicvae_jax.figures import Estimate, build, flatten, without_nan
from musicvae_jax.objectives.usage import LevelFigures
from musicvae_jax.training.workdir import write_text

PRIORS, ANOTHER_PIECE = "priors", "another_piece"  # what a window is decoded from, beside the levels down to one


@dataclasses.dataclass(frozen=True)
class LikenessFigures:
    """How like decoded windows are to the originals, or how much a level adds to that."""

    r2: dict[str, Estimate]  # span -> squared correlation of attributes, the mean over attributes
    r2_within_metre: dict[str, Estimate]  # the same among windows of equal metres, which the decoder is given
    chroma: Estimate  # cosine of pitch-class histograms of a measure
    rhythm: Estimate  # cosine of onset-time histograms of a measure
    onset_f1: Estimate


@dataclasses.dataclass(frozen=True)
class ProbeFigures:
    """R2 of attributes from posterior means by ridge regression, on pieces that were not fitted.

    All but ``r2`` are there for the finest level of a span only.
    """

    r2: float  # the mean over attributes
    within_metre: float | None = None  # among windows of equal metres
    shuffled: float | None = None  # from the latents of other pieces
    attributes: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class MeasureFigures:
    """What latents of measures tell of AR-VAE's four attributes, by its estimators (Pati & Lerch 2021, section 4)."""

    mig: float  # by three nearest neighbours
    mig_ceiling: float  # of the attributes themselves as codes
    sap: float
    interpretability: float
    scc: float


@dataclasses.dataclass(frozen=True)
class FactorFigures:
    """What latents of two measures tell of the nine factors of dMelodies, as classes (Pati et al. 2020)."""

    mig: float  # by a histogram of 20 bins
    mig_ceiling: float  # of the factors themselves as codes
    sap: float
    modularity: float


@dataclasses.dataclass(frozen=True)
class GroupFigures:
    """What the means of a level and of its groups of dims tell of attributes of its own span, see `groups`."""

    cells: int  # latents that were measured
    mig: float  # over one attribute of each group, by a histogram of 20 bins (Chen et al. 2018, eq. 6)
    mig_ceiling: float  # of these attributes themselves as codes
    mig_draws: float  # mig of one draw of each posterior in place of its mean
    mig_neighbours: float  # mig by three nearest neighbours, as AR-VAE estimates it
    mig_all: float  # mig over all attributes; several in a group tell of each other
    leakage: dict[str, dict[str, float]]  # group of dims -> attribute -> R2 of a ridge regression, on other families
    correlation: dict[str, dict[str, float]]  # group of attributes -> attribute -> R2 from all attributes of the group
    style: dict[str, float] = dataclasses.field(default_factory=dict)  # group -> accuracy, see `label_accuracy`
    arvae: MeasureFigures | None = None  # of a level whose latents are measures
    factors: FactorFigures | None = None  # of a level whose latents are two measures


@dataclasses.dataclass(frozen=True)
class ControlFigures:
    """What moving a dim from its 5th to its 95th percentile does to decoded music, see `control`."""

    dim: str  # such as fine/rhythm[0]
    consistency: float
    restrictiveness: float
    monotonicity: float
    changes: dict[str, float]  # attribute -> its mean change, in standard deviations over the data


@dataclasses.dataclass(frozen=True)
class FlowFigures:
    """What each level says, see `information_flow`."""

    windows: int
    draws: int  # decodings of each window
    own_span: dict[str, str]  # level -> the span of its latents: window, phrase, measure, ...
    decoded: dict[str, LikenessFigures]  # `PRIORS`, the finest level that is the window's own, or `ANOTHER_PIECE`
    added: dict[str, LikenessFigures]  # level -> decoded down to it, minus decoded down to the level above
    replaced: dict[str, dict[str, Estimate]]  # level -> prior_mean, noise, other_piece -> growth of nll
    swapped: dict[str, dict[str, Estimate]]  # upper level -> lower level -> growth of its KL
    probe_windows: int
    probes: dict[str, dict[str, ProbeFigures]]  # span -> finest level used
    skip_share: Estimate | None = None  # share of nll that the skip connection saves
    groups: dict[str, GroupFigures] = dataclasses.field(default_factory=dict)  # by level
    control: dict[str, dict[str, ControlFigures]] = dataclasses.field(default_factory=dict)  # level -> attribute
    latent_density: dict[str, float] = dataclasses.field(default_factory=dict)  # level -> share, see `control`


@dataclasses.dataclass(frozen=True)
class BoundFigures:
    """The importance-weighted bound on -log p(x)."""

    draws: int
    nll: float  # to be compared with nll + kl
    perplexity: float  # to be compared with perplexity_elbo


@dataclasses.dataclass(frozen=True)
class TwoSampleFigures:
    """What tells draws of the posteriors of held-out music from draws of the prior, see `two_samples`."""

    mmd: Estimate  # squared maximum mean discrepancy; its error is its deviation if both had one distribution
    mmd_p: float  # how often it would then be as large
    accuracy: dict[str, Estimate]  # linear, mlp -> share of rows that a classifier tells right; chance is .5


@dataclasses.dataclass(frozen=True)
class PriorLevelFigures(TwoSampleFigures):
    """How far the prior of a level is from its posteriors, by latents, see `prior_distance`."""

    latents: int
    kl: float  # nats per latent, of the draws
    mutual_information: float  # nats per latent, at most the log of the number of latents
    gap: float  # their difference, KL(q(e) || p(e)) in nats per latent


@dataclasses.dataclass(frozen=True)
class PriorFigures:
    """How far the prior of a model is from its posteriors, see `prior_distance`."""

    windows: int
    gap: float  # nats per window, the sum over latents
    levels: dict[str, PriorLevelFigures]
    together: TwoSampleFigures  # of all latents of whole windows


@dataclasses.dataclass(frozen=True)
class SampleFigures:
    """Music from the prior beside as much held-out music of the same metres, see `samples`."""

    windows: int  # samples, and held-out windows
    overlap: dict[str, float]  # feature -> overlapping area of its two densities
    overlap_of_training: dict[str, float]  # the same of training music in place of the samples
    diversity: float  # mean distance of two samples
    diversity_of_held_out: float
    nearest: float  # median distance of a sample from the nearest training window
    nearest_of_held_out: float
    threshold: float  # the 5th percentile of the distances of held-out windows from training windows
    memorised: float  # share of samples below that, or equal to a training window
    # Overlap of what is decoded from the posteriors of these very windows: a prior like their mean would come near it.
    overlap_of_posteriors: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def relative_diversity(self) -> float:
        """NaN if held-out windows are all the same."""
        return self.diversity / self.diversity_of_held_out if self.diversity_of_held_out else float("nan")


@dataclasses.dataclass(frozen=True)
class MarkovFigures:
    """A Markov chain, see `ngram.NGram`. All but the perplexity are chosen on the validation split."""

    perplexity: float
    order: int
    unit: str  # what the order counts: token or slot
    place: str  # what it knows: none; slot: the metre and the slot in the measure; measure: also that in the window
    copies: int  # keys in which it has seen each training piece


@dataclasses.dataclass(frozen=True)
class RivalFigures:
    """Models without a latent, see `rivals`. Their likelihood is exact: compare with ``perplexity_elbo``."""

    unigram: float  # perplexity
    markov: MarkovFigures
    copy_onset_f1: dict[str, float]  # kind of span -> of the training windows with the nearest attributes


@dataclasses.dataclass(frozen=True)
class HeardFigures:
    """How often a detector hears the condition that a window has, or was asked for, see `conditioned`.

    Of an attribute, the squared correlation of its values.
    """

    windows: int  # whose condition is known
    real: float  # in held-out music
    alone: float  # in windows made for this condition alone
    together: float  # in windows made for all conditions of the held-out window
    unasked: float  # in windows made for none: what is right by chance, and by the metre


@dataclasses.dataclass(frozen=True)
class ConditionFigures:
    """What a model makes of conditions."""

    windows: int  # half of them fit the detectors, the other half is measured
    perplexity_elbo: float  # of windows whose conditions are hidden
    perplexity_elbo_told: float  # of the same windows, their conditions known
    heard: dict[str, HeardFigures]  # by condition
    guidance: float = 1.0  # how strongly what was made follows what was asked for
    # Mean distance of two windows of the same metres, as of samples: all conditions asked, none, and real music.
    diversity: float | None = None
    diversity_unasked: float | None = None
    diversity_of_held_out: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation of a model on a split."""

    split: str
    num_examples: int  # windows
    step: int  # of the checkpoint
    perplexity: float  # exp(nll / tokens)
    onset_perplexity: float  # over tokens that carry the pitch of an onset
    perplexity_elbo: float  # exp((nll + kl) / tokens)
    nll: float
    kl: float
    kl_per_phrase: float  # nats per phrase of four measures
    accuracy_teacher_forced: float
    accuracy_teacher_forced_onsets: float
    accuracy_free_running: float  # decoded greedily from the latents alone
    accuracy_free_running_onsets: float
    onset_f1: float  # decoded greedily from the latents alone
    onset_f1_swapped: float  # from the latents of another piece
    levels: dict[str, LevelFigures]
    perplexity_of_field: dict[str, float] = dataclasses.field(default_factory=dict)  # where a slot has several fields
    iwae: BoundFigures | None = None
    onset_f1_sampled: float | None = None  # decoded from the latents alone at temperature 1
    rivals: RivalFigures | None = None
    flow: FlowFigures | None = None
    conditions: ConditionFigures | None = None  # of a model with conditions
    priors: PriorFigures | None = None
    samples: SampleFigures | None = None
    checkpoint: str | None = None
    prior: str | None = None  # own, or the name of a fitted one
    seed: int | None = None  # of the draws
    train_seed: int | None = None  # of the run
    times_measured: int | None = None  # evaluations of this split in this workdir so far: the test split wants 1
    parameters: int | None = None  # of the model; this and the next two are those of a run of an ablation
    train_seconds: float | None = None
    devices: str | None = None


def evaluation_path(workdir: str | Path, split: str) -> Path:
    """``WORKDIR/evaluation.<split>.json``."""
    return Path(workdir) / f"evaluation.{split}.json"


def write_evaluation(workdir: str | Path, evaluation: Evaluation) -> Path:
    """Writes the figures by dotted names, null for what is not finite, and returns the path."""
    path = evaluation_path(workdir, evaluation.split)
    write_text(path, json.dumps(without_nan(flatten(evaluation)), indent=2, allow_nan=False) + "\n")
    return path


def read_evaluation(path: str | Path) -> Evaluation:
    """The figures of a file that `write_evaluation` wrote.

    Raises:
        UserError: the file is not one.
    """
    try:
        flat: Any = json.loads(Path(path).read_text())
        return build(Evaluation, flat)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is no evaluation: allowed is what experiments/evaluate.py writes") from None
