"""An evaluation of three levels just inside every aim, and a way to change one of its figures."""

from typing import Any

from musicvae_jax.evaluation.figures import (
    ANOTHER_PIECE,
    PRIORS,
    ConditionFigures,
    Evaluation,
    HeardFigures,
    PriorFigures,
    PriorLevelFigures,
    SampleFigures,
    TwoSampleFigures,
)
from musicvae_jax.figures import Estimate, build, flatten

SPANS = {"global": "window", "local": "phrase", "fine": "measure"}
_R2S = [f"{r2}.{span}" for r2 in ("r2", "r2_within_metre") for span in ("measure", "phrase", "window")]
LIKENESSES = [*_R2S, "chroma", "rhythm"]


def put(evaluation: Evaluation, figures: dict[str, Any]) -> Evaluation:
    """The evaluation with other values of these figures, by dotted name."""
    return build(Evaluation, flatten(evaluation) | figures)


def without(evaluation: Evaluation, *prefixes: str) -> Evaluation:
    """The evaluation without the figures of these dotted names."""
    flat = flatten(evaluation)
    return build(Evaluation, {name: value for name, value in flat.items() if not name.startswith(prefixes)})


def make_priors() -> PriorFigures:
    """Three levels, of which the finest is the worst."""
    two = []
    for n in range(4):
        accuracy = {"linear": Estimate(0.5, 0.02), "mlp": Estimate(0.5 + n / 16, 0.02)}
        two.append(TwoSampleFigures(Estimate(0.01 * n, 0.001), 0.25, accuracy))
    levels = {
        level: PriorLevelFigures(latents=512 * 2**n, kl=7.0, mutual_information=6.0 - n, gap=1.0 + n, **vars(two[n]))
        for n, level in enumerate(SPANS)
    }
    return PriorFigures(windows=512, gap=17.0, levels=levels, together=two[3])


def make_conditions() -> ConditionFigures:
    """Two conditions, of which one is heard in all that was made for it."""
    heard = {"key": HeardFigures(400, 0.8, 0.6, 0.7, 0.25), "style": HeardFigures(200, 0.6, 0.6, 0.5, 0.375)}
    diverse = {"diversity": 0.5, "diversity_unasked": 0.625, "diversity_of_held_out": 0.5625}
    return ConditionFigures(windows=512, perplexity_elbo=4.0, perplexity_elbo_told=3.875, heard=heard, **diverse)


def make_samples() -> SampleFigures:
    features = ("note_density", "mean_pitch", "groove_similarity", "phrase_similarity")
    return SampleFigures(
        windows=375,
        overlap={name: 0.5 + n / 8 for n, name in enumerate(features)},
        overlap_of_training=dict.fromkeys(features, 0.9375),
        overlap_of_posteriors=dict.fromkeys(features, 0.8125),
        diversity=0.5,
        diversity_of_held_out=0.625,
        nearest=0.375,
        nearest_of_held_out=0.3125,
        threshold=0.25,
        memorised=0.0078125,
    )


def make_evaluation() -> Evaluation:
    """Every figure that has an aim is just inside it. Of the groups of a level, pitch is the least active."""
    flat: dict[str, Any] = {"split": "test", "num_examples": 892, "step": 2800, "nll": 60.0, "kl": 20.0}
    flat |= {"perplexity": 4.9, "onset_perplexity": 4.9, "perplexity_elbo": 6.0, "kl_per_phrase": 10.0}
    flat |= {f"accuracy_{kind}{of}": 0.5 for kind in ("teacher_forced", "free_running") for of in ("", "_onsets")}
    flat |= {"onset_f1": 0.6, "onset_f1_swapped": 0.1, "iwae.draws": 8, "iwae.nll": 77.0, "iwae.perplexity": 5.5}
    for level in SPANS:
        for place, active in (("", 0.91), (".groups.rhythm", 1.0), (".groups.pitch", 0.92), (".groups.harmony", 1.0)):
            names = ("kl", "kl_per_phrase", "kl_per_latent", "mutual_information")
            flat |= {f"levels.{level}{place}.{name}": 1.0 for name in names}
            flat |= {f"levels.{level}{place}.active_{rule}": active for rule in "ab"}
            flat |= {f"levels.{level}{place}.active_{rule}_raw": 0.5 for rule in "ab"}
    flat |= {f"flow.own_span.{level}": span for level, span in SPANS.items()}
    flat |= {"flow.windows": 256, "flow.draws": 8, "flow.probe_windows": 1024}

    def estimate(name: str, value: float, se: float) -> None:
        flat.update({f"flow.{name}.value": value, f"flow.{name}.se": se})

    for kind in (*LIKENESSES, "onset_f1"):
        for source in (PRIORS, *SPANS):
            estimate(f"decoded.{source}.{kind}", 0.0625, 0.006)
        estimate(f"decoded.{ANOTHER_PIECE}.{kind}", 0.049, 0.005)
        for level in SPANS:
            estimate(f"added.{level}.{kind}", 0.011, 0.01)
    estimate("decoded.global.r2_within_metre.window", 0.2, 0.01)
    estimate("decoded.local.r2_within_metre.phrase", 0.5, 0.01)
    for level in SPANS:
        for kind in ("prior_mean", "noise", "other_piece"):
            estimate(f"replaced.{level}.{kind}", 1.1, 1.0)
    for pair in ("global.local", "local.fine", "global.fine"):
        estimate(f"swapped.{pair}", 1.1, 1.0)
    for number, (level, span) in enumerate(SPANS.items()):
        flat |= {f"flow.probes.{span}.{upper}.r2": 0.1 for upper in [*SPANS][:number]}
        probe = {"r2": 0.1, "within_metre": 0.5 if level == "local" else 0.2, "shuffled": -0.049}
        flat |= {f"flow.probes.{span}.{level}.{name}": value for name, value in probe.items()}
    return build(Evaluation, flat)
