"""`evaluate` against figures made by hand."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec, Metre, PerformanceCodec, make_codec
from musicvae_jax.config import LevelsConfig
from musicvae_jax.data.load import load_windows
from musicvae_jax.data.pipeline import make_eval_batches
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation import evaluate as evaluation
from musicvae_jax.evaluation import reconstruction
from musicvae_jax.evaluation.bounds import window_bounds
from musicvae_jax.evaluation.reconstruction import make_measure
from musicvae_jax.evaluation.trained import EVALUATION_ROWS, TrainedVAE
from musicvae_jax.models.spans import present_latents
from musicvae_jax.objectives.loss import elbo_terms
from musicvae_jax.objectives.usage import mutual_information
from musicvae_jax.rng import row_keys, stream
from musicvae_jax.types import KL, Batch, Field, Gaussian, Latents, VAEOutput
from tests.data.melodies import random_melody
from tests.models.variants import DEEP
from tests.tiny import make_batch, make_vae, replace
from tests.untrained import LEVELS_CONFIG

GROUPED = replace(LEVELS_CONFIG, **{"global": {"groups": (2, 1, 1, 2, 0)}}, fine={"groups": (1, 0, 2, 0, 0)})
LOG_SCALE = -0.5  # of all posteriors, in the units of their frames


def known_means(levels: LevelsConfig, index: Any, measures: int) -> Latents:
    """Posterior means that name their window, time and dim: level -> float[..., time, dim]."""
    return {
        name: index[..., None, None]
        + np.arange(level.num_latents(measures), dtype=np.float32)[:, None] / 8
        + np.arange(level.dim, dtype=np.float32) / 64
        for name, level in levels.on.items()
    }


@dataclasses.dataclass(frozen=True)
class Known:
    """A model whose latents are `known_means`, in frames N(0, 1), and whose logits are 0."""

    fields: tuple[Field, ...]
    levels: LevelsConfig = GROUPED.levels

    def apply(self, variables: dict, example: Batch, *_: Any, **__: Any) -> VAEOutput:
        del variables
        z = known_means(self.levels, example.index.astype(jnp.float32), len(example.metre))
        residual = {level: Gaussian(loc, jnp.full_like(loc, LOG_SCALE)) for level, loc in z.items()}
        frame = {level: Gaussian(*jnp.zeros((2, *loc.shape))) for level, loc in z.items()}
        kl = {level: KL(jnp.zeros(loc.shape[:-1]), jnp.zeros(loc.shape)) for level, loc in z.items()}
        present = {level: present_latents(example.metre, config) for level, config in self.levels.on.items()}
        logits = tuple(jnp.zeros((*example.mask.shape, field.size)) for field in self.fields)
        return VAEOutput(logits, z, residual, frame, kl, {}, present, {}, {}, {})


class Decoding(NamedTuple):
    """What the decoder was given."""

    latents: Latents
    metre: np.ndarray
    mask: np.ndarray


@pytest.fixture
def decodings(monkeypatch) -> list[Decoding]:
    """The calls of the decoder, which decodes silence."""
    calls: list[Decoding] = []

    def sample_tokens(model, variables, latents, metre, mask, *_):
        del variables
        calls.append(Decoding(latents, metre, mask))
        return np.zeros((*mask.shape, len(model.fields)), np.int32)

    monkeypatch.setattr(reconstruction, "sample_tokens", sample_tokens)
    return calls


def test_own_and_swapped_latents_are_decoded_under_the_own_metre_in_all_slots_that_it_allows(decodings):
    """The window's own mask would tell how many notes there are."""
    codec = PerformanceCodec(("0", "1/2"), slots=9, positions=8, tracks=2)
    scores = [random_melody(seed, 4, metre=Metre(3 + seed % 2, 4)) for seed in range(8)]
    batch = WindowSource(scores, codec, 4, 4).gather(np.arange(8))
    other = np.roll(np.arange(8), 3)
    model: Any = Known(codec.fields)
    make_measure(model, codec, 0)({}, batch, other)
    z = known_means(model.levels, batch.index.astype(np.float32), 4)
    for decoding, rows in zip(decodings, (np.arange(8), np.arange(8), other), strict=True):
        jax.tree.map(np.testing.assert_array_equal, decoding.latents, {level: z[level][rows] for level in z})
        np.testing.assert_array_equal(decoding.metre, batch.metre)
        np.testing.assert_array_equal(decoding.mask, codec.slot_mask(batch.metre))


def test_usage_is_of_the_present_latents_of_real_windows(decodings, folk_data_dir):
    config = replace(GROUPED, data={"data_dir": folk_data_dir}, train={"batch_size": 16})
    codec = make_codec(config.codec)
    model: Any = Known(codec.fields)
    found = evaluation.evaluate(TrainedVAE(config, codec, model, {}, 1, {"4/4": 1}), "test", num_examples=20, seed=3)

    batches = make_eval_batches(load_windows(config, "test"), EVALUATION_ROWS, num_examples=20)
    index, metre = (np.concatenate(parts) for parts in zip(*((b.index, b.metre) for b in batches), strict=True))
    real = index >= 0
    assert not real.all() and (metre[real][..., 0] == 0).any()
    for name, loc in known_means(config.levels, index.astype(np.float32), 4).items():
        level, figures = config.levels[name], found.levels[name]
        there = loc[(metre[:, :: level.span_in(4), 0] > 0) & real[:, None]]
        posterior = Gaussian(there, np.full_like(there, LOG_SCALE))
        assert figures.mutual_information == pytest.approx(mutual_information(posterior, 3), rel=1e-5)
        for group, dims in level.layout.items():
            of_group = Gaussian(*(leaf[:, dims] for leaf in posterior))
            expected = mutual_information(of_group, 3)
            assert figures.groups[group].mutual_information == pytest.approx(expected, rel=1e-5)


NOISY = {"dropout": 0.5, "token_dropout": 0.5, "level_dropout": 0.5, "skip": True, "skip_dropout": 0.5}


def test_dropout_of_all_kinds_and_the_skip_connection_are_off():
    """All sums and the bound equal those of a model that has none of them, with the same parameters."""
    codec = MelodyCodec(slots=4)
    noisy, variables = make_vae(replace(DEEP, model=NOISY), codec.fields)
    plain, _ = make_vae(DEEP, codec.fields)
    batch = make_batch()
    batch = batch._replace(tokens=20 * batch.tokens[..., :1])
    other = np.roll(np.arange(8), 3)
    keys = row_keys(stream(jax.random.key(5), "evaluation"), batch.index)
    by_hand = jax.jit(jax.vmap(lambda row, key: plain.apply(variables, row, True, rngs={"latent": key})))
    terms = elbo_terms(by_hand(batch, keys), batch)
    sums, _ = make_measure(noisy, codec, 5)(variables, batch, other)
    np.testing.assert_allclose(sums["nll"], terms.nll, rtol=1e-5)
    np.testing.assert_allclose(sums["kl"], sum(terms.kl.values()), rtol=1e-5)
    for name, expected in make_measure(plain, codec, 5)(variables, batch, other)[0].items():
        np.testing.assert_allclose(sums[name], expected, rtol=1e-5, err_msg=name)
    both = {
        str(number): TrainedVAE(DEEP, codec, model, variables, 1, {}) for number, model in enumerate((noisy, plain))
    }
    bound, expected = (window_bounds({name: vae}, batch, 2, 5)[name].iwae for name, vae in both.items())
    np.testing.assert_allclose(bound, expected, rtol=1e-5)
