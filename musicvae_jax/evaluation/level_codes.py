"""Codes of held-out windows with some levels replaced, and what that costs in nats."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.evaluation.reconstruction import of_rows
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import token_nll
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Latents, Variables

Costs = dict[str, Array]  # name -> float[batch], nats


@partial(jax.jit, static_argnums=0)
def infer(model: MusicVAE, variables: Variables, batch: Batch, key: Array, given: Latents) -> tuple[Latents, Costs]:
    """Draws the latents of windows from the posterior; a row's noise depends on the key and its window alone.

    Args:
        model: the VAE.
        variables: its.
        batch: with one leading batch axis.
        key: of the draws.
        given: levels that are not drawn, level -> float[batch, time, dim]; those below are inferred from them.

    Returns:
        The latents, and the KL of every level in nats per window.
    """
    keys = row_keys(stream(key, "posterior"), batch.index)

    def one(example: Batch, row_key: Array, given_row: Latents) -> tuple[Latents, Costs]:
        output = model.apply(variables, example, given=given_row, rngs={"latent": row_key})
        return output.latents, {level: kl.sum() for level, kl in output.kl.items()}

    return jax.vmap(one)(batch, keys, given)


@partial(jax.jit, static_argnums=0)
def from_prior(
    model: MusicVAE, variables: Variables, batch: Batch, key: Array, given: Latents, temperature: dict[str, Any]
) -> Latents:
    """Draws the latents that are not given from the prior, top-down, as many as the windows have.

    Args:
        model: the VAE.
        variables: its.
        batch: with one leading batch axis; only its metres and its numbers are looked at.
        key: of the draws.
        given: level -> float[batch, time, dim].
        temperature: level -> what the prior's scales are multiplied by; 0 gives its means.
    """
    keys = row_keys(stream(key, "prior"), batch.index)

    def one(metre: Array, row_key: Array, given_row: Latents) -> Latents:
        return model.apply(variables, metre, given_row, temperature, method="sample_prior", rngs={"latent": row_key})

    return jax.vmap(one)(batch.metre, keys, given)


@partial(jax.jit, static_argnums=0)
def nll_given(model: MusicVAE, variables: Variables, latents: Latents, batch: Batch) -> Array:
    """-log p(x | z) under teacher forcing, in nats per window: float[batch]."""
    return token_nll(model.apply(variables, latents, batch, method="decode"), batch).sum((-3, -2, -1))


@partial(jax.jit, static_argnums=0)
def nll_with_skip(model: MusicVAE, variables: Variables, latents: Latents, batch: Batch, key: Array) -> Array:
    """`nll_given` of a decoder that sees the encoder's features, too."""
    keys = row_keys(stream(key, "skip"), batch.index)

    def one(example: Batch, row_key: Array, given_row: Latents) -> Array:
        output = model.apply(variables, example, given=given_row, skip=True, rngs={"latent": row_key})
        return token_nll(output.logits, example).sum()

    return jax.vmap(one)(batch, keys, latents)


def level_costs(vae: TrainedVAE, batch: Batch, other: np.ndarray, key: Array) -> Costs:
    """What it costs to do without a level, and to have another piece's; `information_flow` says what the names mean.

    Args:
        vae: the model, its variables on the devices that hold the batch.
        batch: with one leading batch axis.
        other: int32[batch], for every row the row of another piece.
        key: of the draws.

    Returns:
        Also ``nll``, and with a skip connection ``nll_skip``.
    """
    model, variables = vae.model, vae.variables
    levels = list(model.config.widths)
    latents, kl = infer(model, variables, batch, key, {})
    swapped = of_rows(latents, other)
    nll = nll_given(model, variables, latents, batch)
    costs = {"nll": nll}
    if model.config.skip:
        costs["nll_skip"] = nll_with_skip(model, variables, latents, batch, key)
    for number, level in enumerate(levels):
        above = {name: latents[name] for name in levels[:number]}
        replacements = {"other_piece": swapped[level]}
        for name, temperature in (("prior_mean", 0.0), ("noise", 1.0)):
            drawn = from_prior(model, variables, batch, key, above, {level: jnp.asarray(temperature)})
            replacements[name] = drawn[level]
        for name, z in replacements.items():
            costs[f"replace_{level}_{name}"] = nll_given(model, variables, latents | {level: z}, batch) - nll
        if level != levels[-1]:
            _, anew = infer(model, variables, batch, key, {level: swapped[level]})
            costs |= {f"swap_{level}_kl_{lower}": anew[lower] - kl[lower] for lower in levels[number + 1 :]}
    return costs
