"""Pieces of any length through few compiled shapes."""

from typing import Any

import jax
import numpy as np
import pytest

from musicvae_jax.config import ConfigError
from musicvae_jax.evaluation import trained
from musicvae_jax.evaluation.loading import load_workdir
from musicvae_jax.evaluation.row_padding import in_powers_of_two
from musicvae_jax.models import sampling
from musicvae_jax.models.sampling import SamplingConfig, sample_tokens
from musicvae_jax.rng import stream
from tests.data.melodies import random_melody
from tests.untrained import write_workdir


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_workdir(write_workdir(tmp_path_factory.mktemp("padding") / "run"))


def test_rows_that_are_added_are_dropped_again() -> None:
    seen = []

    def double(x, more):
        seen.append(len(x))
        return {"x": 2 * x, "more": more}

    for number in range(1, 10):
        rows = np.arange(2 * number, dtype=np.float32).reshape(number, 2)
        found = in_powers_of_two(double, rows, rows[:, 0])
        np.testing.assert_array_equal(found["x"], 2 * rows)
        np.testing.assert_array_equal(found["more"], rows[:, 0])
    assert seen == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    on_devices = jax.numpy.zeros((3, 2))
    assert in_powers_of_two(lambda x: x, on_devices) is on_devices


def test_real_rows_are_what_they_were(vae) -> None:
    """Five windows, three of them of another length: codes, and music that is drawn at temperature 1."""
    batch = vae.windows(random_melody(3, 18))
    assert len(batch.index) == 5 and (batch.metre[-1, -1] == 0).all()
    exact = trained._encode(vae.model, vae.variables, batch)
    found = vae.encode(batch)
    for level, gaussian in exact.items():
        for one, other in zip(gaussian, found[level], strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
    latents = {level: gaussian.loc for level, gaussian in exact.items()}
    key = stream(jax.random.key(4), "sampling")
    mask = vae.mask(batch.metre)
    drawn = sample_tokens(vae.model, vae.variables, latents, batch.metre, mask, key, SamplingConfig())
    np.testing.assert_array_equal(vae.decode(latents, batch.metre, seed=4), drawn)


def num_compiled() -> list[int]:
    """How many shapes the encoder and the sampler were compiled for."""
    compiled: list[Any] = [trained._encode, sampling._sample_tokens]
    return [function._cache_size() for function in compiled]


def test_pieces_of_many_lengths_compile_once(vae) -> None:
    vae.reconstruct(random_melody(0, 17))  # five windows of four measures, as eight
    before = num_compiled()
    for measures in (21, 25, 29, 32):
        vae.reconstruct(random_melody(measures, measures))
    assert num_compiled() == before


def test_a_negative_seed_is_refused(vae) -> None:
    tune = random_melody(0, 4)
    batch = vae.windows(tune)
    latents = {level: gaussian.loc for level, gaussian in vae.encode(batch).items()}
    for call in (
        lambda: vae.decode(latents, batch.metre, seed=-1),
        lambda: vae.reconstruct(tune, seed=-1),
        lambda: vae.reconstruct_tokens(batch, seed=-1),
        lambda: vae.interpolate(tune, tune, steps=2, seed=-1),
    ):
        with pytest.raises(ConfigError, match="seed = -1: allowed is 0 or more"):
            call()
