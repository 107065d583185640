"""The objective: nll + sum over levels of beta x rate(KL) + further terms, in nats, each under its name.

The training step, validation and notebooks use the same `objective`. A new term is one more entry of its `Terms`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from musicvae_jax.config import Config
from musicvae_jax.models.embedding import of_class
from musicvae_jax.objectives.attributes import Gather, attribute_loss, group_head_loss, mode_loss
from musicvae_jax.objectives.independence import independence_terms
from musicvae_jax.objectives.rates import Mean, Weights, charge, charge_per_dim, identity, own_latents
from musicvae_jax.types import Array, Batch, VAEOutput


class ELBO(NamedTuple):
    """The terms of the evidence lower bound: -(nll + sum of kl) <= log p(x) (Kingma & Welling 2014, eq. 3)."""

    nll: Array  # float[batch], -log p(x | z), summed over unmasked slots and fields
    kl: dict[str, Array]  # level -> float[batch], KL(q || p), summed over latents and dims

    @property
    def total_kl(self) -> Array:
        """The KL of all levels: float[batch], 0 without a level."""
        return sum(self.kl.values(), jnp.zeros_like(self.nll))


class Terms(NamedTuple):
    """The objective, weighted, by name. Loss = mean over examples of the sum of ``per_example`` + sum of ``batch``."""

    per_example: dict[str, Array]  # name -> float[batch]
    batch: dict[str, Array]  # name -> float[], of a batch as a whole; a device's share, see `rates.charge_per_dim`
    adversary: Array | float = 0.0  # float[], the loss of the discriminators, which is no part of the model's

    def loss(self) -> Array:
        """The mean loss of a window, in nats: float[]."""
        return jnp.mean(sum(self.per_example.values())) + sum(self.batch.values())


def token_nll(logits: Sequence[Array], batch: Batch) -> Array:
    """-log p of every token: float[..., measure, slot, field], 0 where masked.

    Fields that do not exist have probability 1 (`MusicDecoder.field_logits`), so they cost 0.

    Args:
        logits: per field, float[..., measure, slot, vocab].
        batch: the music.
    """
    losses = [-of_class(jax.nn.log_softmax(field), batch.tokens[..., number]) for number, field in enumerate(logits)]
    return jnp.where(batch.mask[..., None], jnp.stack(losses, -1), 0.0)


def elbo_terms(output: VAEOutput, batch: Batch) -> ELBO:
    """The terms of the ELBO of every example."""
    return ELBO(
        nll=token_nll(output.logits, batch).sum((-3, -2, -1)),
        kl={level: kl.total.sum(-1) for level, kl in output.kl.items()},
    )


def objective(
    config: Config,
    output: VAEOutput,
    batch: Batch,
    weights: Weights,
    mean: Mean = identity,
    gather: Gather = identity,
) -> Terms:
    """Every term of the loss of a batch.

    ``nll``; ``rate_<level>``, beta x the charged KL; ``span_<level>``, the weighted nll of the span head;
    ``attributes_<level>``, the weighted loss of dims that follow attributes;
    ``group_heads_<level>``, the weighted error of the group heads; ``modes``, the weighted `mode_loss`;
    ``leakage_<level>`` and the other terms of `independence_terms`.

    Args:
        config: the experiment.
        output: of the model, with a batch axis.
        batch: its input.
        weights: of this step, such as `weights_at` gives.
        mean: of a number over devices, where a batch is spread over several.
        gather: the rows of all devices, likewise.

    Example:
        >>> loss = objective(config, output, batch, weights_at(config, step=0)).loss()
    """
    per_example, of_batch = {"nll": elbo_terms(output, batch).nll}, {}
    for name, level in config.levels.on.items():
        kl, own, beta = output.kl[name], own_latents(output, name), weights.beta[name]
        if level.free_bits == "per_dim":
            of_batch[f"rate_{name}"] = beta * charge_per_dim(level, kl, own, mean)
        else:
            per_example[f"rate_{name}"] = beta * charge(level, kl, own, weights.capacity[name])
    for name, span_nll in output.span_nll.items():
        per_example[f"span_{name}"] = weights.span * span_nll
    for name, level in config.levels.on.items():
        if level.attributes and weights.attributes:
            loss = attribute_loss(config, name, output, batch, gather, mean)
            of_batch[f"attributes_{name}"] = weights.attributes * loss
        if level.group_heads and weights.group_heads:
            loss = group_head_loss(config, name, output, batch, mean)
            of_batch[f"group_heads_{name}"] = weights.group_heads * loss
        if weights.independence:
            terms = independence_terms(name, level, output, batch, weights.independence, gather, mean)
            of_batch |= {f"{term}_{name}": value for term, value in terms.items()}
    if weights.modes:
        of_batch["modes"] = weights.modes * mode_loss(config, output, batch, mean)
    return Terms(per_example, of_batch)


def iwae_bound(log_p_x_given_z: Array, log_ratio: Array) -> Array:
    """log of the mean over K draws of p(x, z) / q(z | x): float[batch], in nats (Burda et al. 2016, eq. 8).

    Its expectation rises with K from the ELBO, at K = 1, to log p(x). Its exponential has expectation p(x) for every K.

    Args:
        log_p_x_given_z: float[draw, batch], of a window under each draw z ~ q(z | x).
        log_ratio: float[draw, batch], log q(z | x) - log p(z) of the draw, summed over levels and latents.

    Example:
        >>> import jax.numpy as jnp
        >>> iwae_bound(jnp.log(jnp.array([[0.1], [0.3]])), jnp.zeros((2, 1)))  # log 0.2
        Array([-1.609438], dtype=float32)
    """
    log_weights = log_p_x_given_z - log_ratio
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])
