"""Splits without leakage: tunes that share music stay together.

Folk tunes travel: the same strain stands in several books, keys and tunes. A random split by tune would put copies of
training music into the test set, so tunes are joined where they share a window of measures, up to transposition, and
whole connected components are dealt out.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

import numpy as np

from musicvae_jax.codec.base import Encoded
from musicvae_jax.codec.grid_codec import GridCodec

WINDOW_MEASURES = 4


def window_signatures(encoded: Encoded, codec: GridCodec, length: int = WINDOW_MEASURES) -> list[bytes]:
    """What each window of a piece sounds like, whatever its key: equal where rhythm, metre and intervals are equal.

    Args:
        encoded: the whole piece.
        codec: the codec it was encoded with.
        length: measures in a window; a shorter piece is one window.

    Returns:
        One digest per window, windows starting at every measure. Windows with fewer than two onsets have none: silence
        or one held note says nothing about where it comes from. (The folk tunes have no such window: the emptiest of
        their 4-measure windows has 5 onsets, and no window is in more than 3 tunes.)
    """
    tokens, mask, metre = encoded.tokens, encoded.mask, encoded.metre
    first = codec.first_slots(tokens, mask)
    signatures = []
    for start in range(max(1, len(tokens) - length + 1)):
        window = tokens[start : start + length].copy()
        if not len(window):
            continue
        window[0, 0] = first[start]
        onsets = codec.is_onset(window)
        if np.count_nonzero(onsets) < 2:
            continue
        # Pitches count from the window's first one, moved out of the way of HOLD and REST.
        window[onsets] += 1000 - window[onsets][0]
        digest = hashlib.blake2b(window.astype("<i4").tobytes(), digest_size=16)
        digest.update(metre[start : start + length].astype("<i4").tobytes())
        signatures.append(digest.digest())
    return signatures


def components(signatures: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Connected components of pieces that share a signature.

    Args:
        signatures: for each piece, its signatures.

    Returns:
        int64[piece]: the number of the first piece of the component that the piece is in.
    """
    parent = list(range(len(signatures)))

    def root(piece: int) -> int:
        while parent[piece] != piece:
            parent[piece] = parent[parent[piece]]
            piece = parent[piece]
        return piece

    seen: dict[Hashable, int] = {}
    for piece, items in enumerate(signatures):
        for item in items:
            one, other = root(seen.setdefault(item, piece)), root(piece)
            # The smaller number is the root, so that labels do not depend on the order of the signatures.
            parent[max(one, other)] = min(one, other)
    return np.array([root(piece) for piece in range(len(signatures))], np.int64)


def assign(ids: Sequence[str], labels: np.ndarray, shares: Mapping[str, float]) -> list[str]:
    """Deals whole components out to splits, by a hash of their ids: the same pieces always fall the same way.

    Args:
        ids: one per piece.
        labels: the component of each piece, from `components`.
        shares: split -> share of the pieces, in order. The largest component goes to the first split; of the others,
            in the order of their hashes, each later split takes components while that does not take it over its share,
            and the first split takes what is left.

    Returns:
        The split of each piece.

    Raises:
        ValueError: the shares do not add up to 1.
    """
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares = {dict(shares)}: allowed are shares that add up to 1")
    members: dict[int, list[str]] = defaultdict(list)
    for id, label in zip(ids, labels.tolist(), strict=True):
        members[label].append(id)
    keys = {label: min(names) for label, names in members.items()}
    order = sorted(members, key=lambda label: stable_hash(keys[label]))
    rest, *others = shares
    largest = max(order, key=lambda label: (len(members[label]), keys[label]), default=None)
    split_of = {} if largest is None else {largest: rest}
    for split in others:
        room = round(shares[split] * len(ids))
        for label in order:
            if label not in split_of and len(members[label]) <= room:
                split_of[label] = split
                room -= len(members[label])
    return [split_of.get(label, rest) for label in labels.tolist()]


def sharing(signatures: Sequence[Collection[Hashable]], others: Iterable[Collection[Hashable]]) -> np.ndarray:
    """Which pieces share a signature with any of the others: bool[piece]."""
    theirs = set().union(*others)
    return np.array([not theirs.isdisjoint(mine) for mine in signatures], bool)


def component_sizes(labels: np.ndarray) -> dict[int, int]:
    """How many components there are of each size: size -> number, largest first."""
    sizes = Counter(Counter(labels.tolist()).values())
    return dict(sorted(sizes.items(), reverse=True))


def stable_hash(text: str) -> bytes:
    """Python's own hash of text differs between processes."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
