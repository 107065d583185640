"""Measures a trained model on held-out music and writes WORKDIR/evaluation.SPLIT.json, or prints such a file.

Decisions are made on the validation split. The test split is for what is adopted, and for once: the file says how often
it was measured.

Examples:
    python experiments/evaluate.py --workdir runs/folk                         # writes evaluation.validation.json
    python experiments/evaluate.py --workdir runs/folk --split test
    python experiments/evaluate.py --result experiments/results/folk.test.json
    python experiments/evaluate.py --result experiments/results/chorales-flat*.test.json  # mean over seeds
"""

from commandline import DataPlaces, run

import dataclasses
import math
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes

from musicvae_jax.config import UserError, check_seed
from musicvae_jax.config.checks import check


def evaluate(
    *,
    workdir: str = "",
    result: tuple[str, ...] = (),
    split: str = "validation",
    checkpoint: str = "best",
    prior: str = "",
    num_examples: int | None = None,
    flow_windows: int = 256,
    iwae_draws: int = 0,
    samples: int = 512,
    guidance: float = 1.0,
    rivals: bool = True,
    seed: int = 0,
    places: OmitArgPrefixes[DataPlaces],
) -> int:
    """Measures a trained model on held-out music and writes WORKDIR/evaluation.SPLIT.json, or prints such a file.

    For several levels it also prints the targets, each met or missed.

    Args:
        workdir: the folder of the run.
        result: a file that was written before: it is printed, and nothing is measured. Of several files, which are of
            runs of one config from several seeds, the mean of the main figures is printed.
        split: validation; test, for what is adopted; or another of the data set, such as test_airds.
        checkpoint: best or latest.
        prior: own, or one that was fitted to the run; the one that its config asks for if not given, and else the
            figures go to WORKDIR/priors/PRIOR/evaluation.SPLIT.json.
        num_examples: only so many windows, spread evenly over the split; all if not given.
        flow_windows: windows that are decoded many times to measure what each level says; 0 leaves that out.
        iwae_draws: posterior draws of a tighter bound on the likelihood, each a pass over the split; 0 leaves it out.
        samples: windows whose latents are compared with draws from the prior, and as many samples that are compared
            with held-out music; 0 leaves both out.
        guidance: of a model with conditions, how strongly the music that is made for them follows them, see
            `TrainedVAE.sample`.
        rivals: also measure Markov chains and copies; they depend on the data alone, so one seed of a config is enough.
        seed: of the posterior draws.
        places: where the music is read.
    """
    check(num_examples is None or num_examples > 0, "num_examples", num_examples, "1 or more")
    check(flow_windows >= 0, "flow_windows", flow_windows, "0 (off) or more")
    check(iwae_draws >= 0, "iwae_draws", iwae_draws, "0 (off) or more")
    check(samples >= 0, "samples", samples, "0 (off) or more")
    check(1 <= guidance < math.inf, "guidance", guidance, "1 or more")
    check_seed(seed)
    if bool(workdir) == bool(result):
        raise UserError("allowed is one of the two: --workdir, a run to measure, or --result, a file to print")

    from musicvae_jax.evaluation import evaluate as evaluation
    from musicvae_jax.evaluation.conditioned import condition_figures
    from musicvae_jax.evaluation.figures import evaluation_path, read_evaluation, write_evaluation
    from musicvae_jax.evaluation.fitted_priors import usual_prior
    from musicvae_jax.evaluation.information_flow import information_flow
    from musicvae_jax.evaluation.load import load_workdir
    from musicvae_jax.evaluation.prior_distance import prior_figures
    from musicvae_jax.evaluation.rivals import measure_rivals
    from musicvae_jax.evaluation.samples import sample_figures
    from musicvae_jax.evaluation.tables import evaluation_text, seeds_text
    from musicvae_jax.training.devices import set_up_devices
    from musicvae_jax.training.workdir import read_config

    if result:
        found = [read_evaluation(path) for path in result]
        print(evaluation_text(found[0]) if len(found) == 1 else seeds_text(found))
        return 0
    set_up_devices()
    vae = load_workdir(workdir, checkpoint, prior)
    if prior and prior != usual_prior(read_config(workdir)):
        workdir = str(Path(workdir) / "priors" / prior)
    check(guidance == 1 or bool(vae.conditions.names), "guidance", guidance, "1: the model has no conditions")
    vae = places.apply(vae, workdir)
    path = evaluation_path(workdir, split)
    times = 1 + (read_evaluation(path).times_measured or 0) if path.exists() else 1
    figures = evaluation.evaluate(vae, split, num_examples=num_examples, iwae_draws=iwae_draws, seed=seed)
    measured = measure_rivals(vae.config, split, num_examples=num_examples) if rivals else None
    flow = None
    if flow_windows and vae.config.levels.on:
        windows = min(flow_windows, num_examples or flow_windows)
        flow = information_flow(vae, split, num_windows=windows, num_probed=4 * windows, seed=seed)
    fit, drawn, windows = None, None, min(samples, num_examples or samples)
    if windows:
        fit = prior_figures(vae, split, num_windows=windows, seed=seed) if vae.config.levels.on else None
        drawn = sample_figures(vae, split, num_windows=windows, seed=seed)
    heard = None
    if vae.conditions.names:
        number = min(512, num_examples or 512)
        heard = condition_figures(vae, split, guidance=guidance, num_windows=number, seed=seed)
    figures = dataclasses.replace(
        figures,
        checkpoint=checkpoint,
        seed=seed,
        prior=vae.prior,
        train_seed=vae.config.train.seed,
        times_measured=times,
        rivals=measured,
        flow=flow,
        conditions=heard,
        priors=fit,
        samples=drawn,
    )
    write_evaluation(workdir, figures)
    print(f"\n{evaluation_text(figures)}\n\neverything: {path}")
    return 0


if __name__ == "__main__":
    run(lambda: tyro.cli(evaluate))
