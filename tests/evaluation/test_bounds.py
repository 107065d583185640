"""Bounds of a model under its priors: the density ratio against SciPy, what draws do, and gains in pairs."""

from operator import itemgetter

import jax
import numpy as np
import pytest
from scipy import stats

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.evaluation.bootstrap import Bootstrap
from musicvae_jax.evaluation.bounds import paired_gain, window_bounds
from musicvae_jax.evaluation.fitted_priors import bases_of
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import reconstruct
from musicvae_jax.objectives.loss import elbo_terms, token_nll
from musicvae_jax.rng import row_keys, stream
from tests.models.variants import OF_LATENTS, apply, infer, make_features, presence
from tests.tiny import CONFIG, make_batch, make_vae, replace

NUM = 50


def log_prior(level, z, frame):
    """log p(z | above) of the latents of a window: float64[window]."""
    scale = np.exp(frame.log_scale)
    if level.base == "normal":
        return stats.norm.logpdf(z, frame.loc, scale).sum((1, 2))
    steps = np.arange(z.shape[1])
    process = stats.multivariate_normal(cov=level.alpha ** np.abs(steps[:, None] - steps))
    e = (z - frame.loc) / scale
    return sum(process.logpdf(e[..., dim]) for dim in range(z.shape[2])) - frame.log_scale.sum((1, 2))


@pytest.mark.parametrize("name", ["global+local+fine", "ladder, causal", "causal", "ar1, batch norm", "draw"])
def test_log_ratio_is_log_q_minus_log_p(name):
    """In the units of z, over the latents that the window has: it lacks the last measure."""
    config = OF_LATENTS[name]
    vae, variables = make_vae(config)
    metre = np.array([[[4, 4], [3, 4], [0, 0]]] * NUM)
    features = jax.tree.map(lambda leaf: np.repeat(leaf, NUM, 0), make_features(config, 1, scale=0.5))
    found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), infer(vae, variables, features, metre))
    for level, present in presence(config, metre).items():
        parts = (found.latents[level], found.frame[level], found.residual[level])
        z, frame, residual = jax.tree.map(itemgetter(np.s_[:, : present[0].sum()]), parts)
        scale = np.exp(frame.log_scale)
        log_q = stats.norm.logpdf(z, frame.loc + scale * residual.loc, scale * np.exp(residual.log_scale)).sum((1, 2))
        expected = log_q - log_prior(config.levels[level], z, frame)
        np.testing.assert_allclose(found.log_ratio[level].sum(1), expected, rtol=1e-4, atol=1e-4)
        assert (found.log_ratio[level][~present] == 0).all()


NUM_DRAWS, SEED = 11, 4  # the last three draws are decoded by themselves


@pytest.fixture(scope="module")
def priors():
    """A model of two levels, and the same model with random mixtures."""
    config = replace(CONFIG, fine={"dim": 3})
    vae, variables = make_vae(config)
    changed = replace(config, prior={"base": "mixture", "modes": 3}).fitted
    other, fresh = make_vae(changed, seed=1)
    mixed = {**variables, "params": {**variables["params"], **bases_of(fresh)}}
    return {
        "normal": TrainedVAE(config, MelodyCodec(), vae, variables, 1, {}),
        "mixture": TrainedVAE(changed, MelodyCodec(), other, mixed, 1, {}),
    }


@pytest.fixture(scope="module")
def batch():
    return make_batch(64)


@pytest.fixture(scope="module")
def found(priors, batch):
    return window_bounds(priors, batch, NUM_DRAWS, SEED)


def test_bounds_are_of_the_log_weights_of_the_same_draws(priors, batch, found):
    """Each by hand, one draw after the other."""
    for name, vae in priors.items():
        drawn, ratios = [], []
        for draw in range(NUM_DRAWS):
            key = stream(stream(jax.random.key(SEED), "bounds"), "draw", draw)
            output = reconstruct(vae.model, vae.variables, batch, row_keys(key, batch.index))
            log_p_x = -token_nll(output.logits, batch).sum((1, 2, 3))
            ratios.append({level: ratio.sum(1) for level, ratio in output.log_ratio.items()})
            drawn.append(log_p_x - sum(ratios[-1].values()))
        weights = np.array(drawn, np.float64)
        np.testing.assert_allclose(found[name].elbo, weights.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found[name].iwae, np.log(np.exp(weights).mean(0)), rtol=1e-5)
        assert (found[name].iwae > found[name].elbo + 0.1).all()
        for level, kl in found[name].kl.items():
            np.testing.assert_allclose(kl, np.mean([ratio[level] for ratio in ratios], 0), rtol=1e-4)
    assert abs(found["normal"].elbo - found["mixture"].elbo).mean() > 0.1
    with pytest.raises(ValueError, match="num_draws = 0: allowed is 1 or more"):
        window_bounds(priors, batch, 0)


def test_draws_tighten_the_bound(priors, batch, found):
    """The mean over draws is the ELBO but for its noise; the bound is above it by more than that noise."""
    terms = elbo_terms(apply(priors["normal"].model, priors["normal"].variables, batch), batch)
    elbo = -np.asarray(terms.nll + sum(terms.kl.values()), np.float64)
    noise = 5 * (found["normal"].elbo - elbo).std() / np.sqrt(64)
    assert abs((found["normal"].elbo - elbo).mean()) < noise
    assert (found["normal"].iwae - elbo).mean() > noise


def test_a_gain_is_a_mean_of_pairs_with_the_error_of_families():
    """What all windows share cancels; windows of a family are drawn together."""
    rng, families = np.random.default_rng(0), np.repeat(np.arange(50), 4)
    old, gain = rng.normal(-80, 30, 200), np.repeat(rng.normal(1, 0.5, 50), 4)
    found = paired_gain(old, old + gain, families, seed=3)
    assert found.value == pytest.approx(gain.mean())
    assert found.se == pytest.approx(Bootstrap(families, 3).mean(gain)[1:].std(ddof=1))
    assert found.se == pytest.approx(gain.std(ddof=1) / np.sqrt(50), rel=0.15)
    assert paired_gain(old, old + gain, np.arange(200)).se < 0.7 * found.se
