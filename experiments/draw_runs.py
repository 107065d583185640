"""Draws what the latent levels carry over training, for several runs side by side.

Example: python experiments/draw_runs.py --out docs/collapse.png --runs "no remedy=runs/none" "set points=runs/held"
"""

import math
from pathlib import Path

import tyro
from commandline import run

from musicvae_jax.config import UserError
from musicvae_jax.config.checks import check


def draw(*, runs: tuple[str, ...], out: str, smoothing: float = 0.05) -> int:
    """Draws what the latent levels carry over training, for several runs side by side.

    Args:
        runs: LABEL=WORKDIR of each, from left to right.
        out: the PNG to write.
        smoothing: width of the moving average as a share of a run's rows; 0 for none.
    """
    from musicvae_jax.analysis.level_kl import plot_level_kl

    check(0 <= smoothing < math.inf, "smoothing", smoothing, "0 (none) or more")
    files: dict[str, Path] = {}
    for text in runs:
        label, equals, workdir = text.partition("=")
        if not (label and equals and workdir):
            raise UserError(f"runs has {text!r}: allowed is LABEL=WORKDIR")
        if label in files:
            raise UserError(f"runs has {label!r} twice: allowed is a label of its own for each")
        files[label] = Path(workdir) / "metrics.jsonl"
    plot_level_kl(files, out, smoothing=smoothing)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
