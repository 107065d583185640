"""The peak that a step is compared with."""

import jax
import jax.numpy as jnp
import pytest

from musicvae_jax.training import throughput
from musicvae_jax.training.parallel import make_parallel
from musicvae_jax.training.throughput import matmul_peak, peak_size
from tests.tiny import CONFIG


@pytest.mark.parametrize(("backend", "size"), [("cpu", 1024), ("gpu", 8192), ("tpu", 8192)])
def test_an_accelerator_multiplies_larger_matrices(monkeypatch, backend, size):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert peak_size() == size


def test_the_peak_is_of_the_size_for_this_machine_unless_told(monkeypatch):
    made, full = [], jnp.full

    def noted(shape, *rest):
        made.append(shape)
        return full(shape, *rest)

    monkeypatch.setattr(throughput, "peak_size", lambda: 16)
    monkeypatch.setattr(jnp, "full", noted)
    parallel = make_parallel(CONFIG.train)
    assert matmul_peak(parallel, repeats=1) > 0 and matmul_peak(parallel, size=8, repeats=1) > 0
    assert made == [(4, 16, 16), (4, 8, 8)]
