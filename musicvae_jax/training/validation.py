"""The bound on held-out windows, computed on all devices."""

import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import elbo_terms
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.training.parallel import Parallel
from musicvae_jax.types import Array, Batch, Variables, existing_fields, num_phrases


def make_validator(
    model: MusicVAE, parallel: Parallel, seed: int
) -> Callable[[Variables, Iterable[Batch]], dict[str, float]]:
    """A function of (variables, this process's rows of batches) to means over all windows.

    The latents are drawn from the posterior. Rows with index -1 do not count. Keys: ``nll``, ``kl``, ``kl_<level>``
    (nats per window), ``kl_per_phrase``, ``perplexity`` and ``perplexity_elbo`` (exp of nats per token).
    """

    @jax.jit
    def totals(variables: Variables, batch: Batch) -> dict[str, Array]:
        keys = row_keys(stream(jax.random.key(seed), "validation"), batch.index)
        encode_decode = jax.vmap(lambda example, key: model.apply(variables, example, rngs={"latent": key}))
        terms = elbo_terms(encode_decode(batch, keys), batch)
        real = batch.index >= 0
        values = {
            "nll": terms.nll,
            "kl": sum(terms.kl.values()),
            **{f"kl_{level}": kl for level, kl in terms.kl.items()},
            "tokens": existing_fields(batch.tokens, batch.mask, model.fields).sum((-3, -2, -1)),
            "phrases": num_phrases(batch.mask),
            "windows": jnp.ones_like(batch.index),
        }
        return {name: jnp.where(real, value, 0).sum() for name, value in values.items()}

    def validate(variables: Variables, batches: Iterable[Batch]) -> dict[str, float]:
        collected = [totals(variables, parallel.shard_rows(batch)) for batch in batches]
        total = {name: sum(float(row[name]) for row in collected) for name in collected[0]}
        windows, tokens, phrases = total.pop("windows"), total.pop("tokens"), total.pop("phrases")
        return {name: value / windows for name, value in total.items()} | {
            "kl_per_phrase": total["kl"] / phrases,
            "perplexity": math.exp(total["nll"] / tokens),
            "perplexity_elbo": math.exp((total["nll"] + total["kl"]) / tokens),
        }

    return validate
