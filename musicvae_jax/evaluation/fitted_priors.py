"""Priors that are fitted to a trained model, which stays as it is: other bases under its own frames.

With a memory, a base also depends on the earlier latents of its level.

The KL of a model is E KL(q(e | x) || p(e)). With the posteriors fixed, fitting p to their draws lowers it by what the
base missed of them, and leaves the nll alone.
"""

import dataclasses
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import trange

from musicvae_jax.config import Config, UserError, check_seed, to_json
from musicvae_jax.config.checks import check
from musicvae_jax.data.load import TRAIN, load_batches, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE, on_all_devices
from musicvae_jax.files import replacing
from musicvae_jax.inference import infer
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import make_local_parallel
from musicvae_jax.training.state import init_params, make_model, state_shapes
from musicvae_jax.training.workdir import read_config, write_text
from musicvae_jax.types import Array, Batch, Variables

BASES = ("bases_", "memories_")  # what the parameters of bases begin with
LEARNING_RATES = {"mixture": 1e-2, "vamp": 1e-2, "flow": 3e-3}  # of the first step
_EVERY = 100  # steps between measurements on validation, of which the best counts
_VALIDATION_WINDOWS = 512


@dataclasses.dataclass(frozen=True)
class FittedPrior:
    """A model with other bases, and what they gain."""

    vae: TrainedVAE
    before: dict[str, float]  # level -> KL on validation, in nats per window
    after: dict[str, float]


def fit_prior(
    vae: TrainedVAE,
    base: str,
    levels: Sequence[str] = (),
    *,
    modes: int = 8,
    flow: str = "affine",
    flow_layers: int = 4,
    memory: bool = False,
    num_steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float | None = None,
    seed: int = 0,
) -> FittedPrior:
    """Fits a base to the posteriors of training windows, by the KL; the other parameters do not change.

    Every hundred steps the KL is measured on 512 validation windows, and the best parameters of each level are kept;
    they are those of the start where nothing was gained.

    Args:
        vae: a trained model.
        base: ``"mixture"``, ``"flow"`` or ``"vamp"``, see `LevelConfig.base`.
        levels: which levels get it; all that are on if none is named, the top one for ``vamp``.
        modes: see `LevelConfig.modes`.
        flow: see `LevelConfig.flow`.
        flow_layers: see `LevelConfig.flow_layers`.
        memory: see `LevelConfig.memory`; of levels with several latents in a window.
        num_steps: of Adam, with a cosine decay.
        batch_size: windows of a step.
        learning_rate: of the first step; that of `LEARNING_RATES` if not given.
        seed: of parameters, windows and draws.

    Raises:
        UserError: an argument is out of range, or the base does not go with the model; see `config.rules`.
    """
    check_seed(seed)
    check(num_steps > 0, "num_steps", num_steps, "1 or more")
    check(learning_rate is None or learning_rate > 0, "learning_rate", learning_rate, "more than 0")
    on = vae.config.levels.on
    named = tuple(levels) or ((vae.config.levels.top,) if base == "vamp" else tuple(on))
    check(bool(named) and set(named) <= set(on), "levels", named, f"some of {', '.join(on) or 'none: all are off'}")
    changes = {"base": base, "modes": modes, "flow": flow, "flow_layers": flow_layers}
    vae, on_devices = on_all_devices(vae)
    measures = vae.config.data.measures
    config = with_bases(
        vae.config, {name: changes | {"memory": memory and on[name].num_latents(measures) > 1} for name in named}
    )
    model = make_model(config, vae.codec.fields)
    fresh = init_params(model, measures, seed)
    names = [name for name in fresh if _level_of(name) in named]
    learnt = jax.device_put({name: fresh[name] for name in names}, on_devices.replicated)
    frozen = {name: leaf for name, leaf in vae.variables["params"].items() if _level_of(name) not in named}

    def variables_of(learnt: Any, frozen: Any) -> Variables:
        return {**vae.variables, "params": {**frozen, **learnt}}

    def kl(learnt: Any, frozen: Any, batch: Batch, key: Array) -> dict[str, Array]:
        found = infer(model, variables_of(learnt, frozen), batch, row_keys(key, batch.index))
        return {name: found.kl[name].total.sum(-1) for name in named}

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate or LEARNING_RATES[base], num_steps))

    @jax.jit
    def step(learnt: Any, state: Any, frozen: Any, batch: Batch, key: Array) -> tuple[Any, Any, Array]:
        def mean_kl(learnt: Any) -> Array:
            return jnp.stack(list(kl(learnt, frozen, batch, key).values())).sum(0).mean()

        loss, slope = jax.value_and_grad(mean_kl)(learnt)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(learnt, updates), state, loss

    validation = load_windows(config, "validation", attributes=False)
    held_out = [
        on_devices.shard_rows(batch)
        for batch in make_eval_batches(validation, EVALUATION_ROWS, num_examples=_VALIDATION_WINDOWS)
    ]
    measure, key = jax.jit(kl), jax.random.key(seed)

    def on_validation(learnt: Any) -> dict[str, float]:
        """Nats per window, with the same draws every time."""
        draws = [
            (np.asarray(batch.index >= 0), measure(learnt, frozen, batch, stream(key, "validation")))
            for batch in held_out
        ]
        windows = sum(real.sum() for real, _ in draws)
        return {name: float(sum(values[name][real].sum() for real, values in draws) / windows) for name in named}

    before = _of_normal(vae, named, held_out, stream(key, "validation"))
    state = jax.device_put(optimizer.init(learnt), on_devices.replicated)  # as the step returns it: one compilation
    best, after = learnt, on_validation(learnt)
    training = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch_size, seed=seed))
    source = load_windows(training, TRAIN, attributes=False)
    batches, parallel = load_batches(training, source), make_local_parallel(batch_size)
    bar = trange(num_steps, desc=f"fit {base}", unit="step", dynamic_ncols=True)
    try:
        for number in bar:
            batch = parallel.shard_rows(next(batches))
            learnt, state, loss = step(learnt, state, frozen, batch, stream(key, "fit", number))
            if (number + 1) % _EVERY == 0 or number + 1 == num_steps:
                now = on_validation(learnt)
                bar.set_postfix_str(f"KL {float(loss):.2f}, validation {sum(now.values()):.2f}")
                for name in (name for name in named if now[name] < after[name]):  # a level's KL is of its own base
                    own = {key: leaf for key, leaf in learnt.items() if _level_of(key) == name}
                    best, after = best | own, after | {name: now[name]}
    finally:
        batches.close()
    fitted = dataclasses.replace(vae, config=config, model=model, variables=variables_of(best, frozen))
    return FittedPrior(fitted, before, after)


def _of_normal(vae: TrainedVAE, named: Sequence[str], batches: Sequence[Batch], key: Array) -> dict[str, float]:
    """The KL under the model's own bases, in nats per window."""
    totals, windows = dict.fromkeys(named, 0.0), 0
    for batch in batches:
        found, real = infer(vae.model, vae.variables, batch, row_keys(key, batch.index)), np.asarray(batch.index >= 0)
        windows += int(real.sum())
        for name in named:
            totals[name] += float(found.kl[name].total.sum(-1)[real].sum())
    return {name: total / windows for name, total in totals.items()}


def with_bases(config: Config, changes: Mapping[str, dict[str, Any]]) -> Config:
    """A config with other bases of some levels, and what a learned base needs: a KL by draws, without free bits.

    Args:
        config: of the model.
        changes: level -> fields of `LevelConfig`.
    """
    free: dict[str, Any] = {"kl_estimate": "draw", "free_bits": "none", "nats": 0.0, "capacity_steps": 0}
    fields = {"global": "global_", "local": "local", "fine": "fine"}
    own = {fields[name]: dataclasses.replace(config.levels[name], **free | new) for name, new in changes.items()}
    return dataclasses.replace(config, levels=dataclasses.replace(config.levels, **own))


def save_prior(prior: FittedPrior, workdir: str | Path, name: str) -> Path:
    """Writes WORKDIR/priors/NAME: config.json, bases.npz, and fit.json with the KLs; returns the folder.

    Raises:
        UserError: the name has other characters than letters, digits, '_', '.' and '-'.
    """
    folder = prior_folder(workdir, name)
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(bases_of(prior.vae.variables))
    }
    with replacing(folder / "bases.npz") as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **leaves)
    found = {"step": prior.vae.step, "before": prior.before, "after": prior.after}
    write_text(folder / "fit.json", json.dumps(found, indent=2) + "\n")
    write_text(folder / "config.json", to_json(prior.vae.config))
    return folder


def load_prior(vae: TrainedVAE, workdir: str | Path, name: str) -> TrainedVAE:
    """A model with a prior that `save_prior` wrote.

    Raises:
        UserError: there is no such prior, it was fitted to another checkpoint, or one of its files is damaged.
    """
    folder = prior_folder(workdir, name)
    there = fitted_names(workdir)
    check(name in there, "prior", name, f"one of {', '.join(there)}" if there else "none: fit one with fit_prior.py")
    step = _read_step(folder / "fit.json")
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
    return dataclasses.replace(vae, config=config, model=model, variables=variables)


def fitted_names(workdir: str | Path) -> list[str]:
    """The names of the priors that were fitted to a run."""
    return sorted(path.parent.name for path in (Path(workdir) / "priors").glob("*/config.json"))


def _read_step(path: Path) -> int:
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


def _level_of(parameters: str) -> str:
    """The level to whose base parameters belong; empty if they are others."""
    return parameters.split("_", 1)[1] if parameters.startswith(BASES) else ""


def bases_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the bases of all levels."""
    return {name: leaf for name, leaf in variables["params"].items() if name.startswith(BASES)}


def prior_folder(workdir: str | Path, name: str) -> Path:
    """WORKDIR/priors/NAME; raises `UserError` for a name with other characters."""
    check(bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)), "prior", name, "letters, digits, '_', '.' and '-'")
    return Path(workdir) / "priors" / name
