"""What evaluation.json says, as text to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.evaluation.results import finite
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.types import LEVELS

_OF_ALL = (
    ("perplexity_elbo", "perplexity, exp((nll + kl) / tokens): comparable with the baselines"),
    ("baseline_markov3_perplexity", "  order-3 Markov chain on the same tokens"),
    ("baseline_markov6_perplexity", "  order-6 Markov chain on the same tokens"),
    ("baseline_unigram_perplexity", "  unigram on the same tokens"),
    ("perplexity", "perplexity given the latents, exp(nll / tokens)"),
    ("onset_perplexity", "  over tokens that start a note"),
    ("nll", "reconstruction, nats per window"),
    ("kl", "KL, nats per window"),
    ("kl_per_phrase", "KL, nats per phrase of 4 measures"),
    ("skip_share", "share of the reconstruction's nats that the skip connection saves"),
    ("accuracy_teacher_forced", "accuracy, teacher-forced"),
    ("accuracy_free_running", "accuracy, decoded from the latents alone"),
    ("onset_f1", "onset F1, decoded from the latents alone"),
    ("onset_f1_swapped", "  from the latents of another piece"),
    ("active_units_a_{}", "active dims (mean posterior sigma < 0.98)"),  # of the top level
    ("active_units_b_{}", "active dims (variance of the means >= 0.01)"),
    ("mutual_information_{}", "I(x; z) estimate, nats"),
)
_OF_A_LEVEL = (  # key, with {} for the level, and what it is called
    ("kl_{}", "KL, nats per window"),
    ("kl_{}_per_latent", "  per latent"),
    ("active_units_a_{}", "active dims, rule a"),
    ("active_units_b_{}", "active dims, rule b"),
    ("active_units_b_raw_{}", "  raw, the prior not taken out"),
    ("mutual_information_{}", "I(x; z) estimate, nats"),
    ("replace_{}_prior_mean", "nll grows by, at the prior's mean"),
    ("replace_{}_noise", "  at a draw from the prior"),
    ("replace_{}_other_piece", "  at another piece's code"),
)
_OF_A_DECODING = (*(f"r2_{span}" for span in SPANS[::-1]), "chroma", "rhythm", "onset_f1")


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    """What is printed of an evaluation: its main figures and, of several levels, `level_tables`."""
    evaluation = finite(evaluation)
    lines = [
        f"{evaluation['num_examples']} windows of {evaluation['split']!r}, checkpoint of step {evaluation['step']}"
    ]
    levels = [level for level in LEVELS if f"kl_{level}" in evaluation]
    for template, text in (*_OF_ALL, *_bounds(evaluation)):
        key = template.format(next(iter(levels), ""))
        if key in evaluation:
            lines.append(f"  {text:<72} {_number(evaluation, key):>8}")
    if len(levels) > 1:
        lines += ["", level_tables(evaluation)]
    return "\n".join(lines)


def _bounds(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The importance-weighted bounds that were asked for: key, and what it is called."""
    draws = [name.removeprefix("nll_iwae_") for name in evaluation if name.startswith("nll_iwae_")]
    return [
        pair
        for number in draws
        for pair in (
            (f"nll_iwae_{number}", f"nll + kl by the bound of {number} draws, nats per window"),
            (f"perplexity_iwae_{number}", "  perplexity, comparable with the baselines"),
        )
    ]


def level_tables(evaluation: Mapping[str, Any]) -> str:
    """Tables by level, of the top-k test, and of the targets.

    Levels that are off have no column, figures that are missing have no row, and "-" is for what is no number.
    """
    evaluation = finite(evaluation)
    levels = [level for level in LEVELS if f"kl_{level}" in evaluation]
    by_level = [
        [text, *(_number(evaluation, key.format(level)) for level in levels)]
        for key, text in _OF_A_LEVEL
        if any(key.format(level) in evaluation for level in levels)
    ]
    for number, upper in enumerate(levels[:-1]):
        swapped = [_number(evaluation, f"swap_{upper}_kl_{lower}") for lower in levels[number + 1 :]]
        by_level.append([f"KL grows by, {upper} swapped", *[""] * (number + 1), *swapped])
    rows = [f"top_{k}" for k in range(len(levels) + 1)] + ["shuffled"]
    names = ["priors alone", *(f"down to {level}" for level in levels), "another piece's"]
    by_k = [
        [name, *(_number(evaluation, f"{row}_{kind}") for kind in _OF_A_DECODING)]
        for name, row in zip(names, rows, strict=True)
        if f"{row}_chroma" in evaluation
    ]
    targets = [
        [target.name, f"{target.value:.3f}", target.goal, "met" if target.met else "MISSED"]
        for target in check_targets({name: value for name, value in evaluation.items() if value is not None})
    ]
    tables = [
        _table(["by level", *levels], by_level),
        _table(["decoded from the code", *_OF_A_DECODING], by_k),
        _table(["target", "is", "aim", ""], targets),
    ]
    return "\n\n".join(table for table in tables if table)


def _number(evaluation: Mapping[str, Any], key: str) -> str:
    if key not in evaluation:
        return ""
    return "-" if evaluation[key] is None else f"{evaluation[key]:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first one to the left; nothing without rows."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (head, *rows)
    ]
    return "\n".join(lines)
