"""What it costs, in nats, to do without the own latents of a level."""

from typing import NamedTuple

import numpy as np

from musicvae_jax.evaluation.reconstruction import of_rows
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import decode_nll, infer, reconstruct, sample_prior
from musicvae_jax.objectives.loss import token_nll
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch


class LevelCosts(NamedTuple):
    """Costs of windows; every array is float[window], in nats."""

    nll: Array  # under teacher forcing, all latents from the posterior
    nll_with_skip: Array | None  # of a decoder that also sees the encoder's features; None without skip connection
    replaced: dict[str, dict[str, Array]]  # level -> prior_mean, noise, other_piece -> growth of nll
    swapped: dict[str, dict[str, Array]]  # upper level -> lower level -> growth of the lower level's KL


def level_costs(vae: TrainedVAE, batch: Batch, other: np.ndarray, key: Array) -> LevelCosts:
    """The costs of a batch.

    A level is replaced by the mean of its prior, by a draw from it, or by the latents of another piece; the levels
    below stay as they are. An upper level is swapped for that of another piece; the levels below are inferred anew.

    Args:
        vae: the model, its variables on the devices that hold the batch.
        batch: with one batch axis.
        other: int32[batch], for every row the row of another piece.
        key: of the draws.
    """
    model, variables, names = vae.model, vae.variables, list(vae.config.levels.on)

    def keys(name: str) -> Array:  # the same ones each time: a difference is then not one of noise
        return row_keys(stream(key, name), batch.index)

    found = infer(model, variables, batch, keys("posterior"))
    latents, strange = found.latents, of_rows(found.latents, other)
    kl = {name: value.total.sum(-1) for name, value in found.kl.items()}
    nll, with_skip = decode_nll(model, variables, latents, batch), None
    if model.config.skip:
        logits = reconstruct(model, variables, batch, keys("skip"), latents, skip=True).logits
        with_skip = token_nll(logits, batch).sum((-3, -2, -1))
    replaced: dict[str, dict[str, Array]] = {}
    swapped: dict[str, dict[str, Array]] = {}
    for number, name in enumerate(names):
        above = {upper: latents[upper] for upper in names[:number]}
        instead = {"other_piece": strange[name]}
        for kind, temperature in (("prior_mean", 0.0), ("noise", 1.0)):
            drawn = sample_prior(model, variables, batch.metre, keys("prior"), above, {name: np.float32(temperature)})
            instead[kind] = drawn[name]
        replaced[name] = {
            kind: decode_nll(model, variables, latents | {name: z}, batch) - nll for kind, z in instead.items()
        }
        if name != names[-1]:
            anew = infer(model, variables, batch, keys("posterior"), {name: strange[name]}).kl
            swapped[name] = {lower: anew[lower].total.sum(-1) - kl[lower] for lower in names[number + 1 :]}
    return LevelCosts(nll, with_skip, replaced, swapped)
