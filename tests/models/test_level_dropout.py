"""Laws of level dropout: in training, the levels below a random one are drawn from their priors in some windows."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.types import LEVELS
from tests.models.variants import THREE, each, infer, make_features
from tests.tiny import make_vae, replace

SAME = np.testing.assert_array_equal
NUM = 2000
FULL = np.full((NUM, 3, 2), 4, np.int32)
FEATURES = make_features(THREE, NUM)


@pytest.mark.parametrize("estimate", ["exact", "draw"])
def test_under_level_dropout_latents_are_the_priors_from_a_random_level_down(estimate):
    """Shares within five standard errors of the config's, and draws whose e is standard normal.

    A level costs what its own draw costs, and nothing where it is drawn from the prior: then nll + KL bounds -log p(x)
    with whatever levels a window keeps.
    """
    share, config = 0.4, replace(THREE, **each(kl_estimate=estimate))
    vae, variables = make_vae(replace(config, model={"level_dropout": share}))
    find = partial(infer, variables=variables, features=FEATURES, metre=FULL, deterministic=False)
    kept, found = find(dataclasses.replace(vae, config=config.model)), find(vae)
    SAME(kept.latents["global"], found.latents["global"])
    # By more than the rounding in which two compiled programs may differ.
    moved = {level: np.abs(kept.latents[level] - found.latents[level]) > 2e-6 for level in ("local", "fine")}
    windows = {level: value.any((1, 2)) for level, value in moved.items()}
    assert not (windows["local"] & ~windows["fine"]).any()
    for level, expected in (("local", share / 2), ("fine", share)):
        SAME(moved[level].all((1, 2)), windows[level])  # all latents of a window or none
        assert abs(windows[level].mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / NUM)
        e = np.asarray(to_frame(found.latents[level], found.frame[level]), np.float64)
        drawn, own = e[windows[level]].ravel(), e[~windows[level]].ravel()
        assert abs(drawn.mean()) < 5 / np.sqrt(drawn.size)
        assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / drawn.size)
        assert max(abs(own.mean()) * np.sqrt(own.size), abs(own.var() - 1) * np.sqrt(own.size / 2)) > 10
    for level in LEVELS:
        SAME(found.kept[level], ~windows.get(level, np.zeros(NUM, bool)))
        for one, other in (
            (found.kl[level].total, kept.kl[level].total),
            (found.log_ratio[level], kept.log_ratio[level]),
        ):
            np.testing.assert_allclose(one, np.where(found.kept[level][:, None], other, 0), rtol=1e-5, atol=1e-5)


def test_level_dropout_is_for_training_alone():
    vae, variables = make_vae(replace(THREE, model={"level_dropout": 0.4}))
    one, two = (
        infer(model, variables, FEATURES, FULL) for model in (vae, dataclasses.replace(vae, config=THREE.model))
    )
    jax.tree.map(SAME, one, two)
    assert not one.kept
