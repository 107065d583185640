"""The VAE on every codec: a step of training, a validation, samples that are scores."""

import dataclasses
import itertools
from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.codec import check_score, make_codec
from musicvae_jax.config import CodecConfig
from musicvae_jax.data.pipeline import make_eval_batches, make_train_iterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.ngram import NGram
from musicvae_jax.figures import flatten
from musicvae_jax.inference import sample_prior
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import row_keys
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import from_vectors, make_model, model_variables
from musicvae_jax.training.step import carried_by, make_device_gradients
from musicvae_jax.training.validation import make_validator
from musicvae_jax.types import existing_fields
from tests.data.melodies import random_melody
from tests.tiny import CONFIG, replace

CODECS = {
    "melody": CodecConfig(),
    "voices": CodecConfig(name="voices", voices=2),
    "performance": CodecConfig(name="performance", slots=8, positions=16, longest=4, velocities=4, tracks=2),
}
PLAIN = replace(CONFIG, data={"measures": 2}, train={"num_devices": 1})
# Two levels with most of what a model can have.
FULL = replace(
    PLAIN,
    model={"skip": True, "level_dropout": 0.3, "context": "previous", "slotwise": True},
    objective={"span_weight": 0.1},
    **{"global": {"dim": 4, "span_head": True, "batch_norm": 0.5}},
    fine={"dim": 3, "span_head": True},
)


def pieces(codec: str):
    """Melodies; for codecs that hold more, two at once."""
    scores = [random_melody(seed, 6) for seed in range(6)]
    if codec == "melody":
        return scores
    second = np.array([0, 0, 0, 0, 1])
    merged = [np.concatenate([one.notes, other.notes + second]) for one, other in itertools.pairwise(scores)]
    merged = [notes[np.lexsort(notes[:, [4, 2, 0]].T)].astype(np.int32) for notes in merged]
    return [dataclasses.replace(score, notes=notes) for score, notes in zip(scores, merged, strict=False)]


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        slow("melody", PLAIN, id="melody"),  # other tests train it
        pytest.param("voices", PLAIN, id="voices"),
        slow("performance", PLAIN, id="performance"),
        slow("voices", FULL, id="voices, full"),
        slow("performance", FULL, id="performance, full"),
    ],
)
def test_trains_validates_and_samples(name, config):
    config = dataclasses.replace(config, codec=CODECS[name])
    codec = make_codec(config.codec)
    source = WindowSource(pieces(name), codec, config.data.measures, 1)
    model, parallel = make_model(config, codec.fields), make_parallel(config.train)
    state = parallel.init(config, model)

    iterator = make_train_iterator(source, config.train.batch_size, transpose=5)
    batch = next(iterator)
    iterator.close()
    gradients = make_device_gradients(config, model)

    def descend(state, batch):
        vectors, metrics, moments, _ = gradients(state.params, carried_by(state), batch)
        grads = from_vectors(vectors, state.params)
        params = jax.tree.map(lambda leaf, gradient: leaf - 0.1 * gradient, state.params, grads)
        return (grads, model_variables(params, moments)), metrics

    (grads, variables), metrics = jax.device_get(parallel.spread(descend)(state, parallel.shard(batch)))
    assert all(np.isfinite(value) for value in metrics.values())
    exists = existing_fields(batch.tokens, batch.mask, codec.fields)
    assert metrics["tokens"] * len(batch.index) == exists.sum()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    silent = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(grads) if not leaf.any()]
    parts = ("heads", "zero_", "bag_", "tables", "chain")  # of the fields
    assert not [path for path in silent if any(part in path for part in parts)]

    held_out = make_eval_batches(source, 8)[0]
    placed = jax.device_put(variables, parallel.replicated)
    figures = make_validator(model, parallel, config)(placed, [held_out])
    assert all(np.isfinite(value) for value in flatten(figures).values())
    # Nothing is learned: the nll is near that of a uniform model, over the tokens that n-grams count.
    np.testing.assert_allclose(figures.nll, NGram(codec.fields, 0).nll(held_out).mean(), rtol=0.5)

    metre = np.full((3, config.data.measures, 2), 4, np.int32)
    latents = sample_prior(model, variables, metre, row_keys(jax.random.key(2), np.arange(3)))
    tokens = sample_tokens(
        model, variables, latents, metre, codec.slot_mask(metre), jax.random.key(3), SamplingConfig()
    )
    for row in np.asarray(tokens):
        score = codec.decode(row, metre[0])
        check_score(score)
        assert score.num_measures == config.data.measures
