"""Fits a prior to a trained model, which stays as it is; writes WORKDIR/priors/NAME.

Examples:
    python experiments/fit_prior.py --workdir runs/folk --prior.base flow --prior.memory-layers 2
    python experiments/fit_prior.py --workdir runs/folk --prior.base mixture --prior.levels global --name genres
    python experiments/evaluate.py  --workdir runs/folk --prior flow
    python experiments/generate.py sample --workdir runs/folk --prior flow --out out
"""

from commandline import DataPlaces, run

import tyro
from tyro.conf import OmitArgPrefixes

from musicvae_jax.config import PriorConfig
from musicvae_jax.config.checks import check


def fit(
    *,
    workdir: str,
    prior: PriorConfig,
    name: str = "",
    checkpoint: str = "best",
    seed: int = 0,
    places: OmitArgPrefixes[DataPlaces],
) -> int:
    """Fits a prior to a trained model, which stays as it is; writes WORKDIR/priors/NAME.

    Args:
        workdir: the folder of the run.
        prior: what to fit, and how long; what the config of the run says of it does not count.
        name: of the prior; that of its base if not given.
        checkpoint: best or latest.
        seed: of parameters, windows and draws.
        places: where the music is read.
    """
    from musicvae_jax.evaluation.fitted_priors import MAIN, OWN, prior_folder, save_prior
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.evaluation.prior_fitting import fit_prior
    from musicvae_jax.training.devices import set_up_devices

    prior_folder(workdir, name or prior.base)  # refuses a bad name before the work
    check(name != MAIN, "name", name, f"any other: {MAIN!r} is the prior that the config of a run asks for")
    set_up_devices()
    vae = places.apply(load_workdir(workdir, checkpoint, OWN), workdir)
    fitted = fit_prior(vae, prior, seed=seed)
    folder = save_prior(fitted, workdir, name or prior.base)
    print(f"{fitted}\nthe prior: {folder}")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(fit))
