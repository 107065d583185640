"""Clusters, their agreement with labels, and neighbours."""

import numpy as np
import pytest

from musicvae_jax.analysis.clusters import agree, cluster, nearest_pieces
from musicvae_jax.config import UserError

RNG = np.random.default_rng(0)
KINDS = np.repeat(["jig", "reel", "waltz"], 20)
POINTS = np.repeat(np.eye(3, 4) * 8, 20, 0) + RNG.normal(size=(60, 4))
LABELS = {"style": KINDS, "title": np.arange(60).astype(str), "book": np.full(60, "ryan")}


@pytest.mark.parametrize("k", [3, None])
def test_clusters_that_are_there_are_found(k):
    found = cluster(POINTS, LABELS, k, tsne=False)
    for kind in ("kmeans", "mixture"):
        assert set(found.agreement[kind]) == {"style"}  # a title names one piece, and all have one book
        style = found.agreement[kind]["style"]
        assert (style.purity, style.nmi, style.chance, style.pieces) == pytest.approx((1, 1, 1 / 3, 60))
    assert found.tsne is None and found.pca.shape == (60, 2) and sum(found.explained) > 0.5


def test_a_map_keeps_neighbours_together():
    shown = cluster(POINTS, LABELS, 3).tsne
    assert shown is not None
    distances = np.linalg.norm(shown[:, None] - shown, axis=-1) + 1e9 * np.eye(60)
    assert (KINDS[distances.argmin(1)] == KINDS).mean() > 0.95


def test_agreement_is_bounded_and_unlabelled_pieces_do_not_count():
    found = agree(RNG.integers(0, 3, 60), {"style": np.where(np.arange(60) % 2, KINDS, "")})["style"]
    assert found.pieces == 30 and found.chance <= found.purity < 0.8 and 0 <= found.nmi < 0.3


def test_the_nearest_are_ordered_and_others():
    names = [f"{kind} {number}" for number, kind in enumerate(KINDS)]
    found = nearest_pieces(POINTS, names, "reel 25", 19)
    assert all(name.startswith("reel") and name != "reel 25" for name, _ in found)
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    with pytest.raises(UserError, match="no piece 'reel 255': did you mean reel 25"):
        nearest_pieces(POINTS, names, "reel 255")


@pytest.mark.parametrize(
    ("points", "k", "said"), [(POINTS[:2], 2, "pieces = 2"), (POINTS, 1, "k = 1"), (POINTS, 61, "k = 61")]
)
def test_what_cannot_be_clustered_is_refused(points, k, said):
    with pytest.raises(UserError, match=said):
        cluster(points, {}, k, tsne=False)
