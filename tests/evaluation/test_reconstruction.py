"""Laws of the reconstruction figures."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.evaluation.reconstruction import agreement, other_pieces, summarise, teacher_forced
from musicvae_jax.types import Batch, VAEOutput
from tests.tiny import make_batch

CODEC = MelodyCodec(slots=4)


def melody_batch() -> Batch:
    batch = make_batch()
    return batch._replace(tokens=np.where(batch.mask[..., None], batch.tokens[..., :1] * 20, 0))


def figures(tokens, batch):
    """Summaries as if the decoder said ``tokens``, sure of itself."""
    logits = 50.0 * (np.arange(130) == tokens[..., :1])
    output = VAEOutput((jnp.asarray(logits),), {}, {}, {"global": jnp.full((8, 1, 2), 0.5)})
    sums = teacher_forced(output, batch, CODEC)
    for name in ("free", "swapped"):
        sums |= {f"{name}_{key}": value for key, value in agreement(tokens, batch, CODEC).items()}
    return summarise({name: float(np.sum(value)) for name, value in sums.items()})


def test_perfect_reconstruction():
    batch = melody_batch()
    result = figures(batch.tokens, batch)
    for name in ("perplexity", "onset_perplexity", "accuracy_teacher_forced", "accuracy_free_running", "onset_f1"):
        np.testing.assert_allclose(result[name], 1, rtol=1e-6)
    tokens = batch.mask.sum()
    np.testing.assert_allclose(result["perplexity_elbo"], np.exp(8 * 1.0 / tokens), rtol=1e-6)
    assert result["kl"] == result["kl_global"] == 1.0
    assert result["kl_per_phrase"] == 1.0  # up to four measures are one phrase


def test_silence_finds_no_onset():
    batch = melody_batch()
    result = figures(np.zeros_like(batch.tokens), batch)
    assert result["onset_f1"] == result["accuracy_free_running_onsets"] == 0
    held = (batch.tokens == 0)[batch.mask].mean()
    np.testing.assert_allclose(result["accuracy_free_running"], held)


def test_a_wrong_pitch_is_no_hit():
    batch = melody_batch()
    onsets = CODEC.is_onset(batch.tokens)
    result = figures(np.where(onsets, batch.tokens + 1, batch.tokens), batch)
    assert result["onset_f1"] == 0
    assert result["onset_perplexity"] > 1e20


def test_f1_is_two_hits_over_found_and_wanted():
    batch = melody_batch()
    tokens = batch.tokens.copy()
    tokens[:4] = 0
    hits = agreement(tokens, batch, CODEC)
    wanted = CODEC.is_onset(batch.tokens)[batch.mask].sum()
    assert hits["onset_hits"].sum() == hits["onset_found"].sum() == CODEC.is_onset(tokens)[batch.mask].sum()
    found = float(hits["onset_found"].sum())
    np.testing.assert_allclose(figures(tokens, batch)["onset_f1"], 2 * found / (found + wanted), rtol=1e-6)


@given(st.integers(0, 9), st.integers(0, 4))
def test_another_row_for_every_row(real, padding):
    index = np.array([*range(real), *[-1] * padding], np.int32)
    rows = other_pieces(index)
    assert sorted(rows) == list(range(real + padding))
    assert (rows[real:] == np.arange(real, real + padding)).all()
    if real > 1:
        assert (rows[:real] != np.arange(real)).all()
