"""Draws all schedules of the KL's weight, and the controller on a simulated model.

Example: python experiments/draw_schedules.py --out docs/schedules.png
"""

from commandline import run

import tyro


def draw(*, out: str) -> int:
    """Draws all schedules of the KL's weight, and the controller on a simulated model.

    Args:
        out: picture to write: .png, .pdf or .svg.
    """
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.analysis.schedules import plot_schedules

    save_figure(plot_schedules(), out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
