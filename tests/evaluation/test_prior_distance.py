"""How far a prior is from posteriors: Gaussians whose mixture is known, and an untrained model."""

import numpy as np
import pytest
from scipy import stats

from musicvae_jax import load_workdir
from musicvae_jax.evaluation import prior_distance
from musicvae_jax.evaluation.prior_distance import prior_figures, prior_gap, two_samples
from musicvae_jax.inference import sample_prior
from musicvae_jax.types import Gaussian
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir


def normal_log_prob(e, loc=0.0, scale=1.0):
    return (-0.5 * ((e - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(1)


@pytest.mark.parametrize(("spread", "scale"), [(1.0, 0.5), (0.6, 0.8), (0.0, 0.7)])
def test_the_gap_of_gaussians_is_known(spread, scale):
    """Means ~ N(0.3, spread^2) and posteriors of one scale: their mixture is N(0.3, spread^2 + scale^2)."""
    rng, dims = np.random.default_rng(0), 2
    loc = rng.normal(0.3, spread, (1500, dims))
    posterior = Gaussian(loc, np.full_like(loc, np.log(scale)))
    draws = loc + scale * rng.normal(size=loc.shape)
    found = prior_gap(posterior, draws, normal_log_prob(draws, loc, scale) - normal_log_prob(draws))
    variance = spread**2 + scale**2
    information = dims / 2 * np.log(variance / scale**2)
    gap = dims / 2 * (variance + 0.3**2 - 1 - np.log(variance))
    assert found.mutual_information == pytest.approx(information, abs=0.08)
    assert found.gap == pytest.approx(gap, abs=0.08) and found.kl == pytest.approx(information + gap, abs=0.12)
    # Under the mixture itself as the prior, nothing is left.
    own = normal_log_prob(draws, loc, scale) - normal_log_prob(draws, 0.3, np.sqrt(variance))
    assert abs(prior_gap(posterior, draws, own).gap) < 0.03


def test_the_information_is_limited_by_the_number_of_latents():
    """Posteriors that do not overlap: 20 nats, of which log 50 are seen, so that the gap is too large by the rest."""
    rng = np.random.default_rng(0)
    loc = rng.normal(0, 1, (50, 4))
    scale = np.exp(-5.0)
    draws = loc + scale * rng.normal(size=loc.shape)
    found = prior_gap(
        Gaussian(loc, np.full_like(loc, -5.0)), draws, normal_log_prob(draws, loc, scale) - normal_log_prob(draws)
    )
    assert found.mutual_information == pytest.approx(np.log(50), rel=1e-6)
    assert found.gap == found.kl - found.mutual_information > 10


def test_draws_given_the_same_levels_above_are_pairs():
    """Of one distribution given what they share: p is uniform, and not near 1 as if all were alike."""
    rng, found = np.random.default_rng(0), []
    for seed in range(30):
        shared, x, y = rng.normal(size=(3, 30, 3))
        found.append(two_samples(3 * shared + x, 3 * shared + y, np.arange(30), seed).mmd_p)
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_two_samples_need_families():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60, 3))
    one = two_samples(x, y, np.zeros(60, int))
    assert np.isnan([one.mmd.value, one.mmd_p, one.accuracy["linear"].value]).all()
    many = two_samples(x, y + 9, np.arange(60))
    assert many.accuracy["linear"].value == 1 and many.mmd_p < 0.01


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir})
    return load_workdir(write_workdir(tmp_path_factory.mktemp("fit") / "run", config, seed=1))


def test_figures_of_a_model(vae, monkeypatch):
    """Its posteriors are far from its priors. A level is drawn given those above it."""
    given = []

    def watched(model, variables, metre, keys, above=None):
        given.append(sorted(above or {}))
        return sample_prior(model, variables, metre, keys, above)

    monkeypatch.setattr(prior_distance, "sample_prior", watched)
    found = prior_figures(vae, "validation", num_windows=60, seed=3)
    assert found.windows == 60 and list(found.levels) == ["global", "local", "fine"]
    assert given == [[], ["global"], ["global", "local"]] * 2  # two batches
    counts = [figures.latents for figures in found.levels.values()]
    assert counts[0] == 60 and 60 < counts[1] <= 120 and 120 < counts[2] <= 240
    for figures in found.levels.values():
        assert figures.gap == figures.kl - figures.mutual_information
        assert 0 < figures.mutual_information <= np.log(figures.latents) + 1e-6
        assert figures.mmd.value > 5 * figures.mmd.se > 0
    total = sum(figures.gap * figures.latents for figures in found.levels.values()) / 60
    assert found.gap == pytest.approx(total)
    assert found.together.accuracy["linear"].value > 0.5
