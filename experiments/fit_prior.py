"""Fits a prior to a trained model, which stays as it is; writes WORKDIR/priors/NAME.

Examples:
    python experiments/fit_prior.py --workdir runs/folk --base flow
    python experiments/fit_prior.py --workdir runs/folk --base flow --memory-layers 2 --flow-layers 6 --name flow-memory
    python experiments/fit_prior.py --workdir runs/folk --base mixture --levels global --modes 16 --name genres
    python experiments/evaluate.py  --workdir runs/folk --prior flow
    python experiments/generate.py sample --workdir runs/folk --prior flow --out out
"""

from commandline import DataPlaces, run

from typing import Literal

import tyro
from tyro.conf import OmitArgPrefixes


def fit(
    *,
    workdir: str,
    base: Literal["mixture", "flow", "vamp"],
    name: str = "",
    levels: tuple[str, ...] = (),
    modes: int = 8,
    flow: Literal["affine", "spline"] = "affine",
    flow_layers: int = 4,
    memory_layers: int = 0,
    style_weight: float = 0.0,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float | None = None,
    checkpoint: str = "best",
    seed: int = 0,
    places: OmitArgPrefixes[DataPlaces],
) -> int:
    """Fits a prior to a trained model, which stays as it is; writes WORKDIR/priors/NAME.

    Args:
        workdir: the folder of the run.
        base: what the latents of a level are distributed as, given what is above.
        name: of the prior; that of the base if not given.
        levels: which levels get it; all of the model if none is named, of vamp the top one.
        modes: mixture, vamp: number of Gaussians.
        flow: flow: what a coupling layer does to a dim.
        flow_layers: flow: coupling layers.
        memory_layers: mixture, flow: layers of a transformer that reads the earlier latents of a level; 0: none.
        style_weight: mixture: weight of the error of styles, which the Gaussians of the top level are to mean.
        steps: steps of the fit.
        batch_size: windows of a step.
        learning_rate: of the first step; by default 0.003 for flow, 0.01 for mixture and vamp.
        checkpoint: best or latest.
        seed: of parameters, windows and draws.
        places: where the music is read.
    """
    from musicvae_jax.evaluation.fitted_priors import prior_folder, save_prior
    from musicvae_jax.evaluation.prior_fitting import fit_prior
    from musicvae_jax.evaluation.trained import load_workdir
    from musicvae_jax.training.devices import set_up_devices

    prior_folder(workdir, name or base)  # refuses a bad name before the work
    set_up_devices()
    vae = load_workdir(workdir, checkpoint)
    vae = places.apply(vae, workdir)
    prior = fit_prior(
        vae,
        base,
        levels,
        modes=modes,
        flow=flow,
        flow_layers=flow_layers,
        memory_layers=memory_layers,
        style_weight=style_weight,
        num_steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    folder = save_prior(prior, workdir, name or base)
    for level, before in prior.before.items():
        print(f"KL of {level}: {before:.2f} nats per window under its own base, {prior.after[level]:.2f} under {base}")
    print(f"the prior: {folder}")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(fit))
