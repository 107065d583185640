"""The bound on held-out windows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import LevelObjective, ModelConfig
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.validation import make_validator
from musicvae_jax.types import Batch, Field, Gaussian, VAEOutput, existing_fields
from tests.tiny import CONFIG, ENDING, make_batch, make_ending_batch, make_vae, replace

STEPS = CONFIG.train.num_steps
KL = 0.25  # of every dim


@dataclasses.dataclass(frozen=True)
class Ignorant:
    """A model to which all tokens are alike, with one latent that costs the same for every window."""

    fields: tuple[Field, ...] = ENDING
    config: ModelConfig = CONFIG.model

    def apply(self, variables: dict, example: Batch, **_: Any) -> VAEOutput:
        del variables
        latent = jnp.zeros((1, self.config.global_dim))
        exists = existing_fields(example.tokens, example.mask, self.fields)
        logits = tuple(  # what does not exist is class 0, as the decoder says
            jnp.where(exists[..., number, None] | (jnp.arange(field.size) == 0), 0.0, -1e9)
            for number, field in enumerate(self.fields)
        )
        normal = {"global": Gaussian(latent, latent)}
        return VAEOutput(logits, normal, {}, {"global": latent + KL}, normal, {}, {}, {})


def validate(config, batches):
    model: Any = Ignorant()
    return make_validator(model, make_parallel(config.train), config)({}, batches)


def test_every_way_to_spread_gives_the_same_numbers_and_padding_does_not_count():
    model, variables = make_vae()
    batch = make_batch(8, measures=6)
    padding = make_batch(8, seed=1, measures=6)._replace(index=np.full(8, -1, np.int32))
    one = dataclasses.replace(CONFIG.train, num_devices=1)
    four = dataclasses.replace(CONFIG.train, num_devices=4)
    results = []
    for train, batches in (
        (one, [batch]),
        (four, [batch, padding]),
        (dataclasses.replace(four, parallel="pmap"), [batch]),
    ):
        parallel = make_parallel(train)
        placed = jax.device_put(variables, parallel.replicated)
        results.append(make_validator(model, parallel, CONFIG)(placed, batches))
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-5)
    assert results[0]["kl_per_phrase"] == pytest.approx(results[0]["kl"] * 8 / 13, rel=1e-6)  # three windows have one
    assert results[0]["perplexity_elbo"] > results[0]["perplexity"] > 1


def test_every_figure_is_known_where_nothing_is():
    """A uniform guess costs the log of the number of classes, and is as perplexed; an END has one field and no more."""
    batches = [make_ending_batch(8, seed)._replace(index=np.array([*range(5), -1, -1, -1])) for seed in range(2)]
    counts = sum(existing_fields(batch.tokens, batch.mask, ENDING)[:5].sum((0, 1, 2)) for batch in batches)
    assert counts[0] > counts[1]
    nll, kl = counts @ np.log([field.size for field in ENDING]), 10 * KL * CONFIG.model.global_dim
    expected = {
        "nll": nll / 10,
        "kl": kl / 10,
        "kl_per_phrase": kl / 10,  # three measures are one phrase
        "objective": (nll + kl) / 10,
        "perplexity": np.exp(nll / counts.sum()),
        "perplexity_elbo": np.exp((nll + kl) / counts.sum()),
        "kl_global": kl / 10,
    }
    result = validate(CONFIG, batches)
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "weight", "free"),
    [
        ({"beta": 0.5, "beta_warmup_steps": 10}, 0.5, 0.0),  # the last step's weight, not the first's
        ({"beta": 0.3, "global_level": LevelObjective(kl_per_phrase=2.0)}, 1.0, 0.0),  # steered
        ({"global_level": LevelObjective(free_bits="total", nats=1e6)}, 0.0, 0.0),  # nothing is charged
        ({"global_level": LevelObjective(free_bits="per_dim_per_example", nats=1e6)}, 0.0, 1e6),  # all is free
        ({"global_level": LevelObjective(free_bits="capacity", nats=1e6, capacity_steps=10)}, -1.0, 1e6),
        # Half of the capacity's way is all that the run sees.
        ({"global_level": LevelObjective(free_bits="capacity", nats=2e6, capacity_steps=2 * (STEPS - 1))}, -1.0, 1e6),
    ],
)
def test_the_best_checkpoint_is_the_best_by_the_objective_of_the_last_step(objective, weight, free):
    padded = make_ending_batch()._replace(index=np.array([*range(5), -1, -1, -1], np.int32))
    result = validate(replace(CONFIG, objective=objective, train={"num_devices": 1}), [padded])
    assert result["objective"] == pytest.approx(result["nll"] + weight * result["kl"] + free, rel=1e-5)


def test_a_perplexity_too_large_for_a_float_is_infinite():
    """A model that is sure of the wrong tokens is a bad one, and no reason to end a run."""
    model, variables = make_vae(CONFIG.model)
    sure = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 1e4 if "['decoder']['heads_" in jax.tree_util.keystr(path) else leaf, variables
    )
    parallel = make_parallel(dataclasses.replace(CONFIG.train, num_devices=1))
    result = make_validator(model, parallel, CONFIG)(jax.device_put(sure, parallel.replicated), [make_batch(8)])
    assert result["perplexity"] == result["perplexity_elbo"] == np.inf
    assert np.isfinite(result["objective"])


def test_information_is_that_of_the_residuals_of_all_batches():
    """Of one window there is none; of batches one after the other as much as of all of them together."""
    model, variables = make_vae(CONFIG.model)
    parallel = make_parallel(dataclasses.replace(CONFIG.train, num_devices=1))
    validate, placed = make_validator(model, parallel, CONFIG), jax.device_put(variables, parallel.replicated)
    batch = make_batch(8)
    one = validate(placed, [batch._replace(index=np.array([0, *[-1] * 7], np.int32))])
    assert one["mutual_information_global"] == pytest.approx(0, abs=1e-6)
    together = make_batch(64)
    parts = [jax.tree.map(lambda leaf, n=n: leaf[n : n + 8], together) for n in range(0, 64, 8)]
    whole, several = validate(placed, [together]), validate(placed, parts)
    assert several["mutual_information_global"] == pytest.approx(whole["mutual_information_global"], abs=1e-6)
    assert abs(validate(placed, parts[:1])["mutual_information_global"] - whole["mutual_information_global"]) > 1e-3
    assert 0 < whole["mutual_information_global"] <= np.log(64) + 1e-6
    assert whole["mutual_information_global_rhythm"] == whole["mutual_information_global"]  # all six dims are rhythm's
