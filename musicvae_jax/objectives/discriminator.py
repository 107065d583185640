"""Total correlation by the density ratio that a discriminator learns beside the model (FactorVAE, Kim & Mnih 2018).

The discriminator of a level tells latents of the batch from latents whose dims come from different ones. Its logit is
then log q(e) / prod_d q(e_d), whose mean over q is the total correlation. It has its own parameters and optimiser.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from musicvae_jax.config import Config, ObjectiveConfig
from musicvae_jax.models.layers import dtypes
from musicvae_jax.objectives.attributes import Gather
from musicvae_jax.objectives.independence import Rows, latent_rows
from musicvae_jax.objectives.rates import Mean, identity
from musicvae_jax.rng import stream
from musicvae_jax.types import Array, VAEOutput

Params = Any


class Discriminator(nn.Module):
    """A network of equal layers with leaky rectifiers."""

    config: Config

    @nn.compact
    def __call__(self, e: Array) -> Array:
        """How much likelier a latent is as a whole than its dims are one by one: float[..., dim] to logits float[...].

        In float32 or wider.
        """
        wide = dtypes(self.config.model) | {"dtype": jnp.promote_types(self.config.model.dtype, jnp.float32)}
        hidden, own = e, self.config.objective
        for number in range(own.discriminator_layers):
            hidden = nn.leaky_relu(nn.Dense(own.discriminator_dim, name=f"hidden_{number}", **wide)(hidden), 0.2)
        return nn.Dense(1, name="logit", **wide)(hidden)[..., 0]


class Discriminators(NamedTuple):
    """The discriminators of all levels in training."""

    params: dict[str, Params]  # by level
    opt_state: optax.OptState


def discriminator_optimizer(config: ObjectiveConfig) -> optax.GradientTransformation:
    """Adam, with the decay rates of the paper (Kim & Mnih 2018)."""
    return optax.adam(config.discriminator_learning_rate, b1=0.5, b2=0.9)


def init_discriminators(config: Config) -> Discriminators | tuple[()]:
    """The discriminators before the first step; () where ``factor_weight`` is 0."""
    if not config.objective.factor_weight:
        return ()
    key = stream(jax.random.key(config.train.seed), "discriminator")
    network = Discriminator(config)
    params = {
        name: network.init(jax.random.fold_in(key, number), jnp.zeros((1, level.dim)))
        for number, (name, level) in enumerate(config.levels.on.items())
    }
    return Discriminators(params, discriminator_optimizer(config.objective).init(params))


def update_discriminators(config: Config, state: Discriminators | tuple[()], grads: Any) -> Discriminators | tuple[()]:
    """The discriminators after a step."""
    if not isinstance(state, Discriminators):
        return ()
    updates, opt_state = discriminator_optimizer(config.objective).update(grads, state.opt_state, state.params)
    return Discriminators(optax.apply_updates(state.params, updates), opt_state)


def recombined(everywhere: Rows, uniform: Array) -> Array:
    """Latents whose dims come from different latents, drawn from those that count: float[row, dim].

    Args:
        everywhere: latents of all devices.
        uniform: float[row, dim] in [0, 1), which latent each dim comes from.
    """
    reached = jnp.cumsum(everywhere.weight)
    place = jnp.searchsorted(reached, uniform * reached[-1], side="right")
    return jnp.take_along_axis(everywhere.e, jnp.minimum(place, len(reached) - 1), axis=0)


class FactorTerms(NamedTuple):
    """What the discriminators give; a device's share of each, of which the mean over devices is the term."""

    total_correlation: dict[
        str, Array
    ]  # level -> float[], in nats, of the model: without a gradient for a discriminator
    loss: Array  # float[], of the discriminators, the mean cross entropy summed over levels: no gradient for the model


def factor_terms(
    config: Config,
    params: dict[str, Params],
    output: VAEOutput,
    keys: Array,
    gather: Gather = identity,
    mean: Mean = identity,
) -> FactorTerms:
    """The total correlation of every level by its discriminator, and the discriminators' own loss.

    Args:
        config: the experiment.
        params: of the discriminators, by level.
        output: of the model.
        keys: one for each example of the batch.
        gather: the rows of all devices.
        mean: of a number over devices.
    """
    network, fixed = Discriminator(config), jax.lax.stop_gradient(params)
    correlation, losses = {}, []
    for name in config.levels.on:
        rows = latent_rows(output, name)
        number = jnp.maximum(mean(rows.weight.sum()), 1e-9)
        correlation[name] = (rows.weight * network.apply(fixed[name], rows.e)).sum() / number
        seen = jax.lax.stop_gradient(rows)
        shape = output.latents[name].shape[1:]
        uniform = jax.vmap(
            lambda key, name=name, shape=shape: jax.random.uniform(stream(key, f"recombine {name}"), shape)
        )
        mixed = recombined(Rows(*map(gather, seen)), uniform(keys).reshape(seen.e.shape))
        whole, apart = (network.apply(params[name], e) for e in (seen.e, mixed))
        losses.append((rows.weight * (jax.nn.softplus(-whole) + jax.nn.softplus(apart))).sum() / (2 * number))
    return FactorTerms(correlation, sum(losses, jnp.zeros(())))
