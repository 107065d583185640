r"""Draws a result of an ablation over the KL, one curve per model, from finished runs.

Example:
    python experiments/draw_rates.py --out docs/levels.png --curves "three levels=three-10 three-20 three-40" \
        "one latent=one-none-10 one-none-20 one-none-40"
"""

from commandline import run, split_labels

from pathlib import Path

import tyro
from ablate import RESULTS
from configs.ablations import ABLATIONS

from musicvae_jax.config import UserError, nearest


def draw(
    *, curves: tuple[str, ...], out: str, figure: str = "onset_f1", ablation: str = "levels", results: Path = RESULTS
) -> int:
    """Draws a result of an ablation over the KL, one curve per model, from finished runs.

    Args:
        curves: one or more "LABEL=VARIANT VARIANT ...".
        out: picture to write: .png, .pdf or .svg.
        figure: name of the result, e.g. onset_f1.
        ablation: name of the ablation.
        results: folder that contains NAME.jsonl.
    """
    import numpy as np

    from musicvae_jax.analysis.curves import plot_rate_curve
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.evaluation.ablations import find_rows, plan, read_rows

    if ablation not in ABLATIONS:
        raise UserError(f"no ablation {ablation!r}: {nearest(ablation, ABLATIONS)}")
    done = find_rows(plan(ablation, ABLATIONS[ablation]), read_rows(results / f"{ablation}.jsonl"))
    points: dict[str, list[np.ndarray]] = {}
    for label, variants in split_labels("curves", curves, "'LABEL=VARIANT VARIANT ...'").items():
        points[label] = []
        for variant in variants.split():
            rows = [row for row in done.values() if row["variant"] == variant]
            if any(row.get(figure) is None for row in rows):
                raise UserError(f"figure = {figure!r}: {variant} has no result of that name in {results}")
            points[label].append(np.array([(row["kl_per_phrase"], row[figure]) for row in rows]))
    save_figure(plot_rate_curve(points, figure), out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
