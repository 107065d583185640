"""An evaluation of three levels just inside every aim, and a way to change one of its figures."""

import dataclasses
from typing import Any

from musicvae_jax.evaluation.figures import (
    ANOTHER_PIECE,
    PRIORS,
    BoundFigures,
    Evaluation,
    FlowFigures,
    LikenessFigures,
    ProbeFigures,
)
from musicvae_jax.figures import Estimate
from musicvae_jax.objectives.usage import GroupFigures, LevelFigures

SPANS = {"global": "window", "local": "phrase", "fine": "measure"}
_USAGE = {"kl_per_phrase": 0.5, "kl_per_latent": 0.25, "active_a_raw": 0.5, "active_b_raw": 0.5, "mutual_information": 0.9}


def put(tree: Any, path: str, value: Any) -> Any:
    """The tree with another value at a dotted path."""
    name, _, rest = path.partition(".")
    if isinstance(tree, dict):
        return tree | {name: put(tree[name], rest, value) if rest else value}
    return dataclasses.replace(tree, **{name: put(getattr(tree, name), rest, value) if rest else value})


def make_level(active_a: float = 0.91) -> LevelFigures:
    """A level of three groups, of which pitch is the least active."""

    def group(active: float) -> GroupFigures:
        return GroupFigures(kl=0.3, active_a=active, active_b=active, **_USAGE)

    groups = {"rhythm": group(1.0), "pitch": group(0.92), "harmony": group(1.0)}
    per_dim = {"fine/rhythm[3]": 0.5}
    return LevelFigures(kl=1.0, active_a=active_a, active_b=0.91, **_USAGE, groups=groups, kl_per_dim=per_dim)


def make_likeness(estimate: Estimate, **changes: dict[str, Estimate]) -> LikenessFigures:
    """The same estimate for all; ``changes`` are entries of R2 within metre."""
    spans = dict.fromkeys(("measure", "phrase", "window"), estimate)
    within = spans | changes.get("r2_within_metre", {})
    return LikenessFigures(r2=spans, r2_within_metre=within, chroma=estimate, rhythm=estimate, onset_f1=estimate)


def make_evaluation() -> Evaluation:
    """Three levels that meet every aim, just."""
    growth = Estimate(1.1, 1.0)
    top = Estimate(0.0625, 0.006)
    decoded = {
        PRIORS: make_likeness(Estimate(0.01, 0.005)),
        "global": make_likeness(top, r2_within_metre={"window": Estimate(0.2, 0.01)}),
        "local": make_likeness(top, r2_within_metre={"phrase": Estimate(0.5, 0.01)}),
        "fine": make_likeness(top),
        ANOTHER_PIECE: make_likeness(Estimate(0.049, 0.005)),
    }
    replaced = {level: dict.fromkeys(("prior_mean", "noise", "other_piece"), growth) for level in SPANS}
    flow = FlowFigures(
        windows=256,
        draws=8,
        own_span=SPANS,
        decoded=decoded,
        added={level: make_likeness(Estimate(0.011, 0.01)) for level in SPANS},
        replaced=replaced,
        swapped={"global": {"local": growth, "fine": Estimate(2.5, 1.0)}, "local": {"fine": growth}},
        probe_windows=1024,
        probes={
            "window": {"global": ProbeFigures(0.2, 0.1, -0.049, {"density": 0.3})},
            "phrase": {"global": ProbeFigures(0.1), "local": ProbeFigures(0.5, 0.1, -0.049)},
            "measure": {"global": ProbeFigures(0.1), "local": ProbeFigures(0.2), "fine": ProbeFigures(0.6, 0.1, -0.049)},
        },
    )
    accuracies = {f"accuracy_{kind}{of}": 0.5 for kind in ("teacher_forced", "free_running") for of in ("", "_onsets")}
    return Evaluation(
        split="test",
        num_examples=892,
        step=2800,
        perplexity=4.9,
        onset_perplexity=4.9,
        perplexity_elbo=6.0,
        nll=60.0,
        kl=20.0,
        kl_per_phrase=10.0,
        onset_f1=0.6,
        onset_f1_swapped=0.1,
        levels={level: make_level() for level in SPANS},
        iwae=BoundFigures(8, 77.0, 5.5),
        flow=flow,
        **accuracies,
    )
