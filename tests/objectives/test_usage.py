"""Figures of the latents against float64 over all latents at once, and where the answer is known."""

import dataclasses
from functools import reduce
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicvae_jax.config import LevelConfig, LevelsConfig
from musicvae_jax.figures import flatten
from musicvae_jax.objectives import usage
from musicvae_jax.objectives.usage import (
    GroupFigures,
    LevelFigures,
    Usage,
    measure_usage,
    mutual_information,
    usage_figures,
)
from musicvae_jax.types import KL, Batch, Gaussian, VAEOutput
from tests.tiny import make_batch

# Windows of six measures or two: one window, two phrases or one, measures.
LEVELS = LevelsConfig(
    global_=LevelConfig(dim=9), local=LevelConfig(dim=4, groups=(1, 0, 2, 0, 1)), fine=LevelConfig(dim=3)
)
SPANS = {"global": 6, "local": 4, "fine": 1}
GROUPS: dict[str, dict[str, slice]] = {
    "global": {"rhythm": slice(0, 8), "pitch": slice(8, 9)},
    "local": {"rhythm": slice(0, 1), "harmony": slice(1, 3), "style": slice(3, 4)},
    "fine": {"rhythm": slice(0, 3)},
}


def make_output(batch: Batch, offset: float = 0.0) -> VAEOutput:
    """Random Gaussians, their means around the offset, and random KLs."""
    rng, size = np.random.default_rng(0), len(batch.index)

    def gaussian(width: int, span: int) -> Gaussian:
        shape = (size, -(-6 // span), width)
        loc = offset + rng.normal(0, 0.1, shape) * np.arange(1, width + 1)
        return Gaussian(loc.astype(np.float32), rng.normal(0, 0.1, shape).astype(np.float32))

    residual, frame, kl, present = {}, {}, {}, {}
    for name, level in LEVELS.on.items():
        residual[name], frame[name] = (gaussian(level.dim, SPANS[name]) for _ in range(2))
        per_dim = rng.gamma(1, 1, residual[name].loc.shape).astype(np.float32)
        kl[name] = KL(per_dim.sum(-1), per_dim)
        present[name] = there(batch, name)
    return output_of(residual, frame, kl, present)


def output_of(residual: dict, frame: dict, kl: dict, present: dict) -> VAEOutput:
    return VAEOutput((), {}, residual, frame, kl, {}, present, {}, {}, {})


def there(batch: Batch, name: str) -> np.ndarray:
    """The latents of windows: bool[batch, time], written out for six measures."""
    here = batch.metre[..., 0] > 0
    return np.stack([here[:, first : first + SPANS[name]].any(1) for first in range(0, 6, SPANS[name])], 1)


def reference(output: VAEOutput, batch: Batch) -> dict[str, Any]:
    """All figures in float64 from all latents at once, by dotted names."""
    real = batch.index >= 0
    windows, phrases = real.sum(), there(batch, "local")[real].sum()
    figures: dict[str, Any] = {}
    for name, level in LEVELS.on.items():
        here = there(batch, name) & real[:, None]
        q, frame = (
            [np.asarray(leaf, np.float64)[here] for leaf in part[name]] for part in (output.residual, output.frame)
        )
        raw = frame[0] + np.exp(frame[1]) * q[0], frame[1] + q[1]
        kl = np.asarray(output.kl[name].per_dim, np.float64)[here]
        for group, dims in {"": slice(None), **GROUPS[name]}.items():
            prefix = f"{name}.groups.{group}" if group else name
            figures[f"{prefix}.kl"] = kl[:, dims].sum() / windows
            figures[f"{prefix}.kl_per_phrase"] = kl[:, dims].sum() / phrases
            figures[f"{prefix}.kl_per_latent"] = kl[:, dims].sum() / len(kl)
            for kind, (loc, log_scale) in {"": q, "_raw": raw}.items():
                figures[f"{prefix}.active_a{kind}"] = (np.exp(log_scale).mean(0)[dims] < 0.98).mean()
                figures[f"{prefix}.active_b{kind}"] = (loc.var(0)[dims] >= 0.01).mean()
            figures[f"{prefix}.mutual_information"] = mutual_information(Gaussian(*(leaf[:, dims] for leaf in q)))
        for number, dim in enumerate(level.dim_names(name)):
            figures[f"{name}.kl_per_dim.{dim}"] = kl[:, number].sum() / windows
    return figures


measure = jax.jit(measure_usage)


def in_parts(output: VAEOutput, batch: Batch, number: np.ndarray) -> list[Usage]:
    """The usage of every batch, where int[batch] says in which batch a row counts; elsewhere it is padding."""
    rows = [batch._replace(index=np.where(number == part, batch.index, -1)) for part in np.unique(number)]
    return [jax.device_get(measure(output, part)) for part in rows]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.sets(st.integers(0, 11), max_size=11))
def test_figures_do_not_depend_on_how_windows_are_spread_over_batches(numbers, padding):
    batch = make_batch(12, measures=6)
    batch.index[list(padding)] = -1
    output = make_output(batch)
    figures = flatten(usage_figures(in_parts(output, batch, np.array(numbers)), LEVELS))
    order = np.argsort(numbers, kind="stable")  # draws for the mutual information follow the order of windows
    whole = reference(*jax.tree.map(lambda leaf: leaf[order], (output, batch)))
    assert figures == pytest.approx(whole, rel=1e-5, abs=1e-9)


def test_variances_survive_large_means():
    """Sums of float32 squares around 100 would be off by a tenth of the smallest variance."""
    batch = make_batch(12, measures=6)
    output = make_output(batch, offset=100.0)
    parts = in_parts(output, batch, np.arange(12) // 5)
    for name in LEVELS.on:
        loc = np.asarray(output.residual[name].loc, np.float64)[there(batch, name)]
        sums = reduce(usage._add, (part.levels[name] for part in parts))
        np.testing.assert_allclose(sums.residual.square / sums.count, loc.var(0), rtol=1e-4)
        np.testing.assert_allclose(sums.residual.mean, loc.mean(0), rtol=1e-6)


def test_a_kl_estimated_by_a_draw_has_no_value_by_group_or_dim():
    batch = make_batch(12, measures=6)
    output = make_output(batch)
    draws = output._replace(kl={name: KL(kl.total, None) for name, kl in output.kl.items()})
    levels = [usage_figures(in_parts(each, batch, np.arange(12) // 5), LEVELS) for each in (output, draws)]
    unknown: dict[str, Any] = {"kl": None, "kl_per_phrase": None, "kl_per_latent": None}
    for exact, drawn in zip(*(part.values() for part in levels), strict=True):
        groups = {name: dataclasses.replace(group, **unknown) for name, group in exact.groups.items()}
        assert drawn == dataclasses.replace(exact, groups=groups, kl_per_dim={}) != exact


def one_level(loc: np.ndarray, scale: list[float], frame_loc: Any = 0.0, frame_scale: float = 1.0) -> LevelFigures:
    """The figures of a global level of 4 dims, from residuals of mean loc float[latent, 4]."""
    number, shape = len(loc), (len(loc), 1, 4)
    residual, frame = (
        Gaussian(np.broadcast_to(mean, loc.shape).reshape(shape), np.broadcast_to(np.log(deviation), shape))
        for mean, deviation in ((loc, scale), (frame_loc, frame_scale))
    )
    batch = Batch((), np.ones((number, 1, 1), bool), np.full((number, 1, 2), 4), np.arange(number))
    kl, present = KL(np.zeros((number, 1)), np.zeros(shape)), np.ones((number, 1), bool)
    output = output_of(*({"global": part} for part in (residual, frame, kl, present)))
    levels = LevelsConfig(global_=LevelConfig(dim=4, groups=(1, 1, 1, 1, 0)))
    return usage_figures([jax.device_get(measure(output, batch))], levels)["global"]


def active(figures: GroupFigures) -> list[float]:
    return [getattr(figures, f"active_{rule}") for rule in ("a", "b", "a_raw", "b_raw")]


def test_active_dims_where_the_answer_is_known():
    """Four dims: used; collapsed; wide with a varying mean; narrow with a constant mean."""
    rng = np.random.default_rng(0)
    loc = np.stack([rng.normal(0, 1, 500), np.zeros(500), rng.normal(0, 1, 500), np.zeros(500)], -1)
    figures = one_level(loc, [0.1, 1.0, 1.0, 0.1])
    assert active(figures) == [0.5] * 4
    found = {name: active(group)[:2] for name, group in figures.groups.items()}
    assert found == {"rhythm": [1, 1], "pitch": [0, 0], "harmony": [0, 1], "dynamics": [1, 0]}


def test_a_posterior_equal_to_its_prior_is_active_in_the_raw_figures_only():
    loc = np.random.default_rng(0).normal(0, 1, (500, 4))
    assert active(one_level(np.zeros((500, 4)), [1.0] * 4, loc, 0.1)) == [0, 0, 1, 1]


# Mutual information


def test_information_of_equal_and_of_separate_posteriors():
    equal = Gaussian(np.zeros((300, 4)), np.zeros((300, 4)))
    np.testing.assert_allclose(mutual_information(equal), 0, atol=1e-9)
    separate = Gaussian(100.0 * np.arange(256)[:, None], np.zeros((256, 1)))
    np.testing.assert_allclose(mutual_information(separate), np.log(256), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_information_of_a_gaussian_channel(scale):
    """x ~ N(0, 1), z = x + scale * noise: I = log(1 + 1 / scale^2) / 2."""
    num = 4000
    x = np.random.default_rng(1).normal(0, 1, (num, 1))
    estimate = mutual_information(Gaussian(x, np.full((num, 1), np.log(scale))))
    # The estimate is a mean of log ratios whose variance is at most 1: within five standard errors.
    assert abs(estimate - 0.5 * np.log(1 + scale**-2)) < 5 / np.sqrt(num)


def test_information_is_at_most_the_kl():
    """KL from N(0, 1) = I(x; z) + KL of the mixture from N(0, 1), in expectation."""
    rng = np.random.default_rng(1)  # another seed than that of the draws
    loc, log_scale = rng.normal(0, 0.5, (3000, 2)), rng.normal(-0.3, 0.1, (3000, 2))
    kl = 0.5 * (loc**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale).sum(1).mean()
    estimate = mutual_information(Gaussian(loc, log_scale))
    assert 0.5 * kl < estimate < kl + 5 * np.sqrt(2 / 3000)  # two dims, each of a variance below 1


def test_chunks_do_not_change_the_estimate_and_fewer_draws_only_its_noise():
    rng = np.random.default_rng(0)
    posterior = Gaussian(rng.normal(size=(2000, 1)), np.full((2000, 1), np.log(0.5)))
    whole = mutual_information(posterior)
    np.testing.assert_allclose(mutual_information(posterior, chunk=77), whole, rtol=1e-12)
    some = mutual_information(posterior, num_draws=500)
    assert some != whole
    assert abs(some - whole) < 5 / np.sqrt(500)
