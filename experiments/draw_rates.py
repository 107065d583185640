r"""Draws what a figure of an ablation comes to at each rate, a curve per model.

Example:
    python experiments/draw_rates.py --out docs/levels.png --curves "three levels=three-10 three-20 three-40" \
        "basic VAE=flat-10 flat-20 flat-40"
"""

from pathlib import Path

import tyro
from commandline import run

from musicvae_jax.config import UserError

ROWS = Path(__file__).resolve().parent / "results" / "ablations" / "levels.jsonl"


def draw(*, curves: tuple[str, ...], out: str, figure: str = "onset_f1", rows: Path = ROWS) -> int:
    """Draws what a figure of an ablation comes to at each rate, a curve per model.

    Args:
        curves: "LABEL=VARIANT VARIANT ..." of each.
        out: the PNG to write.
        figure: its name in the rows.
        rows: the ablation's jsonl.
    """
    import numpy as np

    from musicvae_jax.analysis.rate_curve import plot_rate_curve
    from musicvae_jax.evaluation.ablations.rows import read_rows

    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for text in curves:
        label, equals, variants = text.partition("=")
        if not (label and equals and variants.split()):
            raise UserError(f"curves has {text!r}: allowed is 'LABEL=VARIANT VARIANT ...'")
        points[label] = {variant: [] for variant in variants.split()}
    for row in read_rows(rows):
        for own in points.values():
            if row["variant"] in own:
                if figure not in row:
                    raise UserError(f"figure = {figure!r}: {row['variant']} has none of that name in {rows}")
                own[row["variant"]].append((row["kl_per_phrase"], row[figure]))
    plot_rate_curve({label: [np.array(p) for p in own.values()] for label, own in points.items()}, figure, out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
