"""A model of three levels that nothing has trained, in a workdir as a run leaves it."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np

from musicvae_jax.codec import make_codec
from musicvae_jax.config import Config, DataConfig
from musicvae_jax.training.checkpoint import Checkpoints
from musicvae_jax.training.state import make_model, start_state, state_shapes
from musicvae_jax.training.workdir import open_workdir
from tests.tiny import SHALLOW, replace

LEVELS_CONFIG = replace(
    Config(data=DataConfig(measures=4), model=SHALLOW),
    model={"context": "none"},
    train={"ema_decay": 0.0},
    **{"global": {"dim": 6}},
    local={"dim": 4, "span": 2},
    fine={"dim": 3},
)


def write_workdir(folder: Path, config: Config = LEVELS_CONFIG, seed: int = 0) -> Path:
    """Every parameter random and large, so that latents matter to the music."""
    workdir = open_workdir(folder, config)
    model, rng = make_model(config, make_codec(config.codec).fields), np.random.default_rng(seed)
    shapes = state_shapes(config, model).params
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    state = jax.jit(partial(start_state, config))(params)
    checkpoints = Checkpoints(workdir)
    for kind in ("latest", "best"):
        checkpoints.save(kind, 1, state, {}, {})
    checkpoints.close()
    (workdir / "metres.json").write_text(json.dumps({"4/4": 3, "3/4": 1}))
    return workdir
