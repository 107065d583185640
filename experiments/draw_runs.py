"""Draws the KL of each latent level over training, several runs side by side.

Example: python experiments/draw_runs.py --out docs/collapse.png --runs "no remedy=runs/none" "set points=runs/held"
"""

from commandline import run, split_labels

from pathlib import Path

import tyro


def draw(*, runs: tuple[str, ...], out: str, smoothing: float = 0.05) -> int:
    """Draws the KL of each latent level over training, several runs side by side.

    Args:
        runs: one or more LABEL=WORKDIR, from left to right.
        out: picture to write: .png, .pdf or .svg.
        smoothing: width of the moving average as a share of a run's rows; 0 for none.
    """
    from musicvae_jax.analysis.curves import plot_level_kl
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.training.metrics import read_metrics

    workdirs = split_labels("runs", runs, "LABEL=WORKDIR")
    rows = {label: read_metrics(Path(workdir) / "metrics.jsonl") for label, workdir in workdirs.items()}
    save_figure(plot_level_kl(rows, smoothing=smoothing), out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
