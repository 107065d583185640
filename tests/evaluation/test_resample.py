"""Resampling, temperatures, moved dims and interpolation with three levels."""

from functools import partial

import jax
import numpy as np
import pytest

from musicvae_jax.codec import Metre
from musicvae_jax.config import UserError
from musicvae_jax.evaluation import trained
from musicvae_jax.evaluation.load import load_workdir
from musicvae_jax.models.sampling import SamplingConfig
from tests.data.melodies import random_melody
from tests.tiny import replace
from tests.untrained import LEVELS_CONFIG, write_workdir

PIECE = random_melody(3, 7, metre=Metre(3, 4))
LEVELS = ["global", "local", "fine"]
GREEDY = SamplingConfig(temperature=0.0)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_workdir(write_workdir(tmp_path_factory.mktemp("levels") / "run"))


def notes(scores) -> list[tuple]:
    return [tuple(map(tuple, score.notes)) for score in scores]


def test_variants_have_the_frame_of_the_first_window(vae) -> None:
    window = vae.first_window(PIECE)
    assert notes([window]) == [tuple(map(tuple, PIECE.notes[PIECE.notes[:, 0] < 4 * Metre(3, 4).ticks]))]
    for keep in LEVELS[:-1]:
        variants = vae.resample(PIECE, keep, 2)
        assert len(variants) == 2
        for score in (window, *variants):
            np.testing.assert_array_equal(score.measures, PIECE.measures[:4])
            assert (score.tempo, score.fifths, score.title) == (PIECE.tempo, PIECE.fifths, PIECE.title)


@pytest.mark.parametrize("number", [1, 2])
def test_kept_levels_are_posterior_means_and_the_others_are_drawn_from_their_priors(vae, number) -> None:
    """At temperature 0 a prior's draw is its mean, here by hand, level by level."""
    kept, drawn = LEVELS[:number], LEVELS[number:]
    window = jax.tree.map(lambda leaf: leaf[:1], vae.windows(PIECE))
    posterior = vae.encode(window)
    latents = {level: posterior[level].loc for level in kept}
    passed = jax.jit(partial(vae.model.apply, vae.variables))
    for level in drawn:
        output = passed(window, given=latents, rngs={"latent": jax.random.key(0)})
        latents[level] = output.frame[level].loc  # of a normal base, the prior's mean
    expected = vae.scores(vae.decode(latents, window.metre, sampling=GREEDY), window.metre)
    still = vae.resample(PIECE, kept[-1], 3, temperature=dict.fromkeys(drawn, 0.0))
    assert notes(still) == notes(expected) * 3
    moving = vae.resample(PIECE, kept[-1], 3)
    assert len(set(notes(moving))) > 1


def test_every_level_has_its_own_temperature(vae) -> None:
    same = vae.resample(PIECE, "global", 3, temperature={"local": 0.0, "fine": 0.0})
    one_moves = [vae.resample(PIECE, "global", 3, temperature={level: 0.0}) for level in ("local", "fine")]
    assert len(set(notes(same))) == 1 and all(len(set(notes(scores))) > 1 for scores in one_moves)
    samples = vae.sample(3, metre=Metre(4, 4), temperature=dict.fromkeys(LEVELS, 0.0), sampling=GREEDY)
    assert len(set(notes(samples))) == 1
    samples = vae.sample(3, metre=Metre(4, 4), temperature={"global": 0.0, "local": 0.0}, sampling=GREEDY)
    assert len(set(notes(samples))) > 1


def test_variants_depend_on_the_seed_alone(vae) -> None:
    first, again, other = (notes(vae.resample(PIECE, "local", 2, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keep": "fine"}, "keep = 'fine': allowed is global or local"),
        ({"num": 0}, "num = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"temperature": {"global": 1.0}}, "'global': allowed are the levels that are drawn: local, fine"),
        ({"temperature": {"fine": -1.0}}, "temperature of 'fine' = -1.0: allowed is 0 or more"),
        ({"temperature": {"fine": float("nan")}}, "'fine' = nan"),
    ],
)
def test_what_cannot_be_resampled_is_refused(arguments, said, vae) -> None:
    with pytest.raises(UserError, match=said):
        vae.resample(PIECE, **({"keep": "global"} | arguments))


def test_the_temperature_of_an_unknown_level_is_refused(vae) -> None:
    with pytest.raises(UserError, match=r"temperature of 'loud': allowed are .*: global, local, fine"):
        vae.sample(1, temperature={"loud": 1.0})


def test_guidance_without_conditions_is_refused(vae) -> None:
    with pytest.raises(UserError, match=r"guidance = 2\.0: allowed is 1 where no condition is asked for"):
        vae.sample(1, guidance=2.0)


def test_a_model_of_one_level_cannot_resample(tmp_path) -> None:
    flat = replace(LEVELS_CONFIG, local={"dim": 0, "span": 0}, fine={"dim": 0})
    one = load_workdir(write_workdir(tmp_path / "one", flat))
    with pytest.raises(UserError, match="allowed is nothing: global is the only level of the model"):
        one.resample(PIECE, "global")


def test_latents_that_only_the_longer_end_has_stay_the_same_along_a_path(vae, monkeypatch) -> None:
    """The encoder gives N(0, 1) for latents that a window lacks."""
    short, long = random_melody(1, 2, metre=Metre(3, 4)), random_melody(2, 4, metre=Metre(3, 4))
    codes = {name: vae.encode(vae.windows(score)) for name, score in (("short", short), ("long", long))}
    for leaf in codes["short"]["fine"]:
        assert (np.asarray(leaf)[0, 2:] == 0).all() and (np.asarray(leaf)[0, :2] != 0).all()
    seen: dict[str, np.ndarray] = {}

    def decode(_: object, latents: dict[str, np.ndarray], metre: np.ndarray, **__: object) -> np.ndarray:
        seen.update(latents)
        return np.zeros((*metre.shape[:2], vae.config.codec.slots, 1), np.int32)  # silence

    monkeypatch.setattr(type(vae), "decode", decode)
    for pair in ((short, long), (long, short)):
        vae.interpolate(*pair, steps=5)
        for level, there in (("fine", 2), ("local", 1)):
            path = np.asarray(seen[level])
            expected = np.broadcast_to(codes["long"][level].loc[0, there:], path[:, there:].shape)
            np.testing.assert_allclose(path[:, there:], expected, rtol=1e-5, atol=1e-6)
            assert np.ptp(path[:, :there], 0).max() > 0


@pytest.mark.parametrize("dim", ["global/rhythm[2]", "local/rhythm[0]", "fine/rhythm[1]"])
def test_a_traversal_moves_one_dim_and_draws_the_levels_below_with_the_same_noise(vae, dim, monkeypatch) -> None:
    decoded = []
    decode = type(vae).decode

    def watch(self, latents, metre, **options):
        decoded.append({level: np.asarray(part) for level, part in latents.items()})
        return decode(self, latents, metre, **options)

    monkeypatch.setattr(type(vae), "decode", watch)
    scores = vae.traverse(PIECE, dim, 5, 3.0)
    assert len(scores) == 5 and {len(score.measures) for score in scores} == {4}
    (latents,), moved, place = decoded, dim.split("/")[0], int(dim[-2])
    posterior = vae.encode(jax.tree.map(lambda leaf: leaf[:1], vae.windows(PIECE)))
    for number, level in enumerate(LEVELS):
        shift = latents[level] - np.asarray(posterior[level].loc)
        if number < LEVELS.index(moved):
            np.testing.assert_allclose(shift, 0, atol=1e-6)
        elif level == moved:
            expected = np.zeros_like(shift)
            expected[..., place] = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])[:, None]
            np.testing.assert_allclose(shift, expected, atol=1e-5)
    monkeypatch.undo()
    # At no shift it is what the same noise gives at the posterior means.
    again = vae.traverse(PIECE, dim, 3, 1e-6)
    assert len(set(notes(again))) == 1 and notes(again)[0] == notes(scores)[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dim": "fine/harmony[0]"}, r"dim = 'fine/harmony\[0\]': allowed is such as global/rhythm\[0\], local"),
        ({"steps": 1}, "steps = 1"),
        ({"reach": 0.0}, "reach = 0.0: allowed is above 0"),
        ({"reach": float("inf")}, "reach = inf"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_a_wrong_traversal_is_refused(vae, arguments, said) -> None:
    with pytest.raises(UserError, match=said):
        vae.traverse(PIECE, **({"dim": "fine/rhythm[0]"} | arguments))


def test_rows_that_pad_a_batch_do_not_come_back_and_a_piece_is_its_windows(vae) -> None:
    windows = vae.windows(PIECE)
    padded = type(windows)(*(np.concatenate([leaf, np.zeros_like(leaf[:1])]) for leaf in windows[:4]))
    padded.index[-1] = -1
    for level, q in vae.encode(windows).items():
        for other in (vae.encode(padded), vae.encode(PIECE)):
            np.testing.assert_allclose(other[level].loc, q.loc, atol=1e-6)
    assert len(vae.reconstruct_tokens(padded)) == 2


def test_chunks_change_nothing(vae, monkeypatch) -> None:
    whole = vae.reconstruct(PIECE)
    monkeypatch.setattr(trained, "_CHUNK", 1)
    assert notes([vae.reconstruct(PIECE)]) == notes([whole])
    first, second = vae.sample(2, metre="4/4", temperature=dict.fromkeys(LEVELS, 0.0))
    assert notes([first]) != notes([second])  # each chunk has draws of its own


def test_dims_and_groups_have_names(vae) -> None:
    assert len(vae.dim_names) == sum(own.dim for own in vae.config.levels.on.values())
    assert vae.dim_name("fine", 1) == "fine/rhythm[1]" in vae.dim_names
    assert vae.layout["local/rhythm"] == slice(0, 4)
