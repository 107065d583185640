"""The evidence lower bound, in nats, summed over a window, one number per example."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from musicvae_jax.types import Array, Batch, VAEOutput


class ELBOTerms(NamedTuple):
    """The terms of the bound; -(nll + sum of kl) <= log p(x)."""

    nll: Array  # float[batch], -log p(x | z) summed over unmasked slots and fields
    kl: dict[str, Array]  # level -> float[batch], KL(q || p) summed over latents and dims


def token_nll(logits: Sequence[Array], batch: Batch) -> Array:
    """-log p of every token: float[..., measure, slot, field], 0 where masked.

    Fields that do not exist are 0 with certainty, by `MusicDecoder.field_logits`, and cost 0.

    Args:
        logits: per field, float[..., measure, slot, vocab].
        batch: what the logits are about.
    """
    losses = [
        -jnp.take_along_axis(jax.nn.log_softmax(field), batch.tokens[..., number, None], -1)
        for number, field in enumerate(logits)
    ]
    return jnp.where(batch.mask[..., None], jnp.concatenate(losses, -1), 0.0)


def elbo_terms(output: VAEOutput, batch: Batch) -> ELBOTerms:
    """The terms of the ELBO (Kingma & Welling 2014, eq. 3) for every example of a batch."""
    return ELBOTerms(
        nll=token_nll(output.logits, batch).sum((-3, -2, -1)),
        kl={level: kl.sum((-2, -1)) for level, kl in output.kl.items()},
    )


def negative_elbo(terms: ELBOTerms, beta: Array | float = 1.0) -> Array:
    """nll + beta * KL per example: float[batch]. beta weighs summed nats (Higgins et al. 2017, eq. 4)."""
    return terms.nll + beta * sum(terms.kl.values())
