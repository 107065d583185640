"""Writes a report of a run: one HTML file that shows and plays what the model does, without a network.

Example:
    python experiments/analyze.py --workdir runs/folk --out runs/folk/report
"""

from commandline import DataPlaces, run

import time
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes

from musicvae_jax.config import check_seed
from musicvae_jax.config.checks import check


def analyze(
    *,
    places: OmitArgPrefixes[DataPlaces],
    workdir: str,
    out: str = "",
    checkpoint: str = "best",
    prior: str = "",
    split: str = "validation",
    num: int = 6,
    steps: int = 7,
    reach: float = 2.0,
    map_windows: int = 200,
    seed: int = 0,
) -> int:
    """Writes OUT/report.html: figures, curves, reconstructions, samples, moved dims, interpolations and a map.

    Args:
        places: where the held-out music is read.
        workdir: the folder of the run. Figures are there once evaluate.py has measured the split.
        out: the folder of the report; WORKDIR/report if not given.
        checkpoint: best or latest.
        prior: own, or one that was fitted to the run; the one that its config asks for if not given.
        split: of the held-out music that is shown.
        num: how many reconstructions, and samples.
        steps: points of a moved dim, and of an interpolation.
        reach: the largest shift of a dim.
        map_windows: windows on the map.
        seed: of the samples.
    """
    check(num >= 2, "num", num, "2 or more")
    check(steps >= 2, "steps", steps, "2 or more")
    check(map_windows >= 3, "map_windows", map_windows, "3 or more")
    check_seed(seed)

    from musicvae_jax.analysis.report import write_report
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.training.devices import set_up_devices

    set_up_devices()
    start = time.perf_counter()
    vae = load_workdir(workdir, checkpoint, prior)
    vae = places.apply(vae, workdir)
    path = Path(out or Path(workdir) / "report") / "report.html"
    write_report(vae, workdir, path, split=split, num=num, steps=steps, reach=reach, num_mapped=map_windows, seed=seed)
    print(
        f"{path}: {path.stat().st_size / 2**20:.1f} MiB, in {time.perf_counter() - start:.0f} s; open it in a browser"
    )
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(analyze))
