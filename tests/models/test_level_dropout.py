"""Laws of level dropout: lower levels are the prior's, from a random one down, and the top one always its own."""

import dataclasses
from functools import partial

import numpy as np

from tests.models.variants import THREE, infer, make_features
from tests.tiny import make_vae

NUM = 2000
METRE = np.full((NUM, 3, 2), 4, np.int32)
FEATURES = make_features(THREE, NUM)


def test_from_a_random_level_down_latents_are_the_priors():
    """Shares within five standard errors of the config's, and draws whose residuals are standard normal."""
    share = 0.4
    vae, variables = make_vae(dataclasses.replace(THREE, level_dropout=share))
    find = partial(infer, variables=variables, features=FEATURES, metre=METRE, deterministic=False)
    kept, found = find(dataclasses.replace(vae, config=THREE)), find(vae)
    np.testing.assert_array_equal(kept.latents["global"], found.latents["global"])
    # By more than the rounding in which two compiled programs may differ.
    moved = {level: np.abs(kept.latents[level] - found.latents[level]) > 2e-6 for level in ("local", "fine")}
    windows = {level: value.any((1, 2)) for level, value in moved.items()}
    for level, value in moved.items():  # all of a window's latents or none
        np.testing.assert_array_equal(value.all((1, 2)), windows[level])
    assert not (windows["local"] & ~windows["fine"]).any()
    for level, expected in (("local", share / 2), ("fine", share)):
        assert abs(windows[level].mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / NUM)
        prior = found.prior[level]
        residual = np.asarray((found.latents[level] - prior.loc) / np.exp(prior.log_scale), np.float64)
        drawn = residual[windows[level]].ravel()
        assert abs(drawn.mean()) < 5 / np.sqrt(drawn.size)
        assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / drawn.size)
        own = residual[~windows[level]].ravel()
        assert max(abs(own.mean()) * np.sqrt(own.size), abs(own.var() - 1) * np.sqrt(own.size / 2)) > 10
    # A level costs what its own posterior says, given the levels above, and nothing where it is drawn from the prior:
    # then nll + KL bounds -log p(x) with whatever levels a window keeps.
    for level in THREE.widths:
        np.testing.assert_array_equal(found.kept[level], ~windows.get(level, np.zeros(NUM, bool)))
        charged = np.where(found.kept[level][:, None, None], kept.kl[level], 0)
        np.testing.assert_allclose(found.kl[level], charged, rtol=1e-5, atol=1e-6)


def test_it_is_for_training_alone():
    vae, variables = make_vae(dataclasses.replace(THREE, level_dropout=0.4))
    one, two = (infer(model, variables, FEATURES, METRE) for model in (vae, dataclasses.replace(vae, config=THREE)))
    for level in THREE.widths:
        np.testing.assert_array_equal(one.latents[level], two.latents[level])
