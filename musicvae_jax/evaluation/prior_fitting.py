"""The fit of other bases to the posteriors of a trained model, which stays as it is.

The KL of a model is E KL(q(e | x) || p(e)). With the posteriors fixed, fitting p to their draws lowers it by what the
base missed of them, and leaves the nll alone.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from tqdm import tqdm, trange

from musicvae_jax.config import Config, PriorConfig, check_seed
from musicvae_jax.config.checks import check
from musicvae_jax.data.conditions import Conditions
from musicvae_jax.data.load import TRAIN, load_batches, load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.prepare import list_styles
from musicvae_jax.evaluation.fitted_priors import MAIN, OWN, FittedPrior, has_main, level_of, save_prior
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE
from musicvae_jax.inference import features, infer
from musicvae_jax.models.conditions import hide_conditions
from musicvae_jax.models.latent.stack import Inferred
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.attributes import style_error
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import Parallel, make_local_parallel
from musicvae_jax.training.state import init_params, make_model
from musicvae_jax.types import Array, Batch, Variables

_LEARNING_RATES = {"mixture": 1e-2, "vamp": 1e-2, "flow": 3e-3}  # of the first step
_EVERY = 100  # steps between measurements on validation, of which the best counts
_VALIDATION_WINDOWS = 512
_TRAINING_WINDOWS = 2**16  # at most so many are encoded, once, before the first step
_STYLE = "style"  # of the costs: the error of the styles, times its weight


class Encoded(NamedTuple):
    """Windows after the encoder: all that a fit needs of them. Every array has a leading axis of windows."""

    batch: Batch  # metres, numbers and conditions alone
    features: dict[str, Array]  # by level
    style: Array  # float[window], the number of the piece's label, NaN where unknown


def fit_main(workdir: str | Path, checkpoint: str = "best") -> FittedPrior | None:
    """Fits the prior that the config of a run asks for, and writes WORKDIR/priors/main.

    Of several processes each fits it, and the first one writes it; all return once it is written.

    Returns:
        The prior, or None if the config asks for none, or it is there.
    """
    vae = load_workdir(workdir, checkpoint, OWN)
    if vae.config.prior.base == "none":
        return None
    there, several = has_main(workdir, vae.config, vae.step), jax.process_count() > 1
    if several:  # another process may be so late that it sees what the first one has written
        there = bool(multihost_utils.broadcast_one_to_all(np.array(there)))
    prior = None if there else fit_prior(vae, vae.config.prior, seed=vae.config.train.seed)
    try:
        if prior and jax.process_index() == 0:
            save_prior(prior, workdir, MAIN)
    finally:  # the others wait, also where the disk is full
        if several:
            multihost_utils.sync_global_devices("the prior is saved")
    return prior


def fit_prior(vae: TrainedVAE, prior: PriorConfig, *, seed: int = 0) -> FittedPrior:
    """Fits a base to the posteriors of training windows, by the KL; the other parameters do not change.

    The training windows, as one epoch of training augments them, go through the encoder once: at most 65,536 of them,
    and no more than the steps take. Conditions are hidden as often as in training, and all on validation.

    Every hundred steps the KL is measured on 512 validation windows, and the best parameters of each level are kept;
    they are those of the start where nothing was gained.

    Args:
        vae: a trained model, with its own prior.
        prior: what to fit, to which levels, and how long.
        seed: of parameters, windows and draws.

    Raises:
        UserError: a value is out of range, or the base does not go with the model; see `config.rules`.
    """
    check_seed(seed)
    config = dataclasses.replace(vae.config, prior=prior).fitted
    named, top = prior.fitted_levels(vae.config.levels), vae.config.levels.top
    check(vae.prior == OWN, "vae.prior", vae.prior, f"{OWN!r}: load the run with its own prior")
    styles = _styles(vae.config) if prior.style_weight else ()
    allowed = f"0 but with a mode for each style, and these are {len(styles)}"
    check(not prior.style_weight or 0 < len(styles) <= prior.modes, "prior.style_weight", prior.style_weight, allowed)
    # The devices that divide the rows of a step and of a batch of validation alike.
    parallel = make_local_parallel(math.gcd(EVALUATION_ROWS, prior.batch_size))
    vae = dataclasses.replace(vae, variables=jax.device_put(vae.variables, parallel.replicated))
    model = make_model(config, vae.codec.fields)
    fresh = init_params(model, config.data.measures, seed)
    names = [name for name in fresh if level_of(name) in named]
    learnt = jax.device_put({name: fresh[name] for name in names}, parallel.replicated)
    frozen = {name: leaf for name, leaf in vae.variables["params"].items() if level_of(name) not in named}

    def variables_of(learnt: Any, frozen: Any) -> Variables:
        return {**vae.variables, "params": {**frozen, **learnt}}

    def costs(learnt: Any, frozen: Any, music: Encoded, key: Array) -> dict[str, Array]:
        """The KL of each level, and the error of the styles if it counts: float[window] each."""
        found = _infer(model, variables_of(learnt, frozen), music, key)
        cost = {name: found.kl[name].total.sum(-1) for name in named}
        if styles:
            style = music.style[:, None]
            error = style_error(found.log_responsibilities[top], style, jnp.isfinite(style))
            cost[_STYLE] = prior.style_weight * error.sum(-1)
        return cost

    rate = prior.learning_rate or _LEARNING_RATES[prior.base]
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, prior.num_steps))

    @jax.jit
    def step(learnt: Any, state: Any, frozen: Any, music: Encoded, key: Array) -> tuple[Any, Any, Array]:
        conditions = music.batch.conditions
        if len(conditions):
            conditions = hide_conditions(conditions, stream(key, "conditions"), config.model.condition_dropout)
            music = music._replace(batch=music.batch._replace(conditions=conditions))

        def mean_cost(learnt: Any) -> Array:
            return jnp.stack(list(costs(learnt, frozen, music, key).values())).sum(0).mean()

        loss, slope = jax.value_and_grad(mean_cost)(learnt)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(learnt, updates), state, loss

    held_out, music = _load(vae, config, styles, prior.num_steps * prior.batch_size, seed, parallel)
    measure, key = jax.jit(costs), jax.random.key(seed)

    parts = [parallel.shard_rows(part) for part in _rows_of(held_out)]

    def on_validation(learnt: Any) -> dict[str, float]:
        """Nats per window, with the same draws every time."""
        return _means(parts, [measure(learnt, frozen, part, stream(key, "validation")) for part in parts])

    own = [_infer(vae.model, vae.variables, part, stream(key, "validation")).log_ratio for part in parts]
    before = _means(parts, [{name: ratio[name].sum(-1) for name in named} for ratio in own])  # of the same draws
    state = jax.device_put(optimizer.init(learnt), parallel.replicated)  # as the step returns it: one compilation
    best, after = learnt, on_validation(learnt)

    def cost_of(name: str, costs: Mapping[str, float]) -> float:
        """What a level's parameters decide: its KL is of its own base, and styles are of the top level."""
        return costs[name] + (costs.get(_STYLE, 0.0) if name == top else 0.0)

    rows = np.random.default_rng(seed)
    quiet = jax.process_index() > 0
    bar = trange(prior.num_steps, desc=f"fit {prior.base}", unit="step", dynamic_ncols=True, disable=quiet)
    for number in bar:
        chosen = rows.integers(len(music.batch.index), size=prior.batch_size)
        part = parallel.shard_rows(jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], music))
        learnt, state, loss = step(learnt, state, frozen, part, stream(key, "fit", number))
        if (number + 1) % _EVERY == 0 or number + 1 == prior.num_steps:
            now = on_validation(learnt)
            bar.set_postfix_str(f"loss {float(loss):.2f}, validation {sum(now.values()):.2f}")
            for name in (name for name in named if cost_of(name, now) < cost_of(name, after)):
                better = {key: leaf for key, leaf in learnt.items() if level_of(key) == name}
                best, after = best | better, after | {name: now[name]}
                if name == top and styles:
                    after[_STYLE] = now[_STYLE]
    after = {name: after[name] for name in named}
    variables = variables_of(best, frozen)
    fitted = dataclasses.replace(vae, config=config, model=model, variables=variables, prior=prior.base)
    return FittedPrior(fitted, before, after)


def _load(
    vae: TrainedVAE, config: Config, styles: tuple[str, ...], number: int, seed: int, parallel: Parallel
) -> tuple[Encoded, Encoded]:
    """Validation windows, whose conditions are hidden, and training windows, of these so many at most."""
    names = vae.conditions.names
    told = dataclasses.replace(
        vae.conditions,
        names=(*names, _STYLE) if styles and _STYLE not in names else names,
        styles=styles or vae.conditions.styles,
    )
    measured = bool(told.measured)
    validation = load_windows(config, "validation", attributes=measured)
    validation.tell(told if told.names else None)
    batches = make_eval_batches(validation, EVALUATION_ROWS, num_examples=_VALIDATION_WINDOWS)
    held_out = _encode(vae, batches, told, parallel)
    held_out = held_out._replace(batch=held_out.batch._replace(conditions=()))
    settings = dataclasses.replace(config.train, batch_size=EVALUATION_ROWS, accumulate=1, seed=seed)
    training = dataclasses.replace(config, train=settings)
    source = load_windows(training, TRAIN, attributes=measured)
    source.tell(told if told.names else None)
    encoded = load_batches(training, source)
    try:
        number = -(-min(len(source), _TRAINING_WINDOWS, number) // EVALUATION_ROWS)
        quiet = jax.process_index() > 0
        bar = tqdm(itertools.islice(encoded, number), "encode", number, unit="batch", dynamic_ncols=True, disable=quiet)
        return held_out, _encode(vae, bar, told, parallel)
    finally:
        encoded.close()


def _styles(config: Config) -> tuple[str, ...]:
    """The styles of the data set; the number of one is its place."""
    data = config.data
    return list_styles(data.dataset, data.data_dir, data.manual_dir, data.path)


def _encode(vae: TrainedVAE, batches: Iterable[Batch], told: Conditions, parallel: Parallel) -> Encoded:
    """What the encoder finds in batches that have these conditions, on the host."""
    parts, number = [], len(vae.conditions.names)
    for batch in batches:
        known = batch.conditions
        style = np.full(len(batch.index), np.nan, np.float32)
        if _STYLE in told.names:
            style = known[:, told.names.index(_STYLE)]
        bare = batch._replace(tokens=(), mask=(), attributes=(), conditions=known[:, :number] if number else ())
        found = features(vae.model, vae.variables, parallel.shard_rows(batch._replace(conditions=())))
        parts.append(Encoded(bare, jax.device_get(found), style))
    joined: Encoded = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return joined


def _rows_of(music: Encoded) -> list[Encoded]:
    """Batches of `EVALUATION_ROWS`."""
    starts = range(0, len(music.batch.index), EVALUATION_ROWS)
    return [jax.tree.map(lambda leaf, start=start: leaf[start : start + EVALUATION_ROWS], music) for start in starts]


def _infer(model: MusicVAE, variables: Variables, music: Encoded, key: Array) -> Inferred:
    return infer(model, variables, music.batch, row_keys(key, music.batch.index), features=music.features)


def _means(parts: Sequence[Encoded], values: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Means over the windows of batches, without rows that pad the last one."""
    real = np.concatenate([part.batch.index for part in parts]) >= 0
    return {name: float(np.concatenate([found[name] for found in values])[real].mean()) for name in values[0]}
