"""A run's folder as a trained model, on one device or on all."""

import contextlib
import dataclasses
import json
from functools import partial
from pathlib import Path

import jax

from musicvae_jax.codec import make_codec
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.parallel import Parallel, check_platform, everywhere, make_local_parallel
from musicvae_jax.training.state import evaluation_variables, init_state, make_model
from musicvae_jax.training.workdir import read_config


def load_workdir(workdir: str | Path, checkpoint: str = "best") -> TrainedVAE:
    """The model that a run trained.

    Args:
        workdir: the run's folder.
        checkpoint: ``"best"`` by the validation objective, or ``"latest"``.

    Raises:
        WorkdirError: no run, no checkpoint yet, or a checkpoint of another model.
        ConfigError: the run is float64, and JAX would compute in float32.
    """
    config = read_config(workdir)
    check_platform(config)
    codec = make_codec(config.codec)
    model = make_model(config, codec.fields)
    shapes = jax.eval_shape(partial(init_state, config, model))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere()), shapes)
    with contextlib.closing(Checkpoints(Path(workdir))) as checkpoints:
        state, _, _ = checkpoints.restore(like, checkpoint)
    metres = json.loads((Path(workdir) / "metres.json").read_text())
    return TrainedVAE(config, codec, model, evaluation_variables(state), int(state.step), metres)


def on_all_devices(vae: TrainedVAE) -> tuple[TrainedVAE, Parallel]:
    """The model with its variables on this process's devices, and how batches of its `batch_size` are spread over them.

    Not over the devices of the training: this machine may have fewer. Of several processes each measures alone.
    """
    parallel = make_local_parallel(vae.batch_size)
    return dataclasses.replace(vae, variables=jax.device_put(vae.variables, parallel.replicated)), parallel
