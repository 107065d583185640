"""Directions: found in latents that make music by a known rule, and calibrated in its units."""

import json

import numpy as np
import pytest

from musicvae_jax.analysis.codes import Code, measure
from musicvae_jax.analysis.directions import (
    DirectionData,
    best_direction,
    find_directions,
    load_directions,
    save_directions,
)
from musicvae_jax.config import UserError
from musicvae_jax.types import Batch
from tests.analysis.played import load_untrained, make_player, play

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return make_player(load_untrained(tmp_path_factory.mktemp("directions")))


def made(vae, num):
    """Windows whose fine latents are those of `play`, with dims that are correlated over the music."""
    z = {name: RNG.normal(size=(num, own.num_latents(4), own.dim)) for name, own in vae.config.levels.on.items()}
    z["fine"][..., 2] += 0.8 * z["fine"][..., 1]
    metre = np.full((num, 4, 2), 4, np.int32)
    mask = vae.mask(metre)
    tokens = np.where(mask[..., None], play(z["fine"], vae.codec.slots), 0)
    means = {name: value.astype(np.float32) for name, value in z.items()}
    return Code(Batch(tokens, mask, metre, np.arange(num, dtype=np.int32)), means, means)


@pytest.fixture(scope="module")
def data(vae):
    fitted = made(vae, 128)
    windows = fitted.windows
    spans = {name: own.span for name, own in vae.config.levels.on.items()}
    attributes = {name: measure(vae, windows.tokens, windows.metre, span) for name, span in spans.items()}
    return DirectionData(fitted, attributes, made(vae, 32))


@pytest.mark.parametrize(("attribute", "dim", "unit"), [("note_density", 0, 0.5), ("mean_pitch", 1, 0.125)])
def test_one_more_unit_is_one_more_unit(vae, data, attribute, dim, unit):
    (found,) = find_directions(vae, attribute, data, ["fine"])
    assert (found.kind, found.r2 > 0.8, found.linearity > 0.8) == ("probe", True, True)
    assert found.effects[attribute] == pytest.approx(1)
    vector = np.array(found.vector)
    # Clipped and rounded notes give a little less than asked.
    assert vector[dim] == pytest.approx(unit, rel=0.25)
    assert np.abs(found.effects["contour"]) < 0.1  # a side effect that `play` does not have


def test_latents_that_the_music_does_not_depend_on_tell_nothing(vae, data):
    (found,) = find_directions(vae, "mean_pitch", data, ["global"])
    assert found.r2 < 0.3
    several = find_directions(vae, "mean_pitch", data)
    assert best_direction(several, "fine").level == "fine"
    with pytest.raises(UserError, match="level = 'loud': allowed is global or local or fine"):
        best_direction(several, "loud")


def test_directions_are_kept_with_the_checkpoint(vae, data, tmp_path):
    found = find_directions(vae, "mean_pitch", data, ["fine"])
    path = save_directions(found, vae, tmp_path)
    assert path == tmp_path / "directions" / "mean_pitch.json"
    assert load_directions(vae, tmp_path, "mean_pitch") == found
    assert load_directions(vae, tmp_path, "contour") == []
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": vae.step + 1}))
    assert load_directions(vae, tmp_path, "mean_pitch") == []
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_directions(vae, tmp_path, "mean_pitch")


def test_what_has_no_direction_is_refused(vae, data):
    with pytest.raises(UserError, match="tempo"):
        find_directions(vae, "tempo", data)
    with pytest.raises(UserError, match="levels"):
        find_directions(vae, "mean_pitch", data, ["loud"])
    with pytest.raises(UserError, match="'pitch_range' does not vary over the latents of fine"):
        find_directions(vae, "pitch_range", data, ["fine"])  # all notes of a measure are the same
