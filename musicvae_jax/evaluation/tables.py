"""What evaluation.json says of the levels, as text to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.evaluation.targets import check_targets
from musicvae_jax.types import LEVELS

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


def level_tables(evaluation: Mapping[str, Any]) -> str:
    """Tables by level, of the top-k test, and of the targets.

    Levels that are off have no column, figures that are missing have no row.
    """
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
        for target in check_targets(evaluation)
    ]
    tables = [
        _table(["by level", *levels], by_level),
        _table(["decoded from the code", *_OF_A_DECODING], by_k),
        _table(["target", "is", "aim", ""], targets),
    ]
    return "\n\n".join(table for table in tables if table)


def _number(evaluation: Mapping[str, Any], key: str) -> str:
    return f"{evaluation[key]:.3f}" if key in evaluation else ""


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
