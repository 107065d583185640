r"""Draws what each group of dims tells of each attribute, from finished runs of an ablation.

Example:
    python experiments/draw_groups.py --out docs/groups.png --maps "no attributes=none" "attributes=control"
"""

from commandline import run, split_labels

import re
from pathlib import Path

import tyro
from ablate import RESULTS
from configs.ablations import ABLATIONS

from musicvae_jax.config import UserError, nearest

_LEAKAGE = r"flow\.groups\.\w+\.leakage\.\w+\.\w+"  # the figures that are drawn


def draw(*, maps: tuple[str, ...], out: str, ablation: str = "groups", results: Path = RESULTS) -> int:
    """Draws what each group of dims tells of each attribute: R2 by ridge regression, the mean over seeds.

    Args:
        maps: one or more "LABEL=VARIANT".
        out: picture to write: .png, .pdf or .svg.
        ablation: name of the ablation.
        results: folder that contains NAME.jsonl.
    """
    import numpy as np

    from musicvae_jax.analysis.groups import plot_leakage
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.evaluation.ablations import find_rows, plan, read_rows

    if ablation not in ABLATIONS:
        raise UserError(f"no ablation {ablation!r}: {nearest(ablation, ABLATIONS)}")
    done = find_rows(plan(ablation, ABLATIONS[ablation]), read_rows(results / f"{ablation}.jsonl"))
    drawn: dict[str, dict[str, dict[str, float]]] = {}
    for label, variant in split_labels("maps", maps, "'LABEL=VARIANT'").items():
        rows = [row for row in done.values() if row["variant"] == variant]
        keys = [key for key in (rows[0] if rows else ()) if re.fullmatch(_LEAKAGE, key)]
        if not keys:
            raise UserError(f"maps: no finished run of {variant!r} in {results} says what its groups tell")
        drawn[label] = {}
        for key in keys:
            _, _, level, _, group, attribute = key.split(".")
            value = float(np.mean([row[key] for row in rows]))
            drawn[label].setdefault(f"{level}/{group}", {})[attribute] = value
    save_figure(plot_leakage(drawn), out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
