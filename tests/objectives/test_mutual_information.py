"""The estimate on posteriors whose answers are known."""

import numpy as np
import pytest

from musicvae_jax.objectives.mutual_information import mutual_information
from musicvae_jax.types import Gaussian


def test_no_information_in_a_collapsed_posterior():
    collapsed = Gaussian(np.zeros((300, 4)), np.zeros((300, 4)))
    np.testing.assert_allclose(mutual_information(collapsed), 0, atol=1e-9)


def test_information_is_the_log_of_the_number_of_separate_codes():
    separate = Gaussian(100.0 * np.arange(256)[:, None], np.zeros((256, 1)))
    np.testing.assert_allclose(mutual_information(separate), np.log(256), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_information_of_a_gaussian_channel(scale):
    """x ~ N(0, 1), z = x + scale * noise: I = log(1 + 1 / scale^2) / 2; within five standard errors of the estimate."""
    num = 4000
    x = np.random.default_rng(1).normal(0, 1, (num, 1))
    estimate = mutual_information(Gaussian(x, np.full((num, 1), np.log(scale))))
    exact = 0.5 * np.log(1 + scale**-2)
    # The estimate averages log ratios whose variance is at most 1 for a Gaussian channel.
    assert abs(estimate - exact) < 5 / np.sqrt(num)


def test_it_is_no_more_than_the_kl():
    """KL from N(0, 1) = I(x; z) + KL of the mixture from N(0, 1), up to the noise of the draws."""
    rng = np.random.default_rng(1)  # not the seed of the draws
    loc, log_scale = rng.normal(0, 0.5, (3000, 2)), rng.normal(-0.3, 0.1, (3000, 2))
    kl = 0.5 * (loc**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale).sum(1).mean()
    estimate = mutual_information(Gaussian(loc, log_scale))
    assert 0.5 * kl < estimate < kl + 5 * np.sqrt(2 / 3000)  # two dims, each of a variance below 1


def test_chunks_do_not_matter():
    rng = np.random.default_rng(0)
    posterior = Gaussian(rng.normal(size=(50, 3)), rng.normal(-1, 0.1, (50, 3)))
    np.testing.assert_allclose(mutual_information(posterior, chunk=7), mutual_information(posterior), rtol=1e-12)


def test_fewer_draws_estimate_the_same():
    """The draws are spread over all latents, so that they differ by no more than their standard error."""
    rng = np.random.default_rng(0)
    posterior = Gaussian(rng.normal(size=(2000, 1)), np.full((2000, 1), np.log(0.5)))
    some, whole = (mutual_information(posterior, num_draws=num_draws) for num_draws in (500, 2000))
    assert some != whole
    assert abs(some - whole) < 5 / np.sqrt(500)  # as above: the variance of a Gaussian channel's log ratio is below 1
