"""The figures on held-out windows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.figures import flatten
from musicvae_jax.models.latent.bases import mask_kl
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.validation import ValidationFigures, make_validator
from musicvae_jax.types import KL, Batch, Field, Gaussian, VAEOutput, existing_fields
from tests.tiny import CONFIG, ENDING, make_batch, make_ending_batch, make_vae, replace

STEPS = CONFIG.train.num_steps
DIM = CONFIG.levels.global_.dim
NATS = 0.25  # KL of each dim
ONE = replace(CONFIG, train={"num_devices": 1})


@dataclasses.dataclass(frozen=True)
class Ignorant:
    """A model that takes all tokens for equally probable, with one latent of the same KL for each window."""

    fields: tuple[Field, ...] = ENDING

    def apply(self, variables: dict, example: Batch, *_: Any, **__: Any) -> VAEOutput:
        del variables
        exists = existing_fields(example.tokens, example.mask, self.fields)
        logits = tuple(  # fields that do not exist are class 0, as the decoder says
            jnp.where(exists[..., number, None] | (jnp.arange(field.size) == 0), 0.0, -1e9)
            for number, field in enumerate(self.fields)
        )
        latent, present = jnp.zeros((1, DIM)), example.mask.any()[None]
        normal, kl = (
            {"global": Gaussian(latent, latent)},
            {"global": mask_kl(KL(latent[:, 0] + DIM * NATS, latent + NATS), present)},
        )
        return VAEOutput(logits, {}, normal, normal, kl, {}, {"global": present}, {}, {}, {})


def validate(config, batches, model: Any = Ignorant(), variables: Any = None) -> ValidationFigures:
    parallel = make_parallel(config.train)
    return make_validator(model, parallel, config)(jax.device_put(variables or {}, parallel.replicated), batches)


def test_figures_depend_neither_on_the_devices_nor_on_padding():
    model, variables = make_vae()
    batch = make_batch(8, measures=6)
    padding = make_batch(8, seed=1, measures=6)._replace(index=np.full(8, -1, np.int32))
    four = replace(CONFIG, train={"num_devices": 4})
    ways = ((ONE, [batch]), (four, [batch, padding]), (replace(four, train={"parallel": "pmap"}), [batch]))
    first, *others = (validate(config, batches, model, variables) for config, batches in ways)
    for other in others:
        assert flatten(other) == pytest.approx(flatten(first), rel=1e-5)
    assert first.kl_per_phrase == pytest.approx(first.kl * 8 / 13, rel=1e-6)  # three of the windows have one phrase
    assert first.perplexity_elbo > first.perplexity > 1


def test_figures_of_a_model_that_knows_nothing():
    """A uniform guess costs log(classes) for each field that exists; rows of index -1 do not count."""
    batches = [make_ending_batch(8, seed)._replace(index=np.array([*range(5), -1, -1, -1])) for seed in range(2)]
    counts = sum(existing_fields(batch.tokens, batch.mask, ENDING)[:5].sum((0, 1, 2)) for batch in batches)
    assert counts[0] > counts[1]  # an END has one field
    nll, kl = counts @ np.log([field.size for field in ENDING]), 10 * NATS * DIM
    found = flatten(validate(CONFIG, batches))
    expected = {
        "nll": nll / 10,
        "kl": kl / 10,
        "kl_per_phrase": kl / 10,  # three measures are one phrase
        "objective": (nll + kl) / 10,
        "perplexity": np.exp(nll / counts.sum()),
        "perplexity_elbo": np.exp((nll + kl) / counts.sum()),
        "levels.global.kl": kl / 10,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


CAPACITY = {"free_bits": "capacity", "nats": 1e6}


@pytest.mark.parametrize(
    ("objective", "level", "weight", "free"),
    [
        ({"beta": 0.5, "beta_warmup_steps": 10}, {}, 0.5, 0.0),
        ({"beta": 0.3}, {"kl_per_phrase": 2.0}, 1.0, 0.0),  # steered
        ({}, {"free_bits": "total", "nats": 1e6}, 0.0, 0.0),
        ({}, {"free_bits": "per_dim_per_example", "nats": 1e6}, 0.0, 1e6),
        ({}, {"free_bits": "per_dim", "nats": 1e3}, 0.0, DIM * 1e3),
        ({}, CAPACITY | {"capacity_steps": 10}, -1.0, 1e6),
        ({}, CAPACITY | {"capacity_steps": 2 * (STEPS - 1)}, -1.0, 5e5),  # half of the rise is all that the run sees
    ],
)
def test_the_objective_is_that_of_the_last_step(objective, level, weight, free):
    number = np.arange(8)
    padded = jax.tree.map(lambda leaf: leaf * (number < 5).reshape(-1, *[1] * (leaf.ndim - 1)), make_ending_batch())
    padded = padded._replace(mask=padded.mask > 0, index=np.where(number < 5, number, -1))
    result = validate(replace(ONE, objective=objective, **{"global": level}), [padded])
    assert result.objective == pytest.approx(result.nll + weight * result.kl + free, rel=1e-5)


def test_a_perplexity_too_large_for_a_float_is_infinite():
    model, variables = make_vae(CONFIG)
    sure = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * 1e4 if "['decoder']['heads_" in jax.tree_util.keystr(path) else leaf, variables
    )
    result = validate(ONE, [make_batch(8)], model, sure)
    assert result.perplexity == result.perplexity_elbo == np.inf
    assert np.isfinite(result.objective)
