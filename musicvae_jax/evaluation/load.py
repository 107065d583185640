"""A run in one call: its model, with its parameters, its codec and its prior."""

import contextlib
import sys
from pathlib import Path

import jax

from musicvae_jax.codec import make_codec
from musicvae_jax.evaluation.fitted_priors import MAIN, OWN, has_main, load_prior, usual_prior
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.parallel import check_platform, everywhere
from musicvae_jax.training.state import evaluation_variables, make_model, state_shapes
from musicvae_jax.training.workdir import read_conditions, read_config, read_metres


def load_workdir(workdir: str | Path, checkpoint: str = "best", prior: str = "") -> TrainedVAE:
    """The model that a run trained.

    Args:
        workdir: the folder of the run.
        checkpoint: ``"best"`` by the validation objective, or ``"latest"``.
        prior: ``"own"``, the one that the model was trained with; or the name of a fitted one. If not given, the one
            that the config asks for (``"main"``, see `PriorConfig`), or its own where that is not fitted yet; a line on
            standard error says so.

    Raises:
        WorkdirError: the folder holds no run, no checkpoint yet, or a checkpoint of another model.
        ConfigError: the run is float64, and JAX would compute in float32.
        UserError: there is no such prior, or it is damaged; see `load_prior`.
    """
    config = read_config(workdir)
    check_platform(config)
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    shapes = state_shapes(config, model)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere()), shapes)
    with contextlib.closing(Checkpoints(Path(workdir))) as checkpoints:
        state, _, _ = checkpoints.restore(like, checkpoint)
    metres = read_metres(workdir)
    conditions = read_conditions(workdir, config.model.conditions)
    vae = TrainedVAE(config, codec, model, evaluation_variables(state), int(state.step), metres, conditions)
    name = prior or usual_prior(config)
    if not prior and name == MAIN and not has_main(workdir, config, vae.step):
        print(
            f"{workdir} has no prior for step {vae.step} yet: the model's own is used; `fit_main` fits it",
            file=sys.stderr,
        )
        name = OWN
    return vae if name == OWN else load_prior(vae, workdir, name)
