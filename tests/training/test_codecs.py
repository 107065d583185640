"""The VAE on every codec: a step of training, measurements, samples that are scores."""

import dataclasses
import itertools
from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.codec import Metre, check_score, make_codec
from musicvae_jax.config import CodecConfig
from musicvae_jax.data.pipeline import make_eval_batches, make_train_iterator
from musicvae_jax.data.windows import WindowSource
from musicvae_jax.evaluation.baselines import NGram
from musicvae_jax.evaluation.reconstruction import make_measure, other_pieces, summarise
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.state import init_state, make_model, model_variables
from musicvae_jax.training.step import make_device_gradients
from musicvae_jax.types import existing_fields
from tests.data.melodies import random_melody
from tests.tiny import CONFIG, replace
from tests.training.ways import carried

CODECS = {
    "melody": CodecConfig(),
    "voices": CodecConfig(name="voices", voices=2),
    "performance": CodecConfig(name="performance", slots=8, positions=16, longest=4, velocities=4, tracks=2),
}
MEASURES = 2
LEVELS = {
    "global_dim": 4, "fine_dim": 3, "span_heads": ("global", "fine"), "batch_norm_levels": ("global",), "skip": True,
    "level_dropout": 0.3, "context": "previous", "slotwise": True,
}  # fmt: skip


def pieces(codec):
    """Melodies; for codecs that hold more, two at once."""
    scores = [random_melody(seed, 6) for seed in range(6)]
    if codec == "melody":
        return scores
    second = np.array([0, 0, 0, 0, 1])
    merged = [np.concatenate([one.notes, other.notes + second]) for one, other in itertools.pairwise(scores)]
    merged = [notes[np.lexsort(notes[:, [4, 2, 0]].T)].astype(np.int32) for notes in merged]
    return [dataclasses.replace(score, notes=notes) for score, notes in zip(scores, merged, strict=False)]


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        pytest.param("melody", {}, marks=pytest.mark.slow),  # what other tests train
        pytest.param("voices", {}, marks=pytest.mark.slow),
        pytest.param("performance", {}, marks=pytest.mark.slow),  # with levels it has all that it has here, and more
        ("voices", LEVELS),
        ("performance", LEVELS),
    ],
)
def test_trains_measures_and_samples(name, levels):
    """The basic VAE; and two levels with most of what there is beside them, where slots end and have several fields."""
    objective = {"span_weight": 0.1} if levels else {}
    config = replace(CONFIG, data={"measures": MEASURES}, train={"num_devices": 1}, model=levels, objective=objective)
    config = dataclasses.replace(config, codec=CODECS[name])
    codec = make_codec(config.codec)
    source = WindowSource(pieces(name), codec, MEASURES, 1)
    model, parallel = make_model(config, codec.fields), make_parallel(config.train)
    state = parallel.init(partial(init_state, config, model))

    iterator = make_train_iterator(source, config.train.batch_size, transpose=5)
    batch = next(iterator)
    iterator.close()
    gradients = make_device_gradients(config, model)

    def descend(state, batch):
        grads, metrics, moments = gradients(state.params, carried(state), batch)
        params = jax.tree.map(lambda leaf, gradient: leaf - 0.1 * gradient, state.params, grads)
        return (grads, model_variables(params, moments)), metrics

    (grads, variables), metrics = jax.device_get(parallel.spread(descend)(state, parallel.shard(batch)))
    assert all(np.isfinite(value) for value in metrics.values())
    exists = existing_fields(batch.tokens, batch.mask, codec.fields)
    assert metrics["tokens"] * len(batch.index) == exists.sum()
    silent = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(grads) if not leaf.any()]
    assert not [
        path
        for path in silent
        if "heads" in path or "zero_" in path or "bag_" in path or "tables" in path or "chain" in path
    ]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))

    held_out = make_eval_batches(source, 8)[0]
    other = other_pieces(held_out.index, held_out.metre, source.pieces(held_out.index))
    sums, *_ = make_measure(model, codec, 0)(variables, held_out, other)
    result = summarise({key: float(np.asarray(value).sum()) for key, value in sums.items()})
    assert all(np.isfinite(value) for value in result.values())
    fields = {f"perplexity_{field.name}" for field in codec.fields} if len(codec.fields) > 1 else set()
    assert {key for key in result if key.startswith("perplexity_")} == fields | {"perplexity_elbo"}
    # Nothing is learned: the bound is near the uniform model's, over the very tokens that a baseline counts.
    uniform = NGram(codec.fields, 0).nll(held_out)
    np.testing.assert_allclose(result["nll"], uniform.mean(), rtol=0.5)

    vae = TrainedVAE(config, codec, model, variables, 1, {"4/4": 1})
    for score in vae.sample(3, seed=2):
        check_score(score)
        assert score.num_measures == MEASURES and score.metre(0) == Metre(4, 4)
