"""What the Gaussians of a mixture mean: labels of the windows that they explain."""

import dataclasses

import jax
import numpy as np
import pytest

from musicvae_jax import load_windows
from musicvae_jax.data.conditions import metre_number
from musicvae_jax.evaluation import modes
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.evaluation.modes import MixtureFigures, mixture_figures, mixture_text
from musicvae_jax.evaluation.trained import TrainedVAE
from musicvae_jax.inference import infer, responsibilities
from musicvae_jax.rng import row_keys
from musicvae_jax.training.state import init_params, make_model
from tests.models.variants import OF_LATENTS
from tests.tiny import make_batch, make_vae, replace
from tests.untrained import LEVELS_CONFIG, write_workdir

WINDOWS = 96


def figures(vae: TrainedVAE) -> MixtureFigures:
    found = mixture_figures(vae, "validation", num_windows=WINDOWS)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def vae(tmp_path_factory, folk_data_dir):
    """A model whose global latent has five Gaussians."""
    config = replace(LEVELS_CONFIG, data={"data_dir": folk_data_dir, "min_measures": 4})
    vae = load_workdir(write_workdir(tmp_path_factory.mktemp("modes") / "run", config, seed=1))
    config = replace(vae.config, prior={"base": "mixture", "modes": 5, "levels": ("global",)}).fitted
    model = make_model(config, vae.codec.fields)
    return dataclasses.replace(vae, config=config, model=model, variables={"params": init_params(model, 4, 0)})


def test_responsibilities_are_shares_at_the_posterior_means():
    """They are those of the base, which `test_learned_bases` compares with the density of each Gaussian."""
    model, variables = make_vae(OF_LATENTS["learned"])
    batch = make_batch()
    shares = responsibilities(model, variables, batch)
    found = infer(model, variables, batch, row_keys(jax.random.key(0), batch.index))
    assert set(shares) == {"local"}  # the flow below has none
    assert shares["local"].shape == (*found.present["local"].shape, 3)
    np.testing.assert_allclose(shares["local"].sum(-1), 1, rtol=1e-5)
    assert shares["local"].std() > 0.01


def test_gaussians_that_are_metres_are_found_to_be_metres(vae, monkeypatch):
    """The rarer metres share the last Gaussian; a random choice agrees with no label."""
    source = load_windows(vae.config, "validation", attributes=False)
    index = np.arange(len(source))
    metre = metre_number(source.gather(index).metre[:, 0])
    common = [
        number for number, _ in sorted(zip(*np.unique(metre, return_counts=True), strict=True), key=lambda p: -p[1])
    ]
    random = np.random.default_rng(0).integers(0, 5, len(source))

    def by_metre(model, variables, batch):
        place = np.array([min(common.index(number), 4) for number in np.asarray(metre_number(batch.metre[:, 0]))])
        return {"global": np.eye(5)[place][:, None]}

    def by_chance(model, variables, batch):
        return {"global": np.eye(5)[random[np.asarray(batch.index)]][:, None]}

    monkeypatch.setattr(modes, "responsibilities", by_metre)
    found = figures(vae)
    assert found.agreement["metre"] > 0.95 and found.agreement["key"] < 0.3
    assert found.modes["0"].of_label["metre"] == 1 and found.modes["0"].share == found.most_common["metre"]
    assert sum(mode.share for mode in found.modes.values()) == pytest.approx(1)
    text = mixture_text(found)
    assert f"| 0 | {found.modes['0'].share:.2f} |" in text and f"{found.modes['0'].label['metre']} 1.00" in text
    monkeypatch.setattr(modes, "responsibilities", by_chance)
    found = figures(vae)
    assert all(abs(value) < 0.1 for value in found.agreement.values())


def test_a_model_without_a_mixture_has_no_such_figures(vae):
    other = dataclasses.replace(vae, config=LEVELS_CONFIG)
    assert mixture_figures(other, "validation") is None
    found = figures(vae)
    assert set(found.agreement) <= set(modes.LABELS) and len(found.modes) == 5
