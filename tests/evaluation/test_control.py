"""What moving a dim does: figures of constructed changes, and a decoder whose dims are known."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from musicvae_jax.codec import MelodyCodec
from musicvae_jax.codec.attributes.dmelodies import FACTORS, REST, to_melody
from musicvae_jax.config import CodecConfig, Config, DataConfig, LevelConfig, LevelsConfig, ObjectiveConfig
from musicvae_jax.evaluation import control as moves
from musicvae_jax.evaluation.disentanglement import control_scores
from musicvae_jax.evaluation.likeness import NAMES, true_attributes
from musicvae_jax.evaluation.probes import ProbeData
from musicvae_jax.training.parallel import make_local_parallel
from musicvae_jax.types import Batch, Gaussian

VALUES = np.linspace(-1, 1, 8)
RNG = np.random.default_rng(0)


def decoded(of_value, noise=0.0, along=0.0):
    """float[value, draw, item, attribute]: the asked attribute, and another that moves by ``along`` times the value."""
    shape = (len(VALUES), 3, 50)
    asked = np.broadcast_to(of_value[:, None, None], shape) + noise * RNG.normal(size=(1, *shape[1:]))
    return np.stack([asked, np.broadcast_to(along * VALUES[:, None, None], shape)], -1)


def test_a_perfect_knob_has_ones():
    found = control_scores(VALUES, decoded(3 * VALUES), np.array([2.0, 1.0]), asked=0)
    assert (found.consistency, found.restrictiveness, found.monotonicity) == pytest.approx((1, 1, 1))
    np.testing.assert_allclose(found.changes, [3, 0])


def test_each_fault_lowers_its_own_figure():
    spread = np.ones(2)
    noisy = control_scores(VALUES, decoded(VALUES, noise=0.5), spread, asked=0)
    assert noisy.consistency == pytest.approx(0.5, abs=0.06) and noisy.restrictiveness == 1
    leaking = control_scores(VALUES, decoded(VALUES, along=0.5), spread, asked=0)
    assert leaking.restrictiveness == pytest.approx(1 - 0.5 * VALUES.std()) and leaking.consistency == 1
    np.testing.assert_allclose(leaking.changes, [2, 1])
    bent = control_scores(VALUES, decoded(VALUES**2), spread, asked=0)
    assert bent.monotonicity == pytest.approx(0, abs=1e-9)
    dead = control_scores(VALUES, decoded(0 * VALUES), spread, asked=0)
    assert np.isnan(dead.monotonicity) and dead.changes[0] == 0


def test_undefined_values_are_left_out():
    whole = decoded(VALUES, noise=0.3, along=0.2)
    missing = whole.copy()
    missing[:, :, ::5] = np.nan
    kept = np.delete(whole, np.s_[::5], axis=2)
    ones = np.ones(2)
    found, expected = control_scores(VALUES, missing, ones, 0), control_scores(VALUES, kept, ones, 0)
    assert found.consistency == pytest.approx(expected.consistency)
    assert found.monotonicity == pytest.approx(expected.monotonicity)
    assert np.isnan(control_scores(VALUES, np.full((8, 3, 5, 2), np.nan), ones, 0).consistency)


@pytest.mark.parametrize(
    ("values", "shape", "said"),
    [
        ([1.0], (1, 1, 1, 2), "two or more, ascending"),
        ([1.0, 1.0], (2, 1, 1, 2), "two or more, ascending"),
        ([0.0, 1.0], (3, 1, 1, 2), "allowed are"),
        ([0.0, 1.0], (2, 1, 1, 3), "allowed are"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(values, shape, said):
    with pytest.raises(ValueError, match=said):
        control_scores(np.array(values), np.zeros(shape), np.ones(2), 0)


CODEC = MelodyCodec(subdivisions=("0", "1/2"), slots=8)
LEVEL = LevelConfig(dim=4, groups=(2, 2, 0, 0, 0), attributes=("note_density", "mean_pitch"))
CONFIG = Config(
    data=DataConfig(attributes=True),
    levels=LevelsConfig(global_=LEVEL, local=LevelConfig(dim=2), fine=LevelConfig(dim=3)),
    objective=ObjectiveConfig(attribute_weight=1.0),
)
ROWS, MEASURES = 64, 8
SOURCE: Any = None  # its batches are given


def play(z):
    """Melodies whose number of notes a measure is 4 + 2 z[0], and whose pitch is 60 + 8 z[2]."""
    notes = np.clip(np.round(4 + 2 * z[:, 0]), 1, 8)
    pitch = np.round(60 + 8 * z[:, 2])
    sounds = np.arange(8) < notes[:, None]
    tokens = np.where(sounds, pitch[:, None] + 2, 0).astype(np.int32)
    return np.repeat(tokens[:, None], MEASURES, 1)[..., None]


def test_dims_that_do_one_thing_are_found_to_do_it(monkeypatch):
    z = RNG.normal(size=(ROWS, 4))
    metre = np.full((ROWS, MEASURES, 2), 4, np.int32)
    batch = Batch(play(z), CODEC.slot_mask(metre), metre, np.arange(ROWS, dtype=np.int32))
    # In the order of names, as a jitted function returns it, and not from coarse to fine.
    means = {
        "fine": Gaussian(*np.zeros((2, ROWS, MEASURES, 3))),
        "global": Gaussian(z[:, None], 0 * z[:, None]),
        "local": Gaussian(*np.zeros((2, ROWS, 2, 2))),
    }
    given_levels = []

    def sample_prior(model, variables, metre, keys, given):
        given_levels.append(set(given))
        return {"local": jnp.zeros((ROWS, 2, 2)), "fine": jnp.zeros((ROWS, MEASURES, 3)), **given}

    def sample_tokens(model, variables, latents, metre, mask, key, sampling):
        return play(np.asarray(latents["global"])[:, 0])

    monkeypatch.setattr(moves, "sample_prior", sample_prior)
    monkeypatch.setattr(moves, "sample_tokens", sample_tokens)
    monkeypatch.setattr(moves, "make_eval_batches", lambda *_, **__: [batch])
    vae: Any = SimpleNamespace(model=None, config=CONFIG, codec=CODEC, variables={}, encode=lambda _: means)
    attributes = true_attributes(batch, CODEC)
    held_out = ProbeData({name: q.loc for name, q in means.items()}, attributes, metre, np.arange(ROWS))
    found = moves.control_figures(vae, make_local_parallel(ROWS), SOURCE, held_out, num_draws=2)
    assert list(found) == ["global"] and list(found["global"]) == ["note_density", "mean_pitch"]
    assert set(map(frozenset, given_levels)) == {frozenset({"global"})}  # the level below is drawn again
    density, pitch = found["global"].values()
    assert (density.dim, pitch.dim) == ("global/rhythm[0]", "global/pitch[0]")
    for figures in (density, pitch):
        assert figures.monotonicity > 0.97 and figures.consistency == pytest.approx(1)
        assert figures.restrictiveness == pytest.approx(1)
    assert density.changes["note_density"] > 2.5 and density.changes["mean_pitch"] == 0
    assert pitch.changes["mean_pitch"] > 2.5 and pitch.changes["note_density"] == 0


def test_a_model_without_named_dims_has_no_control():
    vae: Any = SimpleNamespace(config=Config())
    nothing: Any = None
    assert moves.control_figures(vae, make_local_parallel(2), nothing, ProbeData({}, {}, nothing, nothing)) == {}


def melodies_where(good):
    """Tokens of two measures each: a melody of dMelodies where ``good``, else one note too many."""
    melody = to_melody(np.zeros(9, int))
    tokens = np.where(melody == REST, 1, melody + 2).reshape(2, 8, 1)
    spoilt = tokens.copy()
    spoilt[0, 7] = 62
    return np.where(np.asarray(good)[:, None, None, None], tokens, spoilt).astype(np.int32)


@pytest.mark.parametrize(("attributes", "share"), [(("dmelodies_octave",), 0.75), ((), 0.5)])
def test_latent_density_is_the_share_of_points_that_decode_to_melodies(monkeypatch, attributes, share):
    """A decoder that gives melodies where dim 2 is above -1; the prior puts half of its draws there."""
    level = LevelConfig(dim=3, span=2, groups=(1, 1, 1, 0, 0), attributes=attributes)
    config = Config(
        codec=CodecConfig(subdivisions=("0", "1/2"), slots=8),
        data=DataConfig(attributes=True, measures=2),
        levels=LevelsConfig(global_=LevelConfig(dim=0), local=level),
        objective=ObjectiveConfig(attribute_weight=1.0 if attributes else 0.0),
    )
    place = level.followed.get("dmelodies_octave", 2)

    def sample_prior(model, variables, metre, keys, given=None):
        draws = np.where(RNG.random((len(keys), 1, 3)) < 0.5, -2.0, 0.0)
        return {"local": jnp.asarray(draws)} | (given or {})

    def decode(latents, metre, sampling):
        assert sampling.temperature == 0
        return melodies_where(np.asarray(latents["local"])[:, 0, place] > -1)

    monkeypatch.setattr(moves, "sample_prior", sample_prior)
    vae: Any = SimpleNamespace(model=None, config=config, codec=CODEC, variables={}, decode=decode)
    means = RNG.uniform(-2, 2, (50, 1, 3))
    means[:2] = [[[-2.0] * 3], [[2.0] * 3]]
    metre = np.full((50, 2, 2), 4, np.int32)
    held_out = ProbeData({"local": means}, {}, metre, np.arange(50), own={"2_measures": np.zeros((50, 1, 9))})
    found = moves.latent_density(vae, make_local_parallel(64), held_out)
    assert found == {"local": pytest.approx(share, abs=0.05)}
    for lost in ({}, {"2_measures": np.full((50, 1, 9), np.nan)}):
        assert moves.latent_density(vae, make_local_parallel(64), held_out._replace(own=lost)) == {}


def test_a_benchmark_is_measured_by_its_own_attributes():
    """Of dMelodies, a move of one factor should leave the other factors, and may change the mean pitch."""
    names = moves.measured_names(2)
    assert names[: len(NAMES)] == NAMES and set(names[len(NAMES) :]) == {f"dmelodies_{name}" for name in FACTORS}
    assert moves.measured_names(4) == NAMES == moves.measured_names(0)
