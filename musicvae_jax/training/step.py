"""One training step, written once, per device, with a named axis."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicvae_jax.config import Config
from musicvae_jax.models.batch_norm import average_moments
from musicvae_jax.models.spans import present_spans
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.balance import balance
from musicvae_jax.objectives.controller import (
    ControllerState,
    controller_factors,
    update_controller,
)
from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.objectives.free_bits import rate
from musicvae_jax.objectives.schedules import capacity_schedule, level_schedule
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import (
    Params,
    TrainState,
    learning_rate_schedule,
    make_optimizer,
    model_variables,
)
from musicvae_jax.types import Array, Batch, Moments, VAEOutput, existing_fields, num_phrases

Metrics = dict[str, Array]
AXIS = "device"  # the axis over which examples are spread
ROW = "row"  # the axis of the examples of one device
NOISE_STREAMS = ("latent", "dropout", "token_dropout", "level_dropout", "skip")


class Carried(NamedTuple):
    """What the loss depends on beside parameters and data."""

    step: Array
    moments: dict[str, Moments]
    controller: ControllerState | tuple[()]


Loss = Callable[[Params, Carried, Batch, Array], tuple[Array, Metrics, dict[str, Moments]]]


def make_loss(config: Config, model: MusicVAE, axes: tuple[str, ...] = ()) -> Loss:
    """The objective as ``loss(params, carried, batch, keys) -> (loss[batch], metrics of [batch], batch moments)``.

    loss = nll + sum over levels of beta x rate(KL) + span_weight x the span heads' nll; the metric ``beta_<level>`` is
    that beta: schedule x controller x KL balance. A level that level dropout takes from a window has a KL of 0 there,
    and ``phrases_<level>`` counts the phrases that keep it. ``keys`` holds one key per example: all of an example's
    noise is made of its own key, so that the numbers do not depend on how examples are spread over devices.

    Three terms depend on the batch as a whole: free bits per dim, KL balance and batch normalisation. They are means
    over the batch and over ``axes``, the mapped axes over which it is spread; where nothing is mapped, as in a
    notebook, leave ``axes`` out. Under gradient accumulation the batch is the microbatch.
    """
    levels = list(config.model.widths)
    betas_at = {level: level_schedule(config.objective, level) for level in levels}
    capacity_at = {level: capacity_schedule(config.objective.level(level)) for level in levels}
    mean = partial(jax.lax.pmean, axis_name=axes) if axes else lambda value: value

    def forward(params: Params, moments: dict[str, Moments], example: Batch, key: Array) -> tuple[VAEOutput, dict]:
        rngs = {name: stream(key, name) for name in NOISE_STREAMS}
        variables = model_variables(params, moments)
        output = model.apply(variables, example, deterministic=False, batch_axes=(ROW, *axes), rngs=rngs)
        return output._replace(moments={}), output.moments

    def loss(params: Params, carried: Carried, batch: Batch, keys: Array) -> tuple[Array, Metrics, dict[str, Moments]]:
        spread = jax.vmap(forward, in_axes=(None, None, 0, 0), out_axes=(0, None), axis_name=ROW)
        output, moments = spread(params, carried.moments, batch, keys)
        terms = elbo_terms(output, batch)
        measures = batch.mask.any(-1)
        there = {level: present_spans(measures, config.model.span(level, measures.shape[-1])) for level in levels}
        there |= {level: there[level] & kept[:, None] for level, kept in output.kept.items()}
        factors = controller_factors(config.objective, carried.controller, levels)
        if config.objective.kl_balance_steps:
            # A capacity pulls a level up from below as well: the less it says, the more it must be charged.
            charged = [level for level in levels if config.objective.level(level).free_bits != "capacity"]
            kl = {level: mean(terms.kl[level].mean()) for level in charged}
            latents = {level: mean(there[level].sum(-1).mean(dtype=kl[level].dtype)) for level in charged}
            balanced = balance(kl, {level: latents[level] * config.model.widths[level] for level in charged})
            warm = carried.step < config.objective.kl_balance_steps
            factors |= {level: factors[level] * jnp.where(warm, balanced[level], 1.0) for level in charged}
        betas = {level: betas_at[level](carried.step) * factors[level] for level in levels}
        total = terms.nll
        for level in levels:
            capacity = capacity_at[level](carried.step)
            charge = rate(config.objective.level(level), output.kl[level], there[level], capacity, mean)
            total = total + betas[level] * charge
        metrics = {
            "nll": terms.nll,
            "kl": sum(terms.kl[level] for level in levels),
            "tokens": existing_fields(batch.tokens, batch.mask, model.fields).sum((-3, -2, -1)),
            "phrases": num_phrases(batch.mask),
            **{f"phrases_{level}": jnp.where(kept, num_phrases(batch.mask), 0) for level, kept in output.kept.items()},
            **{f"kl_{level}": terms.kl[level] for level in levels},
            **{f"beta_{level}": jnp.full_like(terms.nll, betas[level]) for level in levels},
        }
        for level, span_nll in output.span_nll.items():
            total = total + config.objective.span_weight * span_nll
            metrics[f"span_nll_{level}"] = span_nll
        return total, {"loss": total, **metrics}, moments

    return loss


Gradients = Callable[[Params, Carried, Batch], tuple[Params, Metrics, dict[str, Moments]]]


def make_device_gradients(config: Config, model: MusicVAE) -> Gradients:
    """``gradients(params, carried, batch)`` of the mean loss per token over the global batch, the same on every device.

    ``batch`` is one device's share; metrics are means over the global batch. Must run under a mapped axis named `AXIS`.
    With ``TrainConfig.accumulate`` gradients, metrics and batch moments are means over microbatches: those of the whole
    batch, save that the terms of a batch as a whole (see `make_loss`) are each microbatch's own.
    """
    loss_per_example = make_loss(config, model, (AXIS,))
    accumulate = config.train.accumulate

    def mean_loss(params: Params, carried: Carried, batch: Batch, keys: Array) -> tuple[Array, tuple]:
        loss, metrics, moments = loss_per_example(params, carried, batch, keys)
        return loss.mean(), (jax.tree.map(lambda value: value.mean(dtype=loss.dtype), metrics), moments)

    def microbatch_gradients(params: Params, carried: Carried, batch: Batch, keys: Array) -> tuple[Params, tuple]:
        return jax.grad(mean_loss, has_aux=True)(params, carried, batch, keys)

    def mean_over_microbatches(params: Params, carried: Carried, batch: Batch, keys: Array) -> tuple[Params, tuple]:
        if accumulate == 1:
            return microbatch_gradients(params, carried, batch, keys)
        split = jax.tree.map(lambda leaf: leaf.reshape(accumulate, -1, *leaf.shape[1:]), (batch, keys))
        first = jax.tree.map(lambda leaf: leaf[0], split)
        shapes = jax.eval_shape(microbatch_gradients, params, carried, *first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: tuple, microbatch: tuple[Batch, Array]) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, microbatch_gradients(params, carried, *microbatch)), None

        total, _ = jax.lax.scan(add, zeros, split)
        return jax.tree.map(lambda leaf: leaf / accumulate, total)

    def gradients(params: Params, carried: Carried, batch: Batch) -> tuple[Params, Metrics, dict[str, Moments]]:
        order = np.arange(len(batch.index))
        if accumulate > 1:  # a microbatch is every so manieth row of the batch: the same ones on any number of devices
            order = order.reshape(-1, accumulate).T.reshape(-1)
            batch = jax.tree.map(lambda leaf: leaf[order], batch)
        rows = jax.lax.axis_index(AXIS) * len(batch.index) + order
        keys = row_keys(stream(jax.random.key(config.train.seed), "train", carried.step), rows)
        grads, (metrics, moments) = jax.lax.pmean(mean_over_microbatches(params, carried, batch, keys), AXIS)
        # The loss sums over tokens; dividing here keeps the clipping threshold independent of the window's length.
        return jax.tree.map(lambda leaf: leaf / metrics["tokens"], grads), metrics, moments

    return gradients


def over_kept_windows(metrics: Metrics, levels: Sequence[str]) -> Metrics:
    """Means over a batch with level dropout, where the KL of a level becomes that of the windows that keep it."""
    metrics = dict(metrics)
    for level in levels:
        metrics[f"kl_{level}"] *= metrics["phrases"] / jnp.maximum(metrics.pop(f"phrases_{level}"), 1e-9)
    return metrics | {"kl": sum(metrics[f"kl_{level}"] for level in levels)}


def average_params(average: Params, params: Params, decay: float, step: Array) -> Params:
    """The moving average of the parameters after a step: their weights decay, and add up to 1 from the first step on.

    Corrected for its start as the moments of Adam are (Kingma & Ba 2015, section 3): the average of a short run would
    be its random beginning for the most part.

    Args:
        average: of the parameters after each of the steps before; at the first step it counts for nothing.
        params: after this step.
        decay: of the weights per step, between 0 and 1.
        step: int[], how many parameters the average has seen.
    """
    share = (1 - decay) / -jnp.expm1((step + 1) * math.log(decay))
    return jax.tree.map(lambda old, new: old + share.astype(old.dtype) * (new - old), average, params)


def make_device_step(config: Config, model: MusicVAE) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The step of one device: its share of the batch in, the same new state as on all devices out.

    Must run under a mapped axis named `AXIS`; see `Parallel.spread`.
    """
    gradients = make_device_gradients(config, model)
    optimizer = make_optimizer(config.train)
    levels = list(config.model.widths)
    rate_at = learning_rate_schedule(config.train)
    decay = config.train.ema_decay

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        carried = Carried(state.step, state.moments, state.controller)
        grads, metrics, moments = gradients(state.params, carried, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = average_params(state.ema_params, params, decay, state.step) if decay else ()
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": jnp.asarray(rate_at(state.step), jnp.float32),
        }
        kept = {}
        if config.model.level_dropout:
            kept = {level: metrics[f"phrases_{level}"] > 0 for level in levels}
            metrics = over_kept_windows(metrics, levels)
        kl_per_phrase = {level: metrics[f"kl_{level}"] / metrics["phrases"] for level in levels}
        return TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            ema_params=ema_params,
            moments=average_moments(state.moments, moments, state.step),
            controller=update_controller(config.objective, state.controller, kl_per_phrase, kept),
        ), metrics

    return step
