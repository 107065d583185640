"""Draws every schedule of the KL's weight, and a controller's response to a simulated plant.

Example: python experiments/draw_schedules.py --out docs/schedules.png
"""

import tyro
from commandline import run


def draw(*, out: str) -> int:
    """Draws every schedule of the KL's weight, and a controller's response to a simulated plant.

    Args:
        out: the PNG to write.
    """
    from musicvae_jax.analysis.schedules import plot_schedules

    plot_schedules(out)
    print(out)
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(draw))
