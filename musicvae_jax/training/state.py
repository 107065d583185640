"""The training state and the optimiser."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from musicvae_jax.config import Config, TrainConfig
from musicvae_jax.models.latent.batch_norm import initial_moments, statistics
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.controller import ControllerState, init_controller
from musicvae_jax.objectives.discriminator import Discriminators, init_discriminators
from musicvae_jax.rng import stream
from musicvae_jax.types import Array, Batch, Field, Moments, Variables

Params = Any


class Vectors(NamedTuple):
    """The arrays of a tree like the parameters as two vectors.

    Gradients are averaged and parameters updated as two arrays instead of hundreds: the same numbers, with half as many
    operations to compile, and fewer to start.
    """

    decayed: Array  # arrays of two or more axes, which AdamW decays: matrices, and the biases for each slot
    other: Array


class TrainState(NamedTuple):
    """What training carries from step to step. Arrays only: make it under ``jax.jit``, so that it can be donated."""

    step: Array  # int32[], updates done
    params: Params
    opt_state: optax.OptState  # of the parameters as `Vectors`
    ema_params: Vectors | tuple[()]  # moving average of params, or () if off
    moments: dict[str, Moments]  # level -> moving average of the moments of batch normalisation; {} without it
    controller: ControllerState | tuple[()]  # of the weights of the KLs; () without set points
    discriminators: Discriminators | tuple[()] = ()  # of FactorVAE; () without it


def make_model(config: Config, fields: tuple[Field, ...]) -> MusicVAE:
    """The model that a config describes, for a codec's fields."""
    return MusicVAE(config.model, config.levels, fields=fields, slots=config.codec.slots)


def learning_rate_schedule(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up to the peak, then a cosine to final_learning_rate x the peak at num_steps."""
    if config.warmup_steps == 0 and config.final_learning_rate == 1:
        return optax.constant_schedule(config.learning_rate)
    return optax.warmup_cosine_decay_schedule(
        init_value=config.learning_rate / (config.warmup_steps + 1),
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=max(config.num_steps, config.warmup_steps + 1),
        end_value=config.learning_rate * config.final_learning_rate,
    )


def to_vectors(params: Params) -> Vectors:
    """Joins the arrays of a tree like the parameters, all of one dtype."""

    def join(leaves: list[Array]) -> Array:
        return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]) if leaves else jnp.zeros(0)

    leaves = jax.tree.leaves(params)
    return Vectors(join([leaf for leaf in leaves if leaf.ndim > 1]), join([leaf for leaf in leaves if leaf.ndim <= 1]))


def from_vectors(vectors: Vectors, params: Params) -> Params:
    """The reverse of `to_vectors`: a tree with the shapes of ``params``."""
    starts = {"decayed": 0, "other": 0}

    def cut(leaf: Array) -> Array:
        name = "decayed" if leaf.ndim > 1 else "other"
        start = starts[name]
        starts[name] += leaf.size
        return getattr(vectors, name)[start : start + leaf.size].reshape(leaf.shape)

    return jax.tree.map(cut, params)


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019), or plain SGD, of parameters as `Vectors`."""
    schedule = learning_rate_schedule(config)
    if config.optimizer == "sgd":
        update = optax.sgd(schedule)
    else:
        mask = Vectors(decayed=True, other=False)  # type: ignore[arg-type]
        update = optax.adamw(schedule, b2=config.adam_b2, weight_decay=config.weight_decay, mask=mask)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def init_params(model: MusicVAE, measures: int, seed: int) -> Params:
    """The first parameters of a model of windows of so many measures, as NumPy arrays.

    They are drawn on the CPU, whatever other devices there are: XLA takes longer to compile hundreds of draws of random
    numbers for a GPU (25 s for `folk-plain`) than a training step.
    """
    with jax.default_device(_host()):
        return jax.device_get(_draw_params(model, measures, np.uint32(seed)))


def _host() -> jax.Device:
    """The CPU, or the first device where JAX_PLATFORMS leaves the CPU out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


@partial(jax.jit, static_argnames=("model", "measures"))  # compiled once for all seeds
def _draw_params(model: MusicVAE, measures: int, seed: Array | np.uint32) -> Params:
    key, shape = jax.random.key(seed), (measures, model.slots)
    example = Batch(
        tokens=jnp.zeros((*shape, len(model.fields)), jnp.int32),
        mask=jnp.ones(shape, bool),
        metre=jnp.full((measures, 2), 4, jnp.int32),
        index=jnp.zeros((), jnp.int32),
    )
    return model.init({"params": stream(key, "init"), "latent": stream(key, "latent")}, example)["params"]


def init_state(config: Config, model: MusicVAE) -> TrainState:
    """The state before the first step."""
    return jax.jit(partial(start_state, config))(init_params(model, config.data.measures, config.train.seed))


def state_shapes(config: Config, model: MusicVAE) -> TrainState:
    """The shapes of `init_state`, without computing it."""
    params = jax.eval_shape(partial(_draw_params, model, config.data.measures), np.uint32(0))
    return jax.eval_shape(partial(start_state, config), params)


def start_state(config: Config, params: Params) -> TrainState:
    """The state before the first step, from these parameters. Call it under ``jax.jit``."""
    vectors = to_vectors(params)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=make_optimizer(config.train).init(vectors),
        ema_params=vectors if config.train.ema_decay else (),
        moments=initial_moments(config.levels),
        controller=init_controller(config),
        discriminators=init_discriminators(config),
    )


def model_variables(params: Params, moments: dict[str, Moments]) -> Variables:
    """The variables of the model: parameters, and the stored moments of batch normalisation."""
    return {"params": params, **statistics(moments)}


@jax.jit
def evaluation_variables(state: TrainState) -> Variables:
    """The variables to evaluate with: the moving average of the parameters if there is one.

    With batch normalisation it is the parameters themselves, because the stored moments belong to them.
    """
    if not state.ema_params or state.moments:
        return model_variables(state.params, state.moments)
    return model_variables(from_vectors(state.ema_params, state.params), state.moments)
