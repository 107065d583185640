"""How well held-out windows come back from their codes, and how much of that the code explains."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec.melody import MelodyCodec
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.elbo import elbo_terms, token_nll
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Gaussian, Latents, VAEOutput, num_phrases

Sums = dict[str, Array]  # name -> float[batch], to be summed over windows
GREEDY = SamplingConfig(temperature=0.0)


def teacher_forced(output: VAEOutput, batch: Batch, codec: MelodyCodec) -> Sums:
    """Sums over each window under teacher forcing, all float[batch].

    ``nll``, ``kl``, ``kl_<level>``; counts ``tokens``, ``onsets``, ``phrases``, ``windows``; ``onset_nll`` over tokens
    that start a note; ``correct`` and ``onset_correct``, tokens whose most probable class is the true one.
    """
    terms = elbo_terms(output, batch)
    nll = token_nll(output.logits, batch)
    onsets = codec.is_onset(batch.tokens) & batch.mask[..., None]
    predicted = jnp.stack([logits.argmax(-1) for logits in output.logits], -1)
    correct = (predicted == batch.tokens) & batch.mask[..., None]
    total = partial(jnp.sum, axis=(-3, -2, -1))
    return {
        "nll": terms.nll,
        "kl": sum(terms.kl.values()),
        **{f"kl_{level}": kl for level, kl in terms.kl.items()},
        "tokens": batch.mask.sum((-2, -1)) * batch.tokens.shape[-1],
        "onsets": total(onsets),
        "phrases": num_phrases(batch.mask),
        "windows": jnp.ones_like(batch.index),
        "onset_nll": total(jnp.where(onsets, nll, 0)),
        "correct": total(correct),
        "onset_correct": total(correct & onsets),
    }


def agreement(tokens: Array, batch: Batch, codec: MelodyCodec) -> Sums:
    """How far decoded tokens agree with the true ones, float[batch] each.

    ``correct``: equal tokens; ``onset_hits``: onsets of the same pitch in the same slot; ``onset_found``:
    onsets decoded.
    """
    mask = batch.mask[..., None]
    equal = (tokens == batch.tokens) & mask
    total = partial(jnp.sum, axis=(-3, -2, -1))
    return {
        "correct": total(equal),
        "onset_hits": total(equal & codec.is_onset(batch.tokens)),
        "onset_found": total(codec.is_onset(tokens) & mask),
    }


def make_measure(model: MusicVAE, codec: MelodyCodec, seed: int) -> Callable[[Array, Batch, Array], tuple[Sums, dict]]:
    """A compiled function of (params, batch, other) to sums per window and the posterior.

    ``other``: int32[batch], for every row the row of another piece; prefix ``free_`` marks greedy decoding of a
    window's own code, ``swapped_`` of that other piece's code under the window's own metre.
    """

    @jax.jit
    def encode_decode(params: Array, batch: Batch) -> tuple[Sums, dict[str, Gaussian], Latents]:
        keys = row_keys(stream(jax.random.key(seed), "evaluation"), batch.index)
        one = jax.vmap(lambda example, key: model.apply({"params": params}, example, rngs={"latent": key}))
        output = one(batch, keys)
        return teacher_forced(output, batch, codec), output.posterior, output.latents

    compare = jax.jit(lambda tokens, batch: agreement(tokens, batch, codec))

    def measure(params: Array, batch: Batch, other: Array) -> tuple[Sums, dict[str, Gaussian]]:
        sums, posterior, latents = encode_decode(params, batch)
        for name, rows in (("free", np.arange(len(other))), ("swapped", other)):
            codes = jax.tree.map(lambda z, rows=rows: z[rows], latents)
            # Greedy decoding draws nothing; the key is never used.
            tokens = sample_tokens(model, params, codes, batch.metre, batch.mask, jax.random.key(0), GREEDY)
            sums |= {f"{name}_{key}": value for key, value in compare(tokens, batch).items()}
        return sums, posterior

    return measure


def other_pieces(index: np.ndarray) -> np.ndarray:
    """For every row of an evaluation batch a row far from it, hence of another piece; padding rows keep their own.

    Args:
        index: int[batch], -1 in padding rows, which come last.

    Returns:
        int32[batch].
    """
    real = int((index >= 0).sum())
    rows = np.arange(len(index))
    rows[:real] = (rows[:real] + real // 2) % max(real, 1)
    return rows.astype(np.int32)


def summarise(totals: dict[str, float]) -> dict[str, float]:
    """Totals over a split to the figures of evaluation.json; see the README for their definitions."""
    tokens, onsets, windows = totals["tokens"], totals["onsets"], totals["windows"]
    levels = [name for name in totals if name.startswith("kl_")]
    return {
        "perplexity": float(np.exp(totals["nll"] / tokens)),
        "onset_perplexity": float(np.exp(totals["onset_nll"] / onsets)),
        "perplexity_elbo": float(np.exp((totals["nll"] + totals["kl"]) / tokens)),
        "nll": totals["nll"] / windows,
        "kl": totals["kl"] / windows,
        "kl_per_phrase": totals["kl"] / totals["phrases"],
        **{name: totals[name] / windows for name in levels},
        "accuracy_teacher_forced": totals["correct"] / tokens,
        "accuracy_teacher_forced_onsets": totals["onset_correct"] / onsets,
        "accuracy_free_running": totals["free_correct"] / tokens,
        "accuracy_free_running_onsets": totals["free_onset_hits"] / onsets,
        "onset_f1": _f1(totals["free_onset_hits"], totals["free_onset_found"], onsets),
        "onset_f1_swapped": _f1(totals["swapped_onset_hits"], totals["swapped_onset_found"], onsets),
    }


def _f1(hits: float, found: float, wanted: float) -> float:
    return 2 * hits / max(found + wanted, 1)
