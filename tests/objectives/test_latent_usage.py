"""Sums over batches against float64 over everything at once, and both rules where the answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.models.latents import kl_divergence
from musicvae_jax.objectives.latent_usage import Usage, kl_per_dim, measure_usage, sum_usage, usage_figures
from musicvae_jax.types import Batch, Gaussian, VAEOutput
from tests.tiny import MODEL, make_batch

# Six measures or two: one window, two phrases of which the last is short or missing, measures.
LEVELS = dataclasses.replace(MODEL, global_dim=9, local_dim=4, fine_dim=3, local_groups=(1, 0, 2, 0, 1))
SPANS = {"global": 6, "local": 4, "fine": 1}


def make_output(size: int, offset: float = 0.0) -> VAEOutput:
    """Random Gaussians whose means lie around the offset."""
    rng = np.random.default_rng(0)

    def gaussian(level: str) -> Gaussian:
        shape = (size, -(-6 // SPANS[level]), LEVELS.widths[level])
        loc = offset + rng.normal(0, 0.1, shape) * np.arange(1, shape[-1] + 1)
        return Gaussian(jnp.asarray(loc, jnp.float32), jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32))

    posterior = {level: gaussian(level) for level in LEVELS.widths}
    prior = {level: gaussian(level) for level in LEVELS.widths}
    kl = {level: kl_divergence(posterior[level], prior[level]) for level in LEVELS.widths}
    return VAEOutput((), posterior, {}, kl, prior, {}, {}, {})


def present(batch: Batch, level: str) -> np.ndarray:
    """bool[batch, time], written out for six measures."""
    here = (batch.metre[..., 0] > 0) & (batch.index >= 0)[:, None]
    return np.stack([here[:, first : first + SPANS[level]].any(1) for first in range(0, 6, SPANS[level])], 1)


def reference(output: VAEOutput, batch: Batch) -> dict[str, float]:
    """The figures in float64 from all latents at once."""
    windows, phrases = (batch.index >= 0).sum(), present(batch, "local").sum()
    figures = {}
    for level, width in LEVELS.widths.items():
        there = present(batch, level)
        q, p = (
            [np.asarray(leaf, np.float64)[there] for leaf in part[level]] for part in (output.posterior, output.prior)
        )
        kl = np.asarray(output.kl[level], np.float64)[there]
        residual = ((q[0] - p[0]) / np.exp(p[1]), q[1] - p[1])
        figures[f"kl_{level}"] = kl.sum() / windows
        figures[f"kl_{level}_per_phrase"] = kl.sum() / phrases
        figures[f"kl_{level}_per_latent"] = kl.sum() / there.sum()
        for kind, (loc, log_scale) in (("_raw", q), ("", residual)):
            figures[f"active_units_a{kind}_{level}"] = (np.exp(log_scale).mean(0) < 0.98).mean()
            figures[f"active_units_b{kind}_{level}"] = (loc.var(0) >= 0.01).mean()
        default = {"rhythm": slice(0, 8), "pitch": slice(8, width)} if width > 8 else {"rhythm": slice(width)}
        given_sizes = {"rhythm": slice(0, 1), "harmony": slice(1, 3), "style": slice(3, 4)}
        for group, dims in (given_sizes if level == "local" else default).items():
            figures[f"kl_{level}_{group}"] = kl[:, dims].sum() / windows
            figures[f"kl_{level}_{group}_per_phrase"] = kl[:, dims].sum() / phrases
            figures[f"kl_{level}_{group}_per_latent"] = kl[:, dims].sum() / len(kl)
            for kind, (loc, log_scale) in {"": residual, "_raw": q}.items():
                figures[f"active_units_a{kind}_{level}_{group}"] = (np.exp(log_scale).mean(0)[dims] < 0.98).mean()
                figures[f"active_units_b{kind}_{level}_{group}"] = (loc.var(0)[dims] >= 0.01).mean()
    return figures


measure = jax.jit(measure_usage, static_argnums=2)


def in_parts(output: VAEOutput, batch: Batch, number: np.ndarray) -> Usage:
    """The sums over batches, rows of other batches being padding: int[batch], the batch of every row."""
    rows = [batch._replace(index=np.where(number == part, batch.index, -1)) for part in np.unique(number)]
    return sum_usage(measure(output, part, LEVELS) for part in rows)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.sets(st.integers(0, 11), max_size=11))
def test_any_split_into_batches_gives_the_sums_of_the_whole(numbers, padding):
    batch, output = make_batch(12, measures=6), make_output(12)
    batch.index[list(padding)] = -1
    usage = in_parts(output, batch, np.array(numbers))
    figures = usage_figures(usage, LEVELS)
    assert figures == pytest.approx(reference(output, batch), rel=1e-5)
    dims = kl_per_dim(usage, LEVELS)
    for level, width in LEVELS.widths.items():
        assert len(dims[f"kl_per_dim_{level}"]) == width
        assert sum(dims[f"kl_per_dim_{level}"].values()) == pytest.approx(figures[f"kl_{level}"])
        rhythm = [kl for name, kl in dims[f"kl_per_dim_{level}"].items() if name.startswith(f"{level}/rhythm[")]
        assert sum(rhythm) == pytest.approx(figures[f"kl_{level}_rhythm"])


def test_variances_survive_large_means():
    """Squares in float32 of numbers around 100 would be off by a tenth of the smallest variance; a mean by 4e-6."""
    batch, output = make_batch(12, measures=6), make_output(12, offset=100.0)
    usage = in_parts(output, batch, np.arange(12) // 5)
    for level in LEVELS.widths:
        there, part = present(batch, level), usage.levels[level]
        loc = np.asarray(output.posterior[level].loc, np.float64)[there]
        np.testing.assert_allclose(part.raw.square / part.count, loc.var(0), rtol=1e-4)
        np.testing.assert_allclose(part.raw.mean, loc.mean(0), rtol=1e-6)


def one_level(loc: np.ndarray, scale: list[float], prior: Gaussian) -> dict[str, float]:
    """The figures of a global level of 4 dims."""
    posterior = Gaussian(loc[:, None], np.broadcast_to(np.log(scale), loc.shape)[:, None])
    num = len(loc)
    batch = Batch((), np.ones((num, 1, 1), bool), np.full((num, 1, 2), 4), np.arange(num))
    output = VAEOutput((), {"global": posterior}, {}, {"global": np.zeros((num, 1, 4))}, {"global": prior}, {}, {}, {})
    config = dataclasses.replace(MODEL, global_dim=4, global_groups=(1, 1, 1, 1, 0))
    return usage_figures(sum_usage([measure(output, batch, config)]), config)


def test_both_rules_on_dims_that_are_used_collapsed_noisy_and_constant():
    """Four dims: used; collapsed; noisy but informed in the mean; certain but constant."""
    rng = np.random.default_rng(0)
    loc = np.stack([rng.normal(0, 1, 500), np.zeros(500), rng.normal(0, 1, 500), np.zeros(500)], -1)
    figures = one_level(loc, [0.1, 1.0, 1.0, 0.1], Gaussian(np.zeros((500, 1, 4)), np.zeros((500, 1, 4))))
    assert [figures[f"active_units_{rule}_global"] for rule in ("a", "b", "a_raw", "b_raw")] == [0.5] * 4
    groups = ("rhythm", "pitch", "harmony", "dynamics")
    assert [figures[f"active_units_a_global_{group}"] for group in groups] == [1, 0, 0, 1]
    assert [figures[f"active_units_b_global_{group}"] for group in groups] == [1, 0, 1, 0]


def test_a_copy_of_the_prior_is_active_in_the_raw_values_alone():
    loc = np.random.default_rng(0).normal(0, 1, (500, 4))
    figures = one_level(loc, [0.1] * 4, Gaussian(loc[:, None], np.full((500, 1, 4), np.log(0.1))))
    assert figures["active_units_a_raw_global"] == figures["active_units_b_raw_global"] == 1
    assert figures["active_units_a_global"] == figures["active_units_b_global"] == 0
