"""How well held-out windows come back from their latents, and how much of that the latents explain."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec.base import Codec, WindowNotes
from musicvae_jax.inference import reconstruct
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.models.vae import MusicVAE
from musicvae_jax.objectives.loss import elbo_terms, token_nll
from musicvae_jax.objectives.usage import Usage, measure_usage
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import Array, Batch, Latents, VAEOutput, Variables, existing_fields, num_phrases, until_end

Sums = dict[str, Array]  # name -> float[batch], to be summed over windows
GREEDY = SamplingConfig(temperature=0.0)


def teacher_forced(output: VAEOutput, batch: Batch, codec: Codec) -> Sums:
    """Sums over each window under teacher forcing, all float[batch].

    ``nll``, ``kl``; counts ``tokens``, ``onsets``, ``phrases``, ``windows``; ``onset_nll`` over the tokens that carry
    the pitch of an onset; ``correct`` and ``onset_correct``, tokens whose most probable class is the true one; with
    several fields also ``field_nll_<field>`` and ``field_tokens_<field>``.
    """
    terms = elbo_terms(output, batch)
    nll = token_nll(output.logits, batch)
    exists = existing_fields(batch.tokens, batch.mask, codec.fields)
    onsets = codec.is_onset(batch.tokens) & exists
    predicted = jnp.stack([logits.argmax(-1) for logits in output.logits], -1)
    correct = (predicted == batch.tokens) & exists
    total = partial(jnp.sum, axis=(-3, -2, -1))
    fields = {}
    for number, field in enumerate(codec.fields if len(codec.fields) > 1 else ()):
        fields[f"field_nll_{field.name}"] = nll[..., number].sum((-2, -1))
        fields[f"field_tokens_{field.name}"] = exists[..., number].sum((-2, -1))
    return {
        "nll": terms.nll,
        "kl": terms.total_kl,
        "tokens": total(exists),
        "onsets": total(onsets),
        "phrases": num_phrases(batch.mask),
        "windows": jnp.ones_like(batch.index),
        "onset_nll": total(jnp.where(onsets, nll, 0)),
        "correct": total(correct),
        "onset_correct": total(correct & onsets),
        **fields,
    }


def agreement(tokens: Array, batch: Batch, codec: Codec) -> Sums:
    """How far decoded tokens agree with the true ones, int[batch] each, on the host.

    ``correct``: equal tokens in the same slot; ``onset_found``: decoded notes; ``onset_hits``: those of them for which
    the window has a note of the same onset, pitch and voice, in any slot.
    """
    tokens, true, metre = np.asarray(tokens), np.asarray(batch.tokens), np.asarray(batch.metre)
    allowed, mask = codec.slot_mask(metre), np.asarray(batch.mask)
    exists = existing_fields(true, mask, codec.fields)
    exists &= existing_fields(tokens, until_end(tokens, allowed, codec.fields), codec.fields)
    found, wanted = codec.notes(tokens, allowed, metre), codec.notes(true, mask, metre)
    hits = found.row[_one_of(_identities(found), _identities(wanted))]
    return {
        "correct": ((tokens == true) & exists).sum((-3, -2, -1)),
        "onset_hits": np.bincount(hits, minlength=len(tokens)),
        "onset_found": np.bincount(found.row, minlength=len(tokens)),
    }


def _identities(notes: WindowNotes) -> np.ndarray:
    """What makes a note the same note: int64[note, 5], unique within the notes."""
    return np.stack([notes.row, notes.measure, notes.onset, notes.pitch, notes.track], -1)


def _one_of(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows are among the others: bool[row]. Within each of the two, rows are unique."""
    _, number, count = np.unique(np.concatenate([rows, others]), axis=0, return_inverse=True, return_counts=True)
    return count[number.reshape(-1)[: len(rows)]] > 1


def make_measure(
    model: MusicVAE, codec: Codec, seed: int
) -> Callable[[Variables, Batch, np.ndarray], tuple[Sums, Usage]]:
    """A function of (variables, batch, other) to sums per window and the usage of the latents.

    ``other``: int32[batch], for every row the row of another piece. The sums have the prefix ``free_`` for greedy
    decoding of a window's own latents, ``sampled_`` for decoding them at temperature 1, ``swapped_`` for greedy
    decoding of those of the other piece under the window's own metre.
    """

    @jax.jit
    def encode_decode(variables: Variables, batch: Batch) -> tuple[Sums, Usage, Latents]:
        keys = row_keys(stream(jax.random.key(seed), "evaluation"), batch.index)
        output = reconstruct(model, variables, batch, keys)
        return teacher_forced(output, batch, codec), measure_usage(output, batch), output.latents

    def measure(variables: Variables, batch: Batch, other: np.ndarray) -> tuple[Sums, Usage]:
        sums, usage, latents = encode_decode(variables, batch)
        allowed = codec.slot_mask(np.asarray(batch.metre))  # not the mask, which tells how many notes there are
        own, key = np.arange(len(other)), stream(jax.random.key(seed), "tokens")
        for name, rows, sampling in (
            ("free", own, GREEDY), ("sampled", own, SamplingConfig()), ("swapped", other, GREEDY),
        ):  # fmt: skip
            chosen = of_rows(latents, rows)
            tokens = sample_tokens(model, variables, chosen, batch.metre, allowed, key, sampling)
            sums |= {f"{name}_{key}": value for key, value in agreement(tokens, batch, codec).items()}
        return sums, usage

    return measure


def other_pieces(index: np.ndarray, metre: np.ndarray, families: np.ndarray) -> np.ndarray:
    """For every row of an evaluation batch, a row of other music, as far away in the batch as possible.

    The other row is of another family, where there is one; has at least as many measures, so that it has a latent for
    every span, where there is such a row; and has the same metres, which the decoder is given anyway, where there is
    one. Padding rows, and a row that is alone in its batch, are paired with themselves.

    Args:
        index: int[batch], -1 in padding rows.
        metre: int[batch, measure, 2], (0, 0) in measures that a window lacks.
        families: int[batch], see `data.windows.Families`.

    Returns:
        int32[batch].
    """
    metre = np.asarray(metre)
    rows, present = np.arange(len(index)), metre[..., 0] > 0
    lengths = present.sum(-1)
    others = rows.astype(np.int32)
    for row in np.flatnonzero(index >= 0):
        there = (index >= 0) & (rows != row)
        elsewhere = there & (families != families[row])
        there = elsewhere if elsewhere.any() else there
        if there.any():
            enough = there & (lengths >= lengths[row])
            alike = enough & ((metre == metre[row]).all(-1) | ~present[row]).all(-1)
            fit = alike if alike.any() else enough
            fit = fit & (lengths == lengths[fit].min()) if fit.any() else there & (lengths == lengths[there].max())
            pool = np.flatnonzero(fit)
            others[row] = pool[(np.searchsorted(pool, row) + len(pool) // 2) % len(pool)]
    return others


def of_rows(latents: Latents, rows: np.ndarray) -> Latents:
    """The latents of other rows of the batch, placed on the devices as the batch's own are.

    They go by way of the host: a gather across devices is a collective, which can time out on a busy CPU.

    Args:
        latents: level -> float[batch, time, dim].
        rows: int[batch].
    """
    return {level: jax.device_put(np.asarray(z)[rows], z.sharding) for level, z in latents.items()}


def summarise(totals: dict[str, float]) -> dict[str, Any]:
    """Totals over a split to fields of `Evaluation`; those over onsets are NaN where there is none."""
    tokens, onsets, windows = totals["tokens"], totals["onsets"], totals["windows"]
    per_onset = 1 / onsets if onsets else float("nan")
    fields = [name.removeprefix("field_nll_") for name in totals if name.startswith("field_nll_")]
    return {
        "num_examples": int(windows),
        "perplexity": float(np.exp(totals["nll"] / tokens)),
        "onset_perplexity": float(np.exp(totals["onset_nll"] * per_onset)),
        "perplexity_elbo": float(np.exp((totals["nll"] + totals["kl"]) / tokens)),
        "perplexity_of_field": {
            name: float(np.exp(totals[f"field_nll_{name}"] / max(totals[f"field_tokens_{name}"], 1))) for name in fields
        },
        "nll": totals["nll"] / windows,
        "kl": totals["kl"] / windows,
        "kl_per_phrase": totals["kl"] / totals["phrases"],
        "accuracy_teacher_forced": totals["correct"] / tokens,
        "accuracy_teacher_forced_onsets": totals["onset_correct"] * per_onset,
        "accuracy_free_running": totals["free_correct"] / tokens,
        "accuracy_free_running_onsets": totals["free_onset_hits"] * per_onset,
        "onset_f1": f1(totals["free_onset_hits"], totals["free_onset_found"], onsets),
        "onset_f1_sampled": f1(totals["sampled_onset_hits"], totals["sampled_onset_found"], onsets),
        "onset_f1_swapped": f1(totals["swapped_onset_hits"], totals["swapped_onset_found"], onsets),
    }


def f1(hits: float, found: float, wanted: float) -> float:
    """2 hits / (found + wanted)."""
    return float(2 * hits / max(found + wanted, 1))
