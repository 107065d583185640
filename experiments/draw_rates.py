r"""Draws what a figure of an ablation comes to at each rate, a curve per model.

Example:
    python experiments/draw_rates.py --out docs/levels.png --curves "three levels=three-10 three-20 three-40" \
        "one latent=flat-10 flat-20 flat-40"
"""

from pathlib import Path

import tyro
from ablate import RESULTS
from commandline import run
from configs.ablations import ABLATIONS

from musicvae_jax.config import UserError, nearest


def draw(
    *, curves: tuple[str, ...], out: str, figure: str = "onset_f1", ablation: str = "levels", results: Path = RESULTS
) -> int:
    """Draws what a figure of an ablation comes to at each rate, a curve per model, from the runs that its table counts.

    Args:
        curves: "LABEL=VARIANT VARIANT ..." of each.
        out: the PNG to write.
        figure: its name in the rows.
        ablation: its name.
        results: where NAME.jsonl lies.
    """
    import numpy as np

    from musicvae_jax.analysis.rate_curve import plot_rate_curve
    from musicvae_jax.evaluation.ablations import find_rows, plan, read_rows

    if ablation not in ABLATIONS:
        raise UserError(f"no ablation {ablation!r}: {nearest(ablation, ABLATIONS)}")
    done = find_rows(plan(ablation, ABLATIONS[ablation]), read_rows(results / f"{ablation}.jsonl"))
    points: dict[str, list[np.ndarray]] = {}
    for text in curves:
        label, equals, variants = text.partition("=")
        if not (label and equals and variants.split()):
            raise UserError(f"curves has {text!r}: allowed is 'LABEL=VARIANT VARIANT ...'")
        if label in points:
            raise UserError(f"curves has {label!r} twice: allowed is a label of its own for each")
        points[label] = []
        for variant in variants.split():
            rows = [row for row in done.values() if row["variant"] == variant]
            if any(row.get(figure) is None for row in rows):
                raise UserError(f"figure = {figure!r}: {variant} has none of that name in {results}")
            points[label].append(np.array([(row["kl_per_phrase"], row[figure]) for row in rows]))
    plot_rate_curve(points, figure, out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
