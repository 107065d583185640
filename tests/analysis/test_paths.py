"""Traversals, paths between windows, and swaps."""

import itertools

import numpy as np
import pytest

from musicvae_jax.analysis.paths import code_of, even_points, interpolate_codes, smoothness, swap_dims, traverse_dims
from musicvae_jax.config import UserError
from musicvae_jax.evaluation.likeness import NAMES
from tests.analysis.played import load_untrained, make_player
from tests.data.melodies import random_melody

PIECES = random_melody(3, 6), random_melody(5, 4)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return make_player(load_untrained(tmp_path_factory.mktemp("paths")))


@pytest.fixture(scope="module")
def codes(vae):
    return [code_of(vae, piece) for piece in PIECES]


def test_attributes_follow_the_dims_that_make_them(vae, codes):
    found = traverse_dims(vae, codes[0], "fine/rhythm", -1, 1, 3)
    assert found.names == tuple(f"fine/rhythm[{number}]" for number in range(3))
    density, pitch = (found.attributes[:, :, 0, NAMES.index(name)] for name in ("note_density", "mean_pitch"))
    assert density[0, 2] > density[0, 1] > density[0, 0] and np.ptp(density[1:]) == 0
    assert pitch[1, 2] > pitch[1, 1] > pitch[1, 0] and np.ptp(pitch[2]) == 0
    for dim in range(3):  # no shift: the same music
        np.testing.assert_array_equal(found.scores[dim][1][0].notes, found.scores[0][1][0].notes)


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_a_path_has_its_ends_and_is_the_same_backwards(vae, codes, kind):
    first, second = codes
    path, back = (interpolate_codes(vae, *ends, 5, kind) for ends in ((first, second), (second, first)))
    for end, code in ((0, codes[0]), (-1, codes[1])):
        alone = vae.scores(vae.decode(code.means, code.windows.metre), code.windows.metre)[0]
        np.testing.assert_array_equal(path.scores[end].notes, alone.notes)
    np.testing.assert_allclose(path.distances, back.distances[::-1], atol=0.1)
    still = interpolate_codes(vae, codes[0], codes[0], 3, kind)
    assert still.distances.tolist() == [0, 0] and np.isnan(still.smoothness)


def test_levels_that_are_not_named_stay(vae, codes):
    first, second = codes
    path = interpolate_codes(vae, first, second, 3, levels=["global", "local"])  # the player hears the fine level alone
    assert path.distances.max() == 0
    assert interpolate_codes(vae, first, second, 3, levels=["fine"]).distances.max() > 0


def test_even_steps_are_smooth_and_one_jump_is_not():
    assert smoothness(np.full(8, 0.1)) == pytest.approx(1)
    assert smoothness(np.eye(8)[3]) == pytest.approx(8)


@pytest.mark.parametrize("seed", range(20))
def test_even_points_are_the_most_even_of_all_choices(seed):
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 9, (8, 2)).astype(float)
    distances = np.abs(places[:, None] - places).sum(-1)
    found = even_points(distances, 5)
    assert (found[0], found[-1]) == (0, 7) and (np.diff(found) > 0).all()
    ratios = []
    for middle in itertools.combinations(range(1, 7), 3):
        path = [0, *middle, 7]
        ratios.append(smoothness(distances[path[:-1], path[1:]]))
    assert smoothness(distances[found[:-1], found[1:]]) == pytest.approx(np.nanmin(ratios))


def test_a_path_with_even_steps_has_the_ends_of_another_and_is_not_less_even(vae, codes):
    assert even_points(np.zeros((9, 9)), 3).tolist() == [0, 4, 8]
    path, plain = (interpolate_codes(vae, codes[0], codes[1], 5, even=even) for even in (True, False))
    assert len(path.scores) == 5 and path.shares[0] == 0 and path.shares[-1] == 1
    for end in (0, -1):
        np.testing.assert_array_equal(path.scores[end].notes, plain.scores[end].notes)
    assert path.smoothness <= plain.smoothness


def test_two_swaps_are_none_and_a_swap_of_the_finest_level_is_the_other_piece(vae, codes):
    first, second = swap_dims(vae, PIECES[1], PIECES[1], "fine")
    np.testing.assert_array_equal(first.notes, second.notes)
    own, other = swap_dims(vae, *PIECES, "fine")
    assert (own.num_measures, other.num_measures) == (6, 4)
    alone = vae.scores(vae.decode(codes[0].means, codes[0].windows.metre), codes[0].windows.metre)[0]
    np.testing.assert_array_equal(other.notes, alone.notes)
    assert own.title == PIECES[0].title


@pytest.mark.parametrize(
    ("options", "said"),
    [({"steps": 1}, "steps = 1"), ({"kind": "curved"}, "kind = 'curved'"), ({"levels": ["loud"]}, "levels")],
)
def test_wrong_paths_are_refused(vae, codes, options, said):
    with pytest.raises(UserError, match=said):
        interpolate_codes(vae, *codes, **options)


def test_wrong_traversals_are_refused(vae, codes):
    for name, low, high, steps, said in (
        ("fine/loud", -1, 1, 3, "dim = 'fine/loud': allowed is such as"),
        ("fine", 1, -1, 3, r"range = \(1, -1\)"),
        ("fine", -1, 1, 1, "steps = 1"),
    ):
        with pytest.raises(UserError, match=said):
            traverse_dims(vae, codes[0], name, low, high, steps)
