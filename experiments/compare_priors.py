"""Measures the prior of a run and priors that fit_prior.py fitted to it on the same held-out music, and prints tables.

Examples:
    python experiments/compare_priors.py --workdir runs/folk                       # all of runs/folk/priors
    python experiments/compare_priors.py --workdir runs/folk --priors mixture flow
    python experiments/compare_priors.py --result runs/folk/priors/comparison.validation.json
"""

from commandline import DataPlaces, run

import dataclasses
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes

from musicvae_jax.config import UserError, check_seed
from musicvae_jax.config.checks import check

_DRAWN = 4  # samples of each prior in the picture


def compare(
    *,
    places: OmitArgPrefixes[DataPlaces],
    workdir: str = "",
    result: tuple[str, ...] = (),
    priors: tuple[str, ...] = (),
    split: str = "validation",
    num_windows: int = 512,
    iwae_draws: int = 64,
    checkpoint: str = "best",
    seed: int = 0,
) -> int:
    """Measures the prior of a run and fitted ones; writes WORKDIR/priors/comparison.SPLIT.json, or prints such files.

    Beside it are overlaps.SPLIT.png, the overlapping areas, and samples.png, four samples of each prior.

    Args:
        places: where the music is read.
        workdir: the folder of the run.
        result: a file that was written before: it is printed, and nothing is measured. Of several files, which are of
            runs of one config from several seeds, the means are printed.
        priors: names of fitted priors; all that were fitted to the checkpoint if none is given.
        split: validation, or another split of the data set.
        num_windows: windows that are measured, spread evenly over the split.
        iwae_draws: draws of each posterior, for both bounds.
        checkpoint: best or latest.
        seed: of all draws.
    """
    check(num_windows > 0, "num_windows", num_windows, "1 or more")
    check(iwae_draws > 0, "iwae_draws", iwae_draws, "1 or more")
    check_seed(seed)
    if bool(workdir) == bool(result):
        raise UserError("allowed is one of the two: --workdir, a run to measure, or --result, a file to print")

    from musicvae_jax.analysis.curves import plot_overlaps
    from musicvae_jax.analysis.page import save_figure
    from musicvae_jax.analysis.piano_rolls import plot_samples
    from musicvae_jax.evaluation.fitted_priors import OWN, fitted_names, fitted_step, load_prior
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.evaluation.prior_comparison import (
        compare_priors,
        comparison_text,
        read_comparison,
        write_comparison,
    )
    from musicvae_jax.training.devices import set_up_devices

    if result:
        print(comparison_text([read_comparison(path) for path in result]))
        return 0
    set_up_devices()
    vae = load_workdir(workdir, checkpoint, OWN)
    vae = places.apply(vae, workdir)
    there = [name for name in fitted_names(workdir) if fitted_step(workdir, name) == vae.step]
    fitted = {name: load_prior(vae, workdir, name) for name in priors or there}
    found = compare_priors(vae, fitted, split, num_windows=num_windows, num_draws=iwae_draws, seed=seed)
    folder = Path(workdir) / "priors"
    path = write_comparison(folder / f"comparison.{split}.json", found)
    overlaps = {name: row.samples.overlap for name, row in found.priors.items()}
    reference = found.priors[OWN].samples.overlap_of_training
    save_figure(plot_overlaps(overlaps, reference), folder / f"overlaps.{split}.png")
    samples = [
        dataclasses.replace(score, title=f"{name}, {number}")
        for name, own in {OWN: vae, **fitted}.items()
        for number, score in enumerate(own.sample(_DRAWN, seed=seed), 1)
    ]
    save_figure(plot_samples(samples), folder / "samples.png")
    print(f"\n{comparison_text([found])}\n\neverything: {path}; pictures: {folder}/*.png")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(compare))
