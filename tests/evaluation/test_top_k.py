"""A codec of latents whose decoder repeats what it is told: identity gives everything back, other codes nothing."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.attributes import SPANS
from musicvae_jax.config import ModelConfig
from musicvae_jax.evaluation import top_k
from musicvae_jax.evaluation.bootstrap import Bootstrap
from musicvae_jax.evaluation.likeness import NAMES, compare, similarities, true_attributes
from musicvae_jax.evaluation.top_k import decode_top_k, top_k_figures
from musicvae_jax.types import Batch

TWO = ModelConfig(global_dim=1, local_dim=1)
CODEC = MelodyCodec(subdivisions=("0", "1/2"), slots=8)
WINDOWS, MEASURES = 200, 8


def make_melodies(seed: int = 0) -> Batch:
    """Melodies around a pitch of their own, in 4/4, with a density of their own and one for each phrase."""
    rng = np.random.default_rng(seed)
    shape = (WINDOWS, MEASURES, 8)
    centre = rng.integers(50, 80, (WINDOWS, 1, 1)) + np.repeat(rng.integers(-6, 7, (WINDOWS, 2, 1)), 4, 1)
    density = rng.uniform(0.2, 0.9, (WINDOWS, 1, 1))
    pitches = centre + rng.integers(-4, 5, shape)
    tokens = np.where(rng.random(shape) < density, pitches + 2, 0)[..., None].astype(np.int32)
    metre = np.full((WINDOWS, MEASURES, 2), 4, np.int32)
    return Batch(tokens, np.ones(shape, bool), metre, np.arange(WINDOWS, dtype=np.int32))


@dataclasses.dataclass(frozen=True)
class Tape:
    """Two levels: the first holds the first phrase as it is, the second the other one. Priors play other music."""

    config: ModelConfig = TWO


def decode(batch, num_draws, allowed):
    """What the tape gives back; ``allowed`` takes the slots that each decoding was told of."""

    def infer(model, variables, placed, key, given):
        del model, variables, key, given
        return {"global": jnp.asarray(placed.tokens[:, :4]), "local": jnp.asarray(placed.tokens[:, 4:])}, {}

    def from_prior(model, variables, placed, key, given, temperature):
        del model, variables, temperature, placed
        other = make_melodies(1 + int(jax.random.key_data(key)[-1])).tokens
        return {"global": other[:, :4], "local": other[:, 4:]} | given

    def sample_tokens(model, variables, latents, metre, mask, *rest):
        del model, variables, metre, rest
        allowed.append(mask)
        return jnp.concatenate([latents["global"], latents["local"]], 1)

    with pytest.MonkeyPatch.context() as patch:
        for name, function in (("infer", infer), ("from_prior", from_prior), ("sample_tokens", sample_tokens)):
            patch.setattr(top_k, name, function)
        vae: Any = SimpleNamespace(model=Tape(), config=SimpleNamespace(model=Tape().config), codec=CODEC, variables={})
        other = np.roll(np.arange(WINDOWS), WINDOWS // 2)
        return decode_top_k(vae, batch, batch, other, jax.random.key(0), num_draws)


@pytest.fixture(scope="module")
def found():
    return decode(make_melodies(), 2, [])


STRATA = np.arange(WINDOWS) % 2


@pytest.fixture(scope="module")
def figures(found):
    return top_k_figures(Bootstrap(np.arange(WINDOWS)), true_attributes(make_melodies(), CODEC), found, STRATA)


def test_how_many_notes_there_are_is_not_given_away():
    """A decoding is told of every slot that the metre has, and not where the window's music ends."""
    batch = make_melodies()
    shorter = np.arange(8) < 6
    batch = batch._replace(tokens=np.where(shorter[:, None], batch.tokens, 0), mask=batch.mask & shorter)
    allowed: list[np.ndarray] = []
    decode(batch, 1, allowed)
    assert len(allowed) == 4  # k = 0, 1, 2, and another piece's
    for mask in allowed:
        np.testing.assert_array_equal(mask, CODEC.slot_mask(batch.metre))


def test_within_metre_is_within_the_strata(figures, found):
    bootstrap, true = Bootstrap(np.arange(WINDOWS)), true_attributes(make_melodies(), CODEC)
    for span in SPANS:
        pair = true[span], found["top_1"].attributes[span]
        within, anywhere = (bootstrap.squared_correlation(*pair, strata)[0] for strata in (STRATA, None))
        assert figures[f"top_1_r2_{span}_within_metre"] == pytest.approx(within, rel=1e-9) != anywhere
        assert figures[f"top_1_r2_{span}"] == pytest.approx(anywhere, rel=1e-9)


def test_the_whole_code_gives_everything_back(figures):
    for name in ("r2_window", "r2_phrase", "r2_measure", "chroma", "rhythm", "onset_f1", "r2_window_within_metre"):
        assert figures[f"top_2_{name}"] == pytest.approx(1, abs=1e-9)
        assert figures[f"top_2_{name}_se"] == pytest.approx(0, abs=1e-9)


def test_priors_and_other_pieces_explain_nothing(figures):
    for name in ("top_0", "shuffled"):
        for span in ("window", "phrase", "measure"):
            # The square of a correlation of n independent pairs is 1 / n in the mean, and here a mean of eleven.
            assert figures[f"{name}_r2_{span}"] < 3 / WINDOWS
        assert figures[f"{name}_onset_f1"] < 0.2


def test_half_the_code_gives_half_the_measures_back(figures, found):
    """Notes of the first phrase are hits; in the second they are as good as those of the prior."""
    half, none = (found[name].sums for name in ("top_1", "top_0"))
    assert half["measures"].sum() == 2 * (make_melodies().tokens > 0).any((2, 3)).sum()  # two draws
    chance = figures["top_0_chroma"]
    error = 5 * np.hypot(figures["top_0_chroma_se"], figures["top_1_chroma_se"])
    assert figures["top_1_chroma"] == pytest.approx((1 + chance) / 2, abs=error)
    assert figures["top_1_minus_top_0_chroma"] == pytest.approx(figures["top_1_chroma"] - chance)
    assert figures["top_1_minus_top_0_chroma"] > 5 * figures["top_1_minus_top_0_chroma_se"] > 0
    assert (half["wanted"] == none["wanted"]).all()


def test_similarities_are_cosines_of_histograms():
    """One measure of C C E against C G: 2 / sqrt(5 x 2); rhythms of three and two onsets, one shared, 1 / sqrt(6)."""

    def melody(*events):
        tokens = np.zeros((1, 1, 8, 1), np.int32)
        for slot, pitch in events:
            tokens[0, 0, slot, 0] = pitch + 2
        return CODEC.notes(tokens, np.ones((1, 1, 8), bool), np.full((1, 1, 2), 4))

    true, heard = melody((0, 60), (2, 72), (4, 64)), melody((0, 60), (3, 67))
    found = similarities(true, heard, (1, 1))
    assert found["chroma"] == pytest.approx(2 / np.sqrt(5 * 2))
    assert found["rhythm"] == pytest.approx(1 / np.sqrt(3 * 2))
    silent = similarities(true, melody(), (1, 1))
    assert [silent[name].item() for name in ("chroma", "rhythm", "measures")] == [0, 0, 1]
    nothing = similarities(melody(), heard, (1, 1))
    assert [nothing[name].item() for name in ("chroma", "rhythm", "measures")] == [0, 0, 0]


def test_attributes_are_means_over_the_draws_that_have_them():
    batch = make_melodies()
    silent = np.zeros_like(batch.tokens)
    higher = CODEC.transpose(batch.tokens, 2)
    true = true_attributes(batch, CODEC)["window"]
    pitch = NAMES.index("mean_pitch")
    means = compare([batch.tokens, higher, silent], batch, CODEC).attributes["window"]
    np.testing.assert_allclose(means[..., pitch], true[..., pitch] + 1, rtol=1e-5)
    assert np.isnan(compare([silent], batch, CODEC).attributes["window"][..., pitch]).all()
    assert compare([silent], batch, CODEC).sums["found"].sum() == 0
