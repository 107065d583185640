"""Groups of pieces with similar latents, how they agree with labels, maps of them, and nearest neighbours."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from musicvae_jax.config import UserError, check_seed, nearest
from musicvae_jax.config.checks import check

_LEAST_FOR_TSNE = 10
_LARGEST_K = 12


class Agreement(NamedTuple):
    """How clusters agree with a label, over the pieces that have it."""

    pieces: int
    purity: float  # share of pieces whose label is the most frequent of their cluster
    chance: float  # purity of one cluster: the share of the most frequent label
    nmi: float  # mutual information over the mean of both entropies


class Clusters(NamedTuple):
    """Clusters of pieces, and maps of them."""

    kmeans: np.ndarray  # int64[piece]
    mixture: np.ndarray  # int64[piece], of a Gaussian mixture
    pca: np.ndarray  # float64[piece, 2]
    explained: tuple[float, float]  # share of the variance along both axes of the PCA
    tsne: np.ndarray | None  # float64[piece, 2]; None if not asked for, or with few pieces
    agreement: dict[str, dict[str, Agreement]]  # "kmeans" and "mixture" -> label -> agreement


def cluster(
    latents: np.ndarray,
    labels: Mapping[str, np.ndarray],
    k: int | None = None,
    *,
    tsne: bool = True,
    seed: int = 0,
) -> Clusters:
    """Clusters of standardised latents.

    Args:
        latents: float[piece, dim].
        labels: name -> str[piece], "" if unknown.
        k: number of clusters; by the lowest BIC of a Gaussian mixture of 2 to 12 if not given.
        tsne: whether to make a map by t-SNE, too (van der Maaten & Hinton 2008), which takes longest.
        seed: of starts.

    Raises:
        UserError: too few pieces.
    """
    check_seed(seed)
    check(len(latents) >= 3, "pieces", len(latents), "3 or more")
    x = (latents - latents.mean(0)) / np.maximum(latents.std(0), 1e-9)
    if k is None:
        options = range(2, min(_LARGEST_K, len(x) - 1) + 1)
        k = min(options, key=lambda number: _mixture(x, number, seed).bic(x))
    check(2 <= k <= len(x), "k", k, f"2 to {len(x)}, the number of pieces")
    pca = PCA(2, random_state=seed).fit(x) if x.shape[1] > 1 else None
    flat = pca.transform(x) if pca else np.column_stack([x[:, 0], np.zeros(len(x))])
    explained = tuple(map(float, pca.explained_variance_ratio_)) if pca else (1.0, 0.0)
    shown = None
    if tsne and len(x) >= _LEAST_FOR_TSNE:
        shown = TSNE(
            2, perplexity=min(30.0, (len(x) - 1) / 3), random_state=seed, init="pca" if pca else "random"
        ).fit_transform(x)
    found = {
        "kmeans": KMeans(k, n_init=4, random_state=seed).fit_predict(x),
        "mixture": _mixture(x, k, seed).predict(x),
    }
    agreement = {kind: agree(numbers, labels) for kind, numbers in found.items()}
    return Clusters(found["kmeans"], found["mixture"], flat, (explained[0], explained[1]), shown, agreement)


def agree(clusters: np.ndarray, labels: Mapping[str, np.ndarray]) -> dict[str, Agreement]:
    """How clusters int[piece] agree with labels; labels of fewer than two values are left out."""
    found = {}
    for name, values in labels.items():
        known = np.asarray(values) != ""
        own, groups = np.asarray(values)[known], clusters[known]
        kinds, counts = np.unique(own, return_counts=True)
        if len(kinds) < 2 or len(kinds) == len(own):  # the same for all, or a name of each
            continue
        hits = sum(np.unique(own[groups == group], return_counts=True)[1].max() for group in np.unique(groups))
        nmi = float(normalized_mutual_info_score(own, groups))
        found[name] = Agreement(len(own), float(hits / len(own)), float(counts.max() / len(own)), nmi)
    return found


def nearest_pieces(latents: np.ndarray, titles: Sequence[str], title: str, num: int = 5) -> list[tuple[str, float]]:
    """The pieces nearest to one in standardised latents: titles and distances, nearest first.

    Args:
        latents: float[piece, dim].
        titles: of the pieces; of equal titles the first counts.
        title: of the piece.
        num: neighbours.

    Raises:
        UserError: no piece has the title.
    """
    titles = list(titles)
    if title not in titles:
        raise UserError(f"no piece {title!r}: {nearest(title, titles)}")
    x = (latents - latents.mean(0)) / np.maximum(latents.std(0), 1e-9)
    own = titles.index(title)
    distances = np.linalg.norm(x - x[own], axis=1)
    order = [number for number in np.argsort(distances, kind="stable").tolist() if number != own][:num]
    return [(titles[number], float(distances[number])) for number in order]


def _mixture(x: np.ndarray, k: int, seed: int) -> GaussianMixture:
    return GaussianMixture(k, covariance_type="diag", reg_covar=1e-3, random_state=seed).fit(x)
