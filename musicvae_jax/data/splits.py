"""Splits without leakage: pieces that share music are in the same split.

Folk tunes travel: one strain occurs in several books, keys and tunes, and Bach set one melody several times. A random
split would copy training music into the test set. So pieces are joined where they share a window of four measures of
melody, in any key, and each connected component goes to one split as a whole.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

import numpy as np

from musicvae_jax.codec.base import Encoded
from musicvae_jax.codec.grid_codec import GridCodec, MelodyCodec
from musicvae_jax.codec.score import Score

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
WINDOW_MEASURES = 4
# On this grid melodies are compared: the default one, with room for every metre.
GRID = MelodyCodec(slots=64)


def melody_signatures(melody: Score) -> list[bytes]:
    """`window_signatures` of a melody on `GRID`; raises `MusicError` if the codec refuses it."""
    return window_signatures(GRID.encode(melody), GRID)


def window_signatures(encoded: Encoded, codec: GridCodec, length: int = WINDOW_MEASURES) -> list[bytes]:
    """Digests of the windows of a piece: equal if rhythm, metre and intervals are equal, in any key.

    Args:
        encoded: the whole piece.
        codec: the codec of its tokens.
        length: measures in a window. A shorter piece is one window.

    Returns:
        One digest for the window at each measure. A window with fewer than two onsets has none, because silence or
        one held note does not identify music. (The folk tunes have no such window: the emptiest of their 4-measure
        windows has 5 onsets, and no window is in more than 3 tunes.)
    """
    tokens, mask, metre = encoded.tokens, encoded.mask, encoded.metre
    first_slots = codec.first_slots(tokens, mask)
    signatures = []
    for start in range(max(1, len(tokens) - length + 1)):
        window = tokens[start : start + length].copy()
        if not len(window):
            continue
        window[0, 0] = first_slots[start]
        onsets = codec.is_onset(window)
        if np.count_nonzero(onsets) < 2:
            continue
        # Pitches are relative to the first one; 1000 keeps them apart from HOLD and REST.
        window[onsets] += 1000 - window[onsets][0]
        digest = hashlib.blake2b(window.astype("<i4").tobytes(), digest_size=16)
        digest.update(metre[start : start + length].astype("<i4").tobytes())
        signatures.append(digest.digest())
    return signatures


def components(signatures: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Connected components of the graph in which pieces are joined that share a signature (union-find).

    Args:
        signatures: those of each piece.

    Returns:
        int64[piece], the component of each piece, named by the number of its first piece.
    """
    parent = list(range(len(signatures)))

    def root(piece: int) -> int:
        while parent[piece] != piece:
            parent[piece] = parent[parent[piece]]
            piece = parent[piece]
        return piece

    first_with: dict[Hashable, int] = {}
    for piece, items in enumerate(signatures):
        for item in items:
            one, other = root(first_with.setdefault(item, piece)), root(piece)
            # The smaller number is the root, so labels do not depend on the order of the signatures.
            parent[max(one, other)] = min(one, other)
    return np.array([root(piece) for piece in range(len(signatures))], np.int64)


def component_sizes(labels: np.ndarray) -> dict[int, int]:
    """Size -> number of components of that size, largest first."""
    sizes = Counter(Counter(labels.tolist()).values())
    return dict(sorted(sizes.items(), reverse=True))


def assign(ids: Sequence[str], labels: np.ndarray, shares: Mapping[str, float] = SHARES) -> list[str]:
    """The split of each piece. Components stay whole; the result does not depend on the order of the pieces.

    The largest component goes to the first split. The others are sorted by a hash of their ids; each later split in
    turn takes those that still fit into its share. The first split takes the rest.

    Args:
        ids: of the pieces.
        labels: int[piece], from `components`.
        shares: split -> its share of the pieces; they add up to 1.

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
    rest, *later_splits = shares
    largest = max(order, key=lambda label: (len(members[label]), keys[label]), default=None)
    split_of = {} if largest is None else {largest: rest}
    for split in later_splits:
        room = round(shares[split] * len(ids))
        for label in order:
            if label not in split_of and len(members[label]) <= room:
                split_of[label] = split
                room -= len(members[label])
    return [split_of.get(label, rest) for label in labels.tolist()]


def sharing(signatures: Sequence[Collection[Hashable]], others: Iterable[Collection[Hashable]]) -> np.ndarray:
    """bool[piece]: which pieces share a signature with at least one of the others."""
    found = set().union(*others)
    return np.array([not found.isdisjoint(mine) for mine in signatures], bool)


def stable_hash(text: str) -> bytes:
    """A hash of 8 bytes that is the same in every process, which Python's own is not."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
