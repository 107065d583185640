"""Gaussians of a mixture that are to mean styles: what the term costs, and where its gradient goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.config import ConfigError
from musicvae_jax.data.load import load_windows
from musicvae_jax.inference import reconstruct
from musicvae_jax.models.latent.learned_bases import Mixture
from musicvae_jax.objectives.attributes import mode_loss, style_error
from musicvae_jax.objectives.loss import objective
from musicvae_jax.objectives.rates import final_weights, weights_at
from musicvae_jax.types import ATTRIBUTES
from tests.models.variants import THREE
from tests.tiny import make_batch, make_vae, replace, with_attributes

STYLE = [attribute.name for attribute in ATTRIBUTES].index("style")
CONFIG = replace(
    THREE,
    data={"attributes": True},
    objective={"mode_weight": 2.0},
    **{"global": {"base": "mixture", "modes": 4, "kl_estimate": "draw"}},
)
LABELS = np.array([0, 1, 2, 3, np.nan, 1, 1, np.nan], np.float32)


@pytest.fixture(scope="module")
def passed():
    vae, variables = make_vae(CONFIG)
    batch = with_attributes(make_batch(), CONFIG)
    batch.attributes["window"][:, 0, STYLE] = LABELS
    output = reconstruct(vae, variables, batch, jax.random.split(jax.random.key(0), len(batch.index)))
    return variables, batch, output


def test_the_term_is_the_mean_cross_entropy_of_known_styles(passed):
    _, batch, output = passed
    shares = np.asarray(output.log_responsibilities["global"])[:, 0]
    np.testing.assert_allclose(np.exp(shares).sum(-1), 1, rtol=1e-5)
    expected = -np.mean([shares[row, int(label)] for row, label in enumerate(LABELS) if np.isfinite(label)])
    assert mode_loss(CONFIG, output, batch) == pytest.approx(expected, rel=1e-5)
    terms = objective(CONFIG, output, batch, weights_at(CONFIG, 0)).batch
    assert terms["modes"] == pytest.approx(2 * expected, rel=1e-5)
    assert "modes" not in objective(CONFIG, output, batch, final_weights(CONFIG)).batch


def test_no_style_costs_nothing(passed):
    _, batch, output = passed
    unknown = jax.tree.map(np.array, batch)
    unknown.attributes["window"][..., STYLE] = np.nan
    assert mode_loss(CONFIG, output, unknown) == 0
    with pytest.raises(ValueError, match="the batch has no attributes"):
        mode_loss(CONFIG, output, batch._replace(attributes=()))


def test_descending_the_term_moves_each_gaussian_to_its_style():
    """Three clusters, a label each: afterwards the responsibilities are those of the labels."""
    label = np.repeat(np.arange(3.0), 20)
    centres = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]])
    e = jnp.asarray(centres[label.astype(int)] + 0.3 * np.random.default_rng(0).normal(size=(60, 2)), jnp.float32)
    module, known = Mixture(THREE.model, 2, 3), np.isfinite(label)

    def loss(variables):
        shares = module.apply(variables, e, None, method="log_responsibilities")
        return style_error(shares, jnp.asarray(label), known).mean()

    variables = module.init(jax.random.key(0), None)
    start = loss(variables)
    step = jax.jit(lambda now: jax.tree.map(lambda leaf, slope: leaf - 0.3 * slope, now, jax.grad(loss)(now)))
    for _ in range(100):
        variables = step(variables)
    assert start > 0.3 and loss(variables) < 0.1
    shares = module.apply(variables, jnp.asarray(centres, jnp.float32), None, method="log_responsibilities")
    assert (np.asarray(shares).argmax(-1) == np.arange(3)).all()


def test_fewer_gaussians_than_styles_are_refused(folk_data_dir):
    config = replace(CONFIG, data={"data_dir": folk_data_dir})
    with pytest.raises(ConfigError, match=r"levels\.global\.modes = 4: allowed is \d+ or more with mode_weight"):
        load_windows(config, "validation")
