"""Laws of a top level whose base hears the metres."""

from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.inference import sample_prior
from musicvae_jax.models.latent.gaussian import to_frame
from musicvae_jax.rng import row_keys
from tests.models.variants import THREE, infer, make_features
from tests.tiny import make_vae, replace

FLOW = {"base": "flow", "flow_layers": 2, "kl_estimate": "draw"}
MIXTURE = {"base": "mixture", "modes": 3, "kl_estimate": "draw"}
KEYS = row_keys(jax.random.key(1), np.arange(3))
COMMON, WALTZ = (np.tile(np.array(metre, np.int32), (3, 3, 1)) for metre in ((4, 4), (3, 4)))


def config_of(base, told=True, **model):
    return replace(THREE, model=model, **{"global": base | {"metre_context": told}})


@pytest.mark.parametrize("base", [FLOW, MIXTURE], ids=["flow", "mixture"])
@pytest.mark.parametrize("model", [{}, {"conditions": ("key",)}], ids=["alone", "conditions"])
@pytest.mark.parametrize("told", [True, False])
def test_the_metres_of_a_window_reach_the_density_of_its_top_latent_alone_where_asked(base, model, told):
    config = config_of(base, told, **model)
    vae, variables = make_vae(config)
    features = make_features(config, 3)
    # The first window changes its metre. The posterior reads features, which stay.
    mixed = np.concatenate([WALTZ[:1], COMMON[1:]])
    found = [infer(vae, variables, features, metre) for metre in (COMMON, mixed)]
    np.testing.assert_array_equal(found[0].residual["global"].loc, found[1].residual["global"].loc)
    moved = np.abs(found[0].log_ratio["global"] - found[1].log_ratio["global"])[:, 0]
    assert (moved[0] > 1e-4) == told
    np.testing.assert_allclose(moved[1:], 0, atol=1e-6)


@pytest.mark.parametrize("told", [True, False])
def test_draws_of_two_metres_differ_where_asked(told):
    vae, variables = make_vae(config_of(FLOW, told))
    one, other = (np.asarray(sample_prior(vae, variables, metre, KEYS)["global"]) for metre in (COMMON, WALTZ))
    assert (np.abs(one - other).max((1, 2)) > 1e-4).all() if told else (one == other).all()


def test_a_draw_comes_from_its_noise_by_the_flow_that_the_metres_choose():
    vae, variables = make_vae(config_of(FLOW))
    noise = np.random.default_rng(0).normal(size=(3, 1, 6)).astype(np.float32)

    def there_and_back(module, noise):
        stack = module.stack
        known = stack._known("global", {}, WALTZ, None)
        z = stack._draw("global", known, noise, 1.0)
        return z, stack.bases["global"].bijector(known.heard(z)).inverse(to_frame(z, known.frame(z)))

    z, back = jax.jit(partial(vae.apply, method=there_and_back))(variables, noise)
    np.testing.assert_allclose(back, noise, atol=1e-4)
    assert np.abs(z - noise).max() > 0.01


def test_it_adds_its_own_parameters_alone():
    one, two = ({*make_vae(config_of(FLOW, told))[1]["params"]} for told in (False, True))
    assert two - one == {"metres_global"} and one < two
