"""One training step, written once, per device, with a named axis."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from musicvae_jax.config import Config
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import elbo_terms, negative_elbo
from musicvae_jax.objectives.schedules import beta_schedule
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.state import Params, TrainState, learning_rate_schedule, make_optimizer
from musicvae_jax.types import Array, Batch, existing_fields

Metrics = dict[str, Array]
AXIS = "device"  # the axis over which examples are spread
NOISE_STREAMS = ("latent", "dropout", "token_dropout")


def make_loss(config: Config, model: MusicVAE) -> Callable[[Params, Batch, Array, Array], tuple[Array, Metrics]]:
    """The objective as ``loss(params, batch, keys, step) -> (loss[batch], metrics of [batch])``.

    ``keys`` holds one key per example: all of an example's noise is made of its own key, so that the numbers do not
    depend on how examples are spread over devices.
    """
    beta_at = beta_schedule(config.objective)

    def loss_of_example(params: Params, example: Batch, key: Array, step: Array) -> tuple[Array, Metrics]:
        rngs = {name: stream(key, name) for name in NOISE_STREAMS}
        output = model.apply({"params": params}, example, deterministic=False, rngs=rngs)
        terms = elbo_terms(output, example)
        loss = negative_elbo(terms, beta_at(step))
        kl_levels = {f"kl_{level}": kl for level, kl in terms.kl.items()}
        tokens = existing_fields(example.tokens, example.mask, model.fields).sum()
        return loss, {"loss": loss, "nll": terms.nll, "kl": sum(terms.kl.values()), "tokens": tokens, **kl_levels}

    return jax.vmap(loss_of_example, in_axes=(None, 0, 0, None))


def make_device_gradients(config: Config, model: MusicVAE) -> Callable[[Params, Batch, Array], tuple[Params, Metrics]]:
    """``gradients(params, batch, step)`` of the mean loss per token over the global batch, the same on every device.

    ``batch`` is one device's share; metrics are means over the global batch. Must run under a mapped axis named `AXIS`.
    """
    loss_per_example = make_loss(config, model)
    accumulate = config.train.accumulate

    def mean_loss(params: Params, batch: Batch, keys: Array, step: Array) -> tuple[Array, Metrics]:
        loss, metrics = loss_per_example(params, batch, keys, step)
        return loss.mean(), jax.tree.map(lambda value: value.mean(dtype=loss.dtype), metrics)

    def microbatch_gradients(params: Params, batch: Batch, keys: Array, step: Array) -> tuple[Params, Metrics]:
        return jax.grad(mean_loss, has_aux=True)(params, batch, keys, step)

    def mean_over_microbatches(params: Params, batch: Batch, keys: Array, step: Array) -> tuple[Params, Metrics]:
        if accumulate == 1:
            return microbatch_gradients(params, batch, keys, step)
        split = jax.tree.map(lambda leaf: leaf.reshape(accumulate, -1, *leaf.shape[1:]), (batch, keys))
        first = jax.tree.map(lambda leaf: leaf[0], split)
        shapes = jax.eval_shape(microbatch_gradients, params, first[0], first[1], step)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: tuple, microbatch: tuple[Batch, Array]) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, microbatch_gradients(params, *microbatch, step)), None

        total, _ = jax.lax.scan(add, zeros, split)
        return jax.tree.map(lambda leaf: leaf / accumulate, total)

    def gradients(params: Params, batch: Batch, step: Array) -> tuple[Params, Metrics]:
        rows = jax.lax.axis_index(AXIS) * len(batch.index) + jnp.arange(len(batch.index))
        keys = row_keys(stream(jax.random.key(config.train.seed), "train", step), rows)
        grads, metrics = jax.lax.pmean(mean_over_microbatches(params, batch, keys, step), AXIS)
        # The loss sums over tokens; dividing here keeps the clipping threshold independent of the window's length.
        return jax.tree.map(lambda leaf: leaf / metrics["tokens"], grads), metrics

    return gradients


def make_device_step(config: Config, model: MusicVAE) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The step of one device: its share of the batch in, the same new state as on all devices out.

    Must run under a mapped axis named `AXIS`; see `Parallel.spread`.
    """
    gradients = make_device_gradients(config, model)
    optimizer = make_optimizer(config.train)
    rate_at, beta_at = learning_rate_schedule(config.train), beta_schedule(config.objective)
    decay = config.train.ema_decay

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, metrics = gradients(state.params, batch, state.step)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = optax.incremental_update(params, state.ema_params, 1 - decay) if decay else ()
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "beta": jnp.asarray(beta_at(state.step), jnp.float32),
            "learning_rate": jnp.asarray(rate_at(state.step), jnp.float32),
        }
        return TrainState(state.step + 1, params, opt_state, ema_params), metrics

    return step
