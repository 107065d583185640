"""What evaluation does with what a model says, of a model that is known and needs no compiling."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import Metre, PerformanceCodec, make_codec
from musicvae_jax.config import ModelConfig
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation import evaluate as evaluation
from musicvae_jax.evaluation import reconstruction
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.models.groups import group_layout
from musicvae_jax.objectives import mutual_information as information
from musicvae_jax.types import Batch, Field, Gaussian, Latents, VAEOutput
from tests.data.melodies import random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG

GROUPED = replace(LEVELS_CONFIG, model={"global_groups": (2, 1, 1, 2, 0), "fine_groups": (1, 0, 2, 0, 0)})
POSTERIOR, PRIOR = -0.5, 0.25  # logarithms of their scales


def codes(config: ModelConfig, index: Any, measures: int) -> Latents:
    """Posterior means that say which window, which time and which dim they are of: level -> float[..., time, dim]."""
    return {
        level: index[..., None, None]
        + np.arange(config.num_latents(level, measures), dtype=np.float32)[:, None] / 8
        + np.arange(width, dtype=np.float32) / 64
        for level, width in config.widths.items()
    }


@dataclasses.dataclass(frozen=True)
class Known:
    """Its draws are its posterior means; its priors are all N(1, exp(PRIOR)), and its logits say nothing."""

    fields: tuple[Field, ...]
    config: ModelConfig = GROUPED.model

    def apply(self, variables: dict, example: Batch, **_: Any) -> VAEOutput:
        del variables
        z = codes(self.config, example.index.astype(jnp.float32), len(example.metre))
        posterior = {level: Gaussian(loc, jnp.full_like(loc, POSTERIOR)) for level, loc in z.items()}
        prior = {level: Gaussian(jnp.ones_like(loc), jnp.full_like(loc, PRIOR)) for level, loc in z.items()}
        logits = tuple(jnp.zeros((*example.mask.shape, field.size)) for field in self.fields)
        return VAEOutput(logits, posterior, z, jax.tree.map(jnp.zeros_like, z), prior, {}, {}, {})


class Decoding(NamedTuple):
    """What the decoder was given."""

    latents: Latents
    metre: np.ndarray
    mask: np.ndarray


@pytest.fixture
def decodings(monkeypatch) -> list[Decoding]:
    """Whatever is decoded is noted here, and is silence."""
    noted: list[Decoding] = []

    def sample_tokens(model, variables, latents, metre, mask, *_):
        del variables
        noted.append(Decoding(latents, metre, mask))
        return np.zeros((*mask.shape, len(model.fields)), np.int32)

    monkeypatch.setattr(reconstruction, "sample_tokens", sample_tokens)
    return noted


def test_own_and_other_codes_are_decoded_under_the_windows_own_metre(decodings):
    """And into every slot that it allows: how many notes there are is not given away."""
    codec = PerformanceCodec(("0", "1/2"), slots=9, positions=8, tracks=2)
    scores = [random_melody(seed, 4, metre=Metre(3 + seed % 2, 4)) for seed in range(8)]
    batch = WindowSource(scores, codec, 4, 4).gather(np.arange(8))
    other = np.roll(np.arange(8), 3)
    model: Any = Known(codec.fields)
    reconstruction.make_measure(model, codec, 0)({}, batch, other)
    z = codes(model.config, batch.index.astype(np.float32), 4)
    for decoding, rows in zip(decodings, (np.arange(8), other), strict=True):
        jax.tree.map(np.testing.assert_array_equal, decoding.latents, {level: z[level][rows] for level in z})
        np.testing.assert_array_equal(decoding.metre, batch.metre)
        np.testing.assert_array_equal(decoding.mask, codec.slot_mask(batch.metre))
        assert (decoding.mask != batch.mask).any()


@pytest.mark.usefixtures("decodings")
def test_the_information_is_of_the_latents_that_are_there_in_units_of_their_prior(folk_data_dir, monkeypatch):
    """Of a level and of each of its groups; the batch's padding and measures after a piece's end do not count."""
    config = replace(GROUPED, data={"data_dir": folk_data_dir}, train={"batch_size": 8})
    codec = make_codec(config.codec)
    measured: list[Gaussian] = []

    def mutual_information(residual, seed):
        measured.append(residual)
        return float(seed)

    monkeypatch.setattr(information, "mutual_information", mutual_information)
    model: Any = Known(codec.fields)
    evaluation.evaluate(TrainedVAE(config, codec, model, {}, 1, {"4/4": 1}), "test", num_examples=20)

    batches = make_eval_batches(load_windows(config, "test"), 16, num_examples=20)
    index, metre = (np.concatenate(parts) for parts in zip(*((b.index, b.metre) for b in batches), strict=True))
    here = (metre[..., 0] > 0) & (index >= 0)[:, None]
    assert (index < 0).any() and not here[index >= 0].all()
    expected = []
    for level, loc in codes(config.model, index.astype(np.float32), 4).items():
        there = loc[here[:, :: config.model.span(level, 4)]]
        expected += [there, *(there[:, dims] for dims in group_layout(config.model, level).values())]
    for residual, loc in zip(measured, expected, strict=True):
        np.testing.assert_allclose(residual.loc, (loc - 1) * np.exp(-PRIOR), rtol=1e-5)
        np.testing.assert_allclose(residual.log_scale, np.full_like(loc, POSTERIOR - PRIOR), rtol=1e-6)
