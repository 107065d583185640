"""Figures of reconstruction, from decoded tokens that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from musicvae_jax.codec import MelodyCodec, PerformanceCodec, VoicesCodec
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.reconstruction import agreement, of_rows, other_pieces, summarise, teacher_forced
from musicvae_jax.types import KL, Batch, VAEOutput, existing_fields
from tests.codec.music import score_of
from tests.tiny import make_batch

CODEC = MelodyCodec(slots=4)


def melody_batch() -> Batch:
    batch = make_batch(measures=6)
    return batch._replace(tokens=np.where(batch.mask[..., None], batch.tokens[..., :1] * 20, 0))


def make_output(logits, size: int) -> VAEOutput:
    """An output with these logits; the KL of a window is 1."""
    kl = {"global": KL(jnp.full((size, 1), 0.5), None), "local": KL(jnp.full((size, 2), 0.25), None)}
    return VAEOutput(tuple(map(jnp.asarray, logits)), {}, {}, {}, kl, {}, {}, {}, {}, {})


def figures(tokens, batch, codec=CODEC):
    """The figures of a decoder that gives probability 1 to ``tokens``."""
    logits = [50.0 * (np.arange(field.size) == tokens[..., n, None]) for n, field in enumerate(codec.fields)]
    sums = teacher_forced(make_output(logits, len(tokens)), batch, codec)
    for name in ("free", "sampled", "swapped"):
        sums |= {f"{name}_{key}": value for key, value in agreement(tokens, batch, codec).items()}
    return summarise({name: float(np.sum(value)) for name, value in sums.items()})


def test_perfect_reconstruction():
    batch = melody_batch()
    result = figures(batch.tokens, batch)
    for name in (
        "perplexity",
        "onset_perplexity",
        "accuracy_teacher_forced",
        "accuracy_free_running",
        "onset_f1",
        "onset_f1_sampled",
    ):
        np.testing.assert_allclose(result[name], 1, rtol=1e-6)
    np.testing.assert_allclose(result["perplexity_elbo"], np.exp(8 * 1.0 / batch.mask.sum()), rtol=1e-6)
    assert result["kl"] == 1 and result["num_examples"] == 8
    np.testing.assert_allclose(result["kl_per_phrase"], 8 / 13)  # three windows of one phrase, five of two
    assert result["perplexity_of_field"] == {}


@pytest.mark.parametrize("silent", [True, False])
def test_silence_and_wrong_pitches_hit_no_onset(silent):
    batch = melody_batch()
    tokens = np.where(CODEC.is_onset(batch.tokens), batch.tokens + 1, batch.tokens) * (not silent)
    result = figures(tokens, batch)
    assert result["onset_f1"] == result["accuracy_free_running_onsets"] == 0 and result["onset_perplexity"] > 1e20
    np.testing.assert_allclose(result["accuracy_free_running"], (batch.tokens == tokens)[batch.mask].mean())


def test_figures_over_onsets_are_nan_for_music_without_onsets():
    silent = melody_batch()._replace(tokens=np.zeros((8, 6, 4, 1), np.int32))
    result = figures(silent.tokens, silent)
    over_onsets = {"onset_perplexity", "accuracy_teacher_forced_onsets", "accuracy_free_running_onsets"}
    assert {name for name, value in result.items() if name != "perplexity_of_field" and np.isnan(value)} == over_onsets
    assert result["perplexity"] == result["accuracy_free_running"] == 1


def test_f1_is_two_hits_over_found_and_wanted():
    batch = melody_batch()
    tokens = batch.tokens.copy()
    tokens[:4] = 0
    hits = agreement(tokens, batch, CODEC)
    wanted = CODEC.is_onset(batch.tokens)[batch.mask].sum()
    assert hits["onset_hits"].sum() == hits["onset_found"].sum() == CODEC.is_onset(tokens)[batch.mask].sum()
    found = float(hits["onset_found"].sum())
    np.testing.assert_allclose(figures(tokens, batch)["onset_f1"], 2 * found / (found + wanted), rtol=1e-6)


@given(st.integers(0, 100))
def test_on_a_grid_notes_agree_where_onset_tokens_do(seed):
    batch, codec = make_batch(seed=seed), VoicesCodec(slots=4, voices=2)
    rng = np.random.default_rng(seed)
    true, heard = (np.where(batch.mask[..., None], rng.choice([0, 1, 62, 64], (8, 3, 4, 2)), 0) for _ in range(2))
    hits = agreement(heard, batch._replace(tokens=true), codec)
    equal = (true == heard) & batch.mask[..., None]
    np.testing.assert_array_equal(hits["correct"], equal.sum((1, 2, 3)))
    np.testing.assert_array_equal(hits["onset_hits"], (equal & codec.is_onset(true)).sum((1, 2, 3)))
    np.testing.assert_array_equal(hits["onset_found"], codec.is_onset(heard).sum((1, 2, 3)))


def piece(*onsets, track=0):
    return [(onset, 240, 60 + onset // 240, 80, track) for onset in onsets]


PERFORMANCE = PerformanceCodec(("0", "1/2"), slots=9, positions=8, tracks=2)


def window(rows, codec) -> Batch:
    rows = sorted(rows, key=lambda row: (row[0], row[2], row[4]))
    score = score_of(rows, [(0, 4, 4), (1920, 4, 4)])
    return WindowSource([score], codec, 2, 2).gather(np.array([0]))


def test_an_extra_note_shifts_slots_but_not_notes():
    true = piece(0, 480, 960, 1920, 2400)
    batch, heard = window(true, PERFORMANCE), window([*true, *piece(240)], PERFORMANCE)
    hits = agreement(heard.tokens, batch, PERFORMANCE)
    assert (hits["onset_hits"].tolist(), hits["onset_found"].tolist()) == ([5], [6])
    # Slot by slot, two notes have another position and pitch, and END is elsewhere.
    assert hits["correct"].tolist() == [existing_fields(batch.tokens, batch.mask, PERFORMANCE.fields).sum() - 5]
    result = figures(heard.tokens, batch, PERFORMANCE)
    np.testing.assert_allclose(result["onset_f1"], 10 / 11)
    assert result["accuracy_free_running_onsets"] == 1


def test_a_note_of_another_track_or_measure_is_no_hit():
    batch = window(piece(0, 480), PERFORMANCE)
    for other in (piece(0, track=1) + piece(480), [(1920, 240, 60, 80, 0), *piece(480)]):
        hits = agreement(window(other, PERFORMANCE).tokens, batch, PERFORMANCE)
        assert (hits["onset_hits"].tolist(), hits["onset_found"].tolist()) == ([1], [2])


def test_notes_after_the_end_are_not_found():
    batch = window(piece(0, 480), PERFORMANCE)
    tokens = batch.tokens.copy()
    tokens[0, 0, 4] = tokens[0, 0, 0]
    assert agreement(tokens, batch, PERFORMANCE)["onset_found"].tolist() == [2]


def test_every_field_has_its_perplexity():
    codec = VoicesCodec(voices=2)
    batch = window([*piece(0, 480), (0, 960, 50, 80, 1)], codec)
    tokens = batch.tokens.copy()
    tokens[0, 0, 5, 1] = 1
    result = figures(tokens, batch, codec)
    found = [result["perplexity_of_field"][name] for name in ("voice0", "voice1")]
    np.testing.assert_allclose([*found, result["perplexity"]], [1, np.exp(50 / 32), np.exp(50 / 64)], rtol=1e-5)


def test_an_end_has_one_field():
    batch, codec = window(piece(0, 480, 1920), PERFORMANCE), PERFORMANCE
    output = make_output([np.zeros((*batch.mask.shape, field.size)) for field in codec.fields], 1)
    sums = teacher_forced(output, batch, codec)
    assert {name: int(value[0]) for name, value in sums.items() if "tokens" in name} == {
        "tokens": 3 * 5 + 2,  # three notes, and an END in each measure
        "field_tokens_position": 5,
        **{f"field_tokens_{name}": 3 for name in ("pitch", "duration", "velocity", "track")},
    }
    assert sums["onsets"].tolist() == [3]
    np.testing.assert_allclose(sums["onset_nll"], 3 * np.log(128), rtol=1e-6)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(3, 4)), max_size=12), st.integers(0, 4))
def test_a_row_is_paired_with_another_family_of_the_same_metres(rows_of, padding):
    """The other row is the shortest of those that are as long as the row, or the longest. Padding keeps its own."""
    real = len(rows_of)
    index = np.array([*range(real), *[-1] * padding], np.int32)
    lengths, pieces, beats = np.array([*rows_of, *[(0, 0, 0)] * padding], int).reshape(-1, 3).T
    metre = (np.arange(4) < lengths[:, None])[..., None] * np.stack([beats, np.full(len(beats), 4)], -1)[:, None]
    rows = other_pieces(index, metre, pieces)
    assert (rows[real:] == np.arange(real, real + padding)).all()
    for row in range(real):
        others = [other for other in range(real) if other != row]
        others = [other for other in others if pieces[other] != pieces[row]] or others
        fit = [other for other in others if lengths[other] >= lengths[row]]
        fit = [other for other in fit if beats[other] == beats[row]] or fit
        assert rows[row] in (fit or others or [row])
        if others:
            wanted = min(lengths[fit]) if fit else max(lengths[others])
            assert lengths[rows[row]] == wanted


def test_rows_of_one_length_are_paired_half_a_batch_apart():
    rows = other_pieces(np.arange(32), np.full((32, 8, 2), 4), np.arange(32))
    apart = np.abs(rows - np.arange(32))
    assert apart.min() >= 15
    assert apart.max() <= 17


def test_latents_of_other_rows_have_the_sharding_of_the_batch():
    mesh = jax.make_mesh((4,), ("rows",))
    placed = NamedSharding(mesh, PartitionSpec("rows"))
    z, rows = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32), np.array([5, 4, 7, 6, 0, 0, 1, 2])
    found = of_rows({"local": jax.device_put(z, placed)}, rows)["local"]
    np.testing.assert_array_equal(found, z[rows])
    assert found.sharding == placed
