"""One training step, written for one device under a named axis."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicvae_jax.config import Config
from musicvae_jax.inference import forward
from musicvae_jax.models.latent.batch_norm import average_moments
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.control import control_loss, roll_rows, without_followed
from musicvae_jax.objectives.controller import ControllerState, update_controller
from musicvae_jax.objectives.discriminator import factor_terms, update_discriminators
from musicvae_jax.objectives.loss import Terms, elbo_terms, objective
from musicvae_jax.objectives.rates import balanced_weights, identity, weights_at
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import (
    Params,
    TrainState,
    Vectors,
    from_vectors,
    learning_rate_schedule,
    make_optimizer,
    model_variables,
    to_vectors,
)
from musicvae_jax.types import Array, Batch, Moments, existing_fields, num_phrases

Metrics = dict[str, Array]
AXIS = "device"  # the mapped axis over which the examples of a batch are spread


class Carried(NamedTuple):
    """What the loss depends on beside parameters and data."""

    step: Array
    moments: dict[str, Moments]
    controller: ControllerState | tuple[()]
    discriminators: Params = ()  # parameters, by level


Learnt = tuple[Params, Params]  # of the model, of the discriminators
Loss = Callable[[Params, Carried, Batch, Array], tuple[Terms, Metrics, dict[str, Moments]]]
Gradients = Callable[[Params, Carried, Batch], tuple[Vectors, Metrics, dict[str, Moments], Params]]


def carried_by(state: TrainState) -> Carried:
    """What the loss depends on of a state."""
    return Carried(state.step, state.moments, state.controller, getattr(state.discriminators, "params", ()))


def make_loss(config: Config, model: MusicVAE, axes: tuple[str, ...] = ()) -> Loss:
    """The objective in training: ``loss(params, carried, batch, keys) -> (terms, metrics of [batch], batch moments)``.

    ``keys`` holds one key per example. All noise of an example comes from its key, so no number depends on how examples
    are spread over devices.

    Metrics: ``nll``, ``kl``, ``kl_<level>``, ``span_nll_<level>`` in nats; ``beta_<level>``, the product of schedule,
    controller and KL balance; counts ``tokens``, ``phrases`` and, with level dropout, ``phrases_<level>`` of the
    windows that keep the level. In the other windows its KL is 0. Terms of the batch as a whole, but charged KLs, have
    their names in `objective`, ``control`` is that of `control_loss`, ``factor_<level>`` of `factor_terms`; all are
    weighted. ``discriminator`` is the loss of the discriminators, log 2 for each level where they know nothing.

    Free bits per dim, KL balance and batch normalisation depend on the batch as a whole. They use means over the batch
    and over ``axes``, the mapped axes over which the batch is spread; in a notebook there are none. Under gradient
    accumulation the batch is the microbatch.
    """
    mean = partial(jax.lax.pmean, axis_name=axes) if axes else identity
    gather = partial(jax.lax.all_gather, axis_name=axes, tiled=True) if axes else identity

    def shift(x: Array, number: int) -> Array:
        rows = roll_rows(gather(x), number)
        return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(axes) * len(x), len(x)) if axes else rows

    def loss(params: Params, carried: Carried, batch: Batch, keys: Array) -> tuple[Terms, Metrics, dict[str, Moments]]:
        variables = model_variables(params, carried.moments)
        output = forward(model, variables, batch, keys, deterministic=False, batch_axes=axes)
        weights = weights_at(config, carried.step, carried.controller)
        weights = balanced_weights(config, weights, carried.step, output, mean)
        elbo, phrases = elbo_terms(output, batch), num_phrases(batch.mask)
        metrics = {
            "nll": elbo.nll,
            "kl": elbo.total_kl,
            "tokens": existing_fields(batch.tokens, batch.mask, model.fields).sum((-3, -2, -1)),
            "phrases": phrases,
            **{f"phrases_{level}": jnp.where(kept, phrases, 0) for level, kept in output.kept.items()},
            **{f"kl_{level}": kl for level, kl in elbo.kl.items()},
            **{f"beta_{level}": jnp.full_like(elbo.nll, beta) for level, beta in weights.beta.items()},
            **{f"span_nll_{level}": span_nll for level, span_nll in output.span_nll.items()},
        }
        terms = objective(config, output, batch, weights, mean, gather)
        if config.objective.control_weight:
            shown = batch._replace(conditions=output.conditions)
            untold = shown._replace(conditions=without_followed(config, output.conditions))
            controlled = control_loss(
                config,
                output,
                batch,
                model.fields,
                carried.step,
                place=partial(model.apply, variables, shown, method="place"),
                decode=lambda latents: model.apply(variables, latents, untold, method="decode"),
                shift=shift,
                mean=mean,
            )
            terms.batch["control"] = config.objective.control_weight * controlled
        if factor_weight := config.objective.factor_weight:
            correlation, adversary = factor_terms(config, carried.discriminators, output, keys, gather, mean)
            terms.batch.update({f"factor_{name}": factor_weight * value for name, value in correlation.items()})
            terms = terms._replace(adversary=adversary)
            metrics["discriminator"] = jnp.full_like(elbo.nll, adversary)
        named = {name: term for name, term in terms.batch.items() if not name.startswith("rate_")}
        metrics |= {name: jnp.full_like(elbo.nll, term) for name, term in named.items()}
        return terms, metrics, output.moments

    return loss


def make_device_gradients(config: Config, model: MusicVAE) -> Gradients:
    """``gradients(params, carried, batch)`` of the mean loss per token over the global batch, the same on every device.

    The last result is the gradient of the discriminators' loss for their parameters; () without them.

    ``batch`` is the share of one device; metrics are means over the global batch. Must run under a mapped axis named
    `AXIS`. With ``TrainConfig.accumulate`` all results are means over microbatches. They are those of the whole batch,
    but for the terms that depend on a batch as a whole, see `make_loss`.
    """
    make_terms = make_loss(config, model, (AXIS,))
    accumulate = config.train.accumulate

    def mean_loss(learnt: Learnt, carried: Carried, batch: Batch, keys: Array) -> tuple[Array, tuple]:
        params, discriminators = learnt
        terms, metrics, moments = make_terms(params, carried._replace(discriminators=discriminators), batch, keys)
        loss = terms.loss()
        means = jax.tree.map(lambda value: value.mean(dtype=loss.dtype), metrics)
        return loss + terms.adversary, ({"loss": loss, **means}, moments)

    of_microbatch = jax.grad(mean_loss, has_aux=True)

    def mean_over_microbatches(params: Learnt, carried: Carried, batch: Batch, keys: Array) -> tuple[Learnt, tuple]:
        if accumulate == 1:
            return of_microbatch(params, carried, batch, keys)
        split = jax.tree.map(lambda leaf: leaf.reshape(accumulate, -1, *leaf.shape[1:]), (batch, keys))
        first = jax.tree.map(lambda leaf: leaf[0], split)
        shapes = jax.eval_shape(of_microbatch, params, carried, *first)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: tuple, microbatch: tuple[Batch, Array]) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, of_microbatch(params, carried, *microbatch)), None

        total, _ = jax.lax.scan(add, zeros, split)
        return jax.tree.map(lambda leaf: leaf / accumulate, total)

    def gradients(
        params: Params, carried: Carried, batch: Batch
    ) -> tuple[Vectors, Metrics, dict[str, Moments], Params]:
        order = np.arange(len(batch.index))
        if accumulate > 1:  # row r goes to microbatch r % accumulate, on any number of devices
            order = order.reshape(-1, accumulate).T.reshape(-1)
            batch = jax.tree.map(lambda leaf: leaf[order], batch)
        rows = jax.lax.axis_index(AXIS) * len(batch.index) + order
        keys = row_keys(stream(jax.random.key(config.train.seed), "train", carried.step), rows)
        learnt = params, carried.discriminators
        (of_model, of_discriminators), (metrics, moments) = mean_over_microbatches(learnt, carried, batch, keys)
        of_device = to_vectors(of_model), of_discriminators
        (grads, discriminators), metrics, moments = jax.lax.pmean((of_device, metrics, moments), AXIS)
        # The loss sums over tokens; per token, the clipping threshold does not depend on the length of the window.
        return jax.tree.map(lambda leaf: leaf / metrics["tokens"], grads), metrics, moments, discriminators

    return gradients


def over_kept_windows(metrics: Metrics, levels: Sequence[str]) -> Metrics:
    """Metrics under level dropout, with the KL of each level over the windows that keep it.

    kl_<level> = KL per phrase of those windows x mean number of phrases.
    """
    metrics = dict(metrics)
    for level in levels:
        metrics[f"kl_{level}"] *= metrics["phrases"] / jnp.maximum(metrics.pop(f"phrases_{level}"), 1e-9)
    return metrics | {"kl": sum(metrics[f"kl_{level}"] for level in levels)}


def average_params(average: Vectors, params: Vectors, decay: float, step: Array) -> Vectors:
    """The moving average of the parameters after a step.

    The weights decay and add up to 1 from the first step on, like the bias-corrected moments of Adam (Kingma & Ba 2015,
    section 3). Without the correction, the average of a short run would be mostly its random initial values.
    ``step`` is the number of earlier steps; at step 0 ``average`` is not used.
    """
    share = (1 - decay) / -jnp.expm1((step + 1) * math.log(decay))
    return jax.tree.map(lambda old, new: old + share.astype(old.dtype) * (new - old), average, params)


def make_device_step(config: Config, model: MusicVAE) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The step of one device: ``step(state, share of the batch) -> (state, metrics)``, the same on all devices.

    Must run under a mapped axis named `AXIS`; see `Parallel.spread`.
    """
    gradients = make_device_gradients(config, model)
    optimizer, rate_at = make_optimizer(config.train), learning_rate_schedule(config.train)
    levels, decay = list(config.levels.on), config.train.ema_decay

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        carried = carried_by(state)
        grads, metrics, moments, of_discriminators = gradients(state.params, carried, batch)
        before = to_vectors(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, before)
        after, average = optax.apply_updates(before, updates), state.ema_params
        if isinstance(average, Vectors):
            average = average_params(average, after, decay, state.step)
        rate = jnp.asarray(rate_at(state.step), jnp.float32)
        metrics, kept = metrics | {"grad_norm": optax.tree.norm(grads), "learning_rate": rate}, {}
        if config.model.level_dropout:
            kept = {level: metrics[f"phrases_{level}"] > 0 for level in levels}
            metrics = over_kept_windows(metrics, levels)
        kl_per_phrase = {level: metrics[f"kl_{level}"] / metrics["phrases"] for level in levels}
        return TrainState(
            step=state.step + 1,
            params=from_vectors(after, state.params),
            opt_state=opt_state,
            ema_params=average,
            moments=average_moments(state.moments, moments, state.step),
            controller=update_controller(config, state.controller, kl_per_phrase, kept),
            discriminators=update_discriminators(config, state.discriminators, of_discriminators),
        ), metrics

    return step
