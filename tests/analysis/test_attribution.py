"""Attribution: gradients add up, what is not read has none, shuffled weights are worth nothing."""

import numpy as np
import pytest

from musicvae_jax.analysis.attribution import attribute, shuffled
from musicvae_jax.analysis.codes import make_code
from musicvae_jax.config import UserError
from tests.analysis.played import load_untrained
from tests.data.melodies import random_melody


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_untrained(tmp_path_factory.mktemp("attribution"))


@pytest.fixture(scope="module")
def code(vae):
    return make_code(vae, vae.windows(random_melody(3, 6)))


@pytest.mark.parametrize("of", ["measure", "note_density"])
def test_integrated_gradients_sum_to_what_all_latents_do(vae, code, of):
    """Completeness (Sundararajan et al. 2017, proposition 1), as far as sixteen points integrate."""
    small = code._replace(means={name: 0.1 * z for name, z in code.means.items()})  # where the path is nearly straight
    found = attribute(vae, small, of)
    assert len(found.sources) == len(found.occlusion) == 1 + 2 + 4
    assert found.targets[0].endswith("measure 1") and found.occlusion.shape == found.gradients.shape == (7, 4)
    assert found.gradients.sum() == pytest.approx(found.total, rel=0.02, abs=1e-3)


def test_occlusion_and_gradients_agree_near_the_baseline(vae, code):
    small = code._replace(means={name: 0.1 * z for name, z in code.means.items()})
    assert attribute(vae, small).correlation > 0.7


def test_a_measure_that_is_not_there_gets_nothing(vae, code):
    alone = make_code(vae, vae.windows(random_melody(3, 6), [4]))  # two measures and padding
    found = attribute(vae, alone)
    assert (found.occlusion[:, 2:] == 0).all() and (found.gradients[:, 2:] == 0).all()
    assert np.abs(found.occlusion[:, :2]).max() > 0


def test_shuffled_weights_keep_shapes_and_values(vae):
    other = shuffled(vae, seed=1)
    kernel, mixed = (model.variables["params"]["decoder"] for model in (vae, other))
    name = next(name for name, leaf in kernel.items() if isinstance(leaf, dict) and "kernel" in leaf)
    one, two = np.asarray(kernel[name]["kernel"]), np.asarray(mixed[name]["kernel"])
    assert one.shape == two.shape and (one != two).any()
    np.testing.assert_array_equal(np.sort(one, None), np.sort(two, None))


def test_unknown_targets_are_refused(vae, code):
    with pytest.raises(UserError, match="of = 'loudness': allowed is one of measure, slot, field, note_density"):
        attribute(vae, code, "loudness")
