"""Priors that are fitted to a trained model, which stays as it is: other bases under its own frames.

`prior_fitting` makes them; here they are saved and loaded.
"""

import dataclasses
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.config import Config, UserError, to_json
from musicvae_jax.config.checks import check
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.files import replacing, replacing_folder
from musicvae_jax.training.state import make_model, state_shapes
from musicvae_jax.training.workdir import read_config, write_text

OWN = "own"  # the name of the prior that a model was trained with
MAIN = "main"  # the name of the one that the config of its run asks for
BASES = ("bases_", "memories_", "metres_")  # what the parameters of bases begin with


@dataclasses.dataclass(frozen=True)
class FittedPrior:
    """A model with other bases, and what they gain."""

    vae: TrainedVAE
    before: dict[str, float]  # level -> KL on validation, in nats per window
    after: dict[str, float]

    def __str__(self) -> str:
        """What it gains, in a line for each level."""
        levels = self.vae.config.levels
        return "\n".join(
            f"KL of {level}: {kl:.2f} nats per window under the model's own prior, {self.after[level]:.2f} under "
            f"{levels[level].base}"
            for level, kl in self.before.items()
        )


def save_prior(prior: FittedPrior, workdir: str | Path, name: str) -> Path:
    """Writes WORKDIR/priors/NAME: config.json, bases.npz, and fit.json with the KLs; returns the folder.

    An older prior of that name goes, with what was measured of it, once the new one is complete.

    Raises:
        UserError: see `prior_folder`.
    """
    folder = prior_folder(workdir, name)
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(bases_of(prior.vae.variables))
    }
    found = {"step": prior.vae.step, "before": prior.before, "after": prior.after}
    with replacing_folder(folder) as new:
        with replacing(new / "bases.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **leaves)
        write_text(new / "fit.json", json.dumps(found, indent=2) + "\n")
        write_text(new / "config.json", to_json(prior.vae.config))
    return folder


def load_prior(vae: TrainedVAE, workdir: str | Path, name: str) -> TrainedVAE:
    """A model with a prior that `save_prior` wrote.

    Raises:
        UserError: there is no such prior, it was fitted to another checkpoint, or one of its files is damaged.
    """
    folder = prior_folder(workdir, name)
    there = fitted_names(workdir)
    check(name in there, "prior", name, f"one of {', '.join(there)}" if there else "none: fit one with fit_prior.py")
    step = fitted_step(workdir, name)
    check(step == vae.step, "prior", name, f"one that was fitted to step {vae.step} of the run; this one to {step}")
    config = dataclasses.replace(read_config(folder), data=vae.config.data)  # read where the model's music is read
    model = make_model(config, vae.codec.fields)
    shapes = state_shapes(config, model).params
    kept = {name: leaf for name, leaf in shapes.items() if not name.startswith(BASES)}
    params = {name: leaf for name, leaf in vae.variables["params"].items() if not name.startswith(BASES)}
    if jax.tree.map(jnp.shape, kept) != jax.tree.map(jnp.shape, params):
        raise _damaged(folder / "config.json", ValueError("it is of another model"))
    bases = _read_bases(folder / "bases.npz", bases_of({"params": shapes}))
    variables = {**vae.variables, "params": {**params, **bases}}
    return dataclasses.replace(vae, config=config, model=model, variables=variables, prior=name)


def usual_prior(config: Config) -> str:
    """The name of the prior that a run of this config is used with, unless another one is named."""
    return MAIN if config.prior.base != "none" else OWN


def has_main(workdir: str | Path, config: Config, step: int) -> bool:
    """Whether a run has the prior that its config asks for, fitted to this step."""
    if fitted_step(workdir, MAIN) != step:
        return False
    return read_config(prior_folder(workdir, MAIN)).levels == config.fitted.levels


def fitted_names(workdir: str | Path) -> list[str]:
    """The names of the priors that were fitted to a run."""
    return sorted(path.parent.name for path in (Path(workdir) / "priors").glob("[!.]*/config.json"))


def fitted_step(workdir: str | Path, name: str) -> int | None:
    """The step of the run to which a prior was fitted; None if there is no prior of that name.

    Raises:
        UserError: the file that says so is damaged.
    """
    if name not in fitted_names(workdir):
        return None
    path = prior_folder(workdir, name) / "fit.json"
    try:
        return int(json.loads(path.read_text())["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from None


def _read_bases(path: Path, like: Any) -> Any:
    """The arrays of a file, in a tree of these shapes."""
    try:
        with np.load(path, allow_pickle=False) as leaves:
            bases = jax.tree_util.tree_map_with_path(
                lambda path, _: leaves[jax.tree_util.keystr(path, simple=True, separator="/")], like
            )
    except (ValueError, TypeError, AttributeError, KeyError, EOFError, MemoryError, RuntimeError) as error:
        raise _damaged(path, error) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None
    differing = jax.tree.map(lambda leaf, wanted: leaf.shape != wanted.shape or leaf.dtype != wanted.dtype, bases, like)
    if any(jax.tree.leaves(differing)):
        raise _damaged(path, ValueError("its arrays are of another model"))
    return bases


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged: {error}; allowed is what fit_prior.py wrote")


def level_of(parameters: str) -> str:
    """The level to whose base parameters belong; empty if they are others."""
    return parameters.split("_", 1)[1] if parameters.startswith(BASES) else ""


def bases_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the bases of all levels."""
    return {name: leaf for name, leaf in variables["params"].items() if name.startswith(BASES)}


def prior_folder(workdir: str | Path, name: str) -> Path:
    """WORKDIR/priors/NAME.

    Raises:
        UserError: the name has other characters than letters, digits, '_', '.' and '-', or is that of the model's own.
    """
    fits = bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)) and name != OWN
    check(fits, "prior", name, f"letters, digits, '_', '.' and '-', but not {OWN!r}, which is the model's own")
    return Path(workdir) / "priors" / name
