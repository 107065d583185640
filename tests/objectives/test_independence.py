"""Terms that keep groups and dims apart: values that are known, and a gradient that does what each says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from musicvae_jax.config import LevelConfig
from musicvae_jax.inference import reconstruct
from musicvae_jax.objectives.independence import (
    Rows,
    covariance,
    dependence,
    dip,
    independence_terms,
    latent_rows,
    leakage,
    orthogonality,
    total_correlation,
)
from musicvae_jax.objectives.loss import objective
from musicvae_jax.objectives.rates import final_weights, weights_at
from tests.models.variants import DEEP
from tests.tiny import make_batch, make_vae, replace, with_attributes

LAYOUT = {"rhythm": slice(0, 2), "pitch": slice(2, 3)}
TERMS = ("leakage", "orthogonality", "group_correlation", "dim_correlation", "dip")
CONFIG = replace(
    DEEP,
    data={"attributes": True},
    objective={"attribute_weight": 1.0, **{f"{term}_weight": 2.0 for term in TERMS}},
    fine={"attributes": ("contour", "note_density"), "groups": (2, 1, 0, 0, 0)},
)


def rows_of(e, scale=0.1, weight=None):
    """Rows whose draws are their posterior means."""
    e = jnp.asarray(e, jnp.float32)
    weight = jnp.ones(len(e)) if weight is None else jnp.asarray(weight, jnp.float32)
    return Rows(e, e, jnp.full(e.shape, np.log(scale), jnp.float32), weight)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def grid(side=4, spread=3.0):
    """Every combination of three dims: independent by construction."""
    axis = (np.arange(side) - (side - 1) / 2) * spread
    return np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)


def test_covariance_is_that_of_the_rows_that_count():
    e, weight = normal(50, 3), (np.arange(50) % 3 > 0).astype(float)
    expected = np.cov(e[weight > 0].T, bias=True)
    np.testing.assert_allclose(covariance(jnp.asarray(e), jnp.asarray(weight)), expected, atol=1e-6)
    assert not np.isnan(covariance(jnp.asarray(e), jnp.zeros(50))).any()


def test_orthogonality_counts_pairs_of_groups_only():
    e = normal(400, 3)
    within, across = e.copy(), e.copy()
    within[:, 1] = e[:, 0]
    across[:, 2] = e[:, 0]
    alone, inside, outside = (orthogonality(rows_of(part), LAYOUT) for part in (grid(), within, across))
    assert alone == pytest.approx(0, abs=1e-8)
    assert inside < 0.1 < outside
    expected = np.cov(across.T, bias=True)
    assert outside == pytest.approx(expected[0, 2] ** 2 + expected[1, 2] ** 2, rel=1e-5)
    assert orthogonality(rows_of(across), {"style": slice(0, 3)}) == pytest.approx(0, abs=1e-6)


def test_dip_is_zero_for_white_codes_only():
    white = grid() / grid().std(0)
    assert dip(rows_of(white)) == pytest.approx(0, abs=1e-8)
    assert dip(rows_of(2 * white)) == pytest.approx(3 * 9, rel=1e-5)  # three variances of 4
    mixed = white.copy()
    mixed[:, 1] = white[:, 0]
    assert dip(rows_of(mixed)) == pytest.approx(2, rel=1e-5)  # one covariance of 1, on both sides


@pytest.mark.parametrize("parts", [LAYOUT, None])
def test_total_correlation_is_that_of_the_mixture_of_posteriors(parts):
    e, loc, log_scale = normal(7, 3), normal(7, 3, seed=1), normal(7, 3, seed=2) * 0.3
    weight = np.array([1, 1, 0, 1, 1, 1, 0.0])
    log_q = norm.logpdf(e[:, None], loc, np.exp(log_scale))[:, weight > 0]  # [row, other, dim]
    blocks = LAYOUT.values() if parts else [slice(dim, dim + 1) for dim in range(3)]

    def mixture(dims):
        return logsumexp(log_q[..., dims].sum(-1), axis=1) - np.log(weight.sum())

    expected = mixture(slice(None)) - sum(mixture(dims) for dims in blocks)
    rows = Rows(*(jnp.asarray(part, jnp.float32) for part in (e, loc, log_scale, weight)))
    np.testing.assert_allclose(total_correlation(rows, rows, parts), expected, atol=1e-4)


def test_total_correlation_of_independent_and_of_equal_dims():
    independent = grid()
    for parts in (LAYOUT, None):
        alone = total_correlation(rows_of(independent), rows_of(independent), parts)
        np.testing.assert_allclose(alone, 0, atol=1e-3)
    copied = independent.copy()
    copied[:, 2] = copied[:, 0]  # a dim of pitch repeats one of rhythm, which has four values
    for parts in (LAYOUT, None):
        assert total_correlation(rows_of(copied), rows_of(copied), parts).mean() == pytest.approx(np.log(4), abs=1e-3)
    inside = independent.copy()
    inside[:, 1] = inside[:, 0]  # within rhythm: of the dims, not of the groups
    of_groups, of_dims = (total_correlation(rows_of(inside), rows_of(inside), parts).mean() for parts in (LAYOUT, None))
    assert of_groups == pytest.approx(0, abs=1e-3) and of_dims == pytest.approx(np.log(4), abs=1e-3)


def test_dependence_is_one_of_a_variable_with_itself_and_small_of_independent_ones():
    x, weight = jnp.asarray(normal(300, 2)), jnp.ones(300)
    assert dependence(x, x, weight) == pytest.approx(1, abs=1e-4)
    assert dependence(x, 5 * x + 3, weight) == pytest.approx(1, abs=1e-4)
    assert dependence(x[:, :1], x[:, :1] ** 2, weight) > 0.2  # without any correlation
    assert dependence(jnp.asarray(grid()[:, :1]), jnp.asarray(grid()[:, 1:]), jnp.ones(64)) == pytest.approx(
        0, abs=1e-4
    )
    half = jnp.asarray(np.arange(300) < 150, jnp.float32)
    noise = x.at[150:].set(jnp.asarray(normal(150, 2, seed=3)))
    assert dependence(x, noise, half) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("x", [np.zeros((5, 2)), np.ones((5, 2))])
def test_equal_rows_depend_on_nothing_and_have_a_finite_gradient(x):
    of = jax.jit(jax.value_and_grad(lambda x: dependence(x, jnp.arange(5.0)[:, None], jnp.ones(5))))
    values, slope = of(jnp.asarray(x))
    assert values == 0 and np.isfinite(slope).all()
    assert dependence(jnp.asarray(x), jnp.asarray(x), jnp.zeros(5)) == 0


def test_an_attribute_leaks_through_dims_of_other_groups_only():
    level = LevelConfig(dim=3, groups=(2, 1, 0, 0, 0), attributes=("note_density",))
    attribute = normal(200, 1, seed=4)
    known = jnp.ones((200, 1), bool)
    by_place = []
    for dim in range(3):
        e = normal(200, 3)
        e[:, dim : dim + 1] = attribute
        by_place.append(float(leakage(level, rows_of(e), jnp.asarray(attribute), known)))
    assert max(by_place[:2]) < 0.1 and by_place[2] > 0.99
    all_rhythm = LevelConfig(dim=3, groups=(3, 0, 0, 0, 0), attributes=("note_density",))
    assert leakage(all_rhythm, rows_of(normal(200, 3)), jnp.asarray(attribute), known) == 0


@pytest.mark.parametrize("term", TERMS)
def test_descending_a_term_takes_groups_or_dims_apart(term):
    """Codes whose dims all repeat one value, which is also the attribute of rhythm."""
    level = LevelConfig(dim=3, groups=(2, 1, 0, 0, 0), attributes=("note_density",))
    attribute = normal(100, 1, seed=5)
    start = attribute + 0.3 * normal(100, 3, seed=6)

    def value(e):
        rows = rows_of(e)._replace(e=e, loc=e)
        return {
            "leakage": lambda: leakage(level, rows, jnp.asarray(attribute), jnp.ones((100, 1), bool)),
            "orthogonality": lambda: orthogonality(rows, level.layout),
            "group_correlation": lambda: total_correlation(rows, rows, level.layout).mean(),
            "dim_correlation": lambda: total_correlation(rows, rows).mean(),
            "dip": lambda: dip(rows),
        }[term]()

    before = after = jnp.asarray(start, jnp.float32)
    slope = jax.jit(jax.grad(value))
    for _ in range(20):
        gradient = slope(after)
        after = after - 0.5 * gradient / jnp.maximum(jnp.abs(gradient).max(), 1e-9) * 0.1
    assert value(after) < 0.97 * value(before)

    def across(e):
        return abs(np.corrcoef(np.asarray(e).T)[:2, 2]).mean()

    assert across(after) < across(before) - 0.005


@pytest.fixture(scope="module")
def passed():
    """The output of an untrained model, and its batch."""
    vae, variables = make_vae(CONFIG)
    batch = with_attributes(make_batch(), CONFIG)
    return reconstruct(vae, variables, batch, jax.random.split(jax.random.key(0), len(batch.index))), batch


def test_rows_are_the_latents_in_units_of_their_frames(passed):
    output, _ = passed
    rows, frame = latent_rows(output, "fine"), output.frame["fine"]
    e = np.asarray((output.latents["fine"] - frame.loc) / np.exp(frame.log_scale)).reshape(-1, 3)
    there = np.asarray(output.present["fine"]).reshape(-1)
    np.testing.assert_array_equal(rows.weight, there)
    np.testing.assert_allclose(rows.e[there], e[there], rtol=1e-5)
    assert not there.all() and np.all(rows.e[~there] == 0)
    dropped = dict.fromkeys(output.present, np.arange(len(output.present["fine"])) > 0)
    assert latent_rows(output._replace(kept=dropped), "fine").weight.sum() < there.sum()


def test_the_objective_has_the_terms_by_name_and_checkpoints_do_not_count_them(passed):
    output, batch = passed
    terms = objective(CONFIG, output, batch, weights_at(CONFIG, 0)).batch
    names = {f"{term}_{level}" for term in TERMS for level in CONFIG.levels.on}
    assert set(terms) == names | {"attributes_fine"}
    assert not objective(CONFIG, output, batch, final_weights(CONFIG)).batch
    one = independence_terms("fine", CONFIG.levels["fine"], output, batch, {"dip": 1.0, "leakage": 0.0})
    assert list(one) == ["dip"]
    np.testing.assert_allclose(terms["dip_fine"], 2 * one["dip"], rtol=1e-6)
    assert terms["leakage_global"] == 0  # a level without attributes has none that leak
    assert terms["leakage_fine"] > 0
