"""How much of music a codec keeps."""

from collections import Counter
from collections.abc import Iterable

from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Score

_LOST = ("collision", "slots")


def kept_shares(scores: Iterable[Score], codec: Codec) -> dict[str, float]:
    """The shares of music that come back from tokens, counted by `Codec.encode`.

    Args:
        scores: pieces.
        codec: what makes tokens of them.

    Returns:
        ``pieces``: of the pieces, those that the codec takes; of their notes: ``notes``, those that are there at all,
        ``onsets``, those that start exactly when they did, ``velocities``, those as loud as they were, within
        `SAME_VELOCITY`. A share of nothing is 1.
    """
    pieces, taken, notes = 0, 0, 0
    dropped: Counter[str] = Counter()
    for score in scores:
        pieces += 1
        try:
            counts = codec.encode(score).dropped
        except MusicError:
            continue
        taken += 1
        notes += len(score.notes)
        dropped.update(counts)
    kept = notes - sum(dropped[reason] for reason in _LOST)
    return {
        "pieces": _share(taken, pieces),
        "notes": _share(kept, notes),
        "onsets": _share(kept - dropped["off_grid"], notes),
        "velocities": _share(kept - dropped["velocity"], notes),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
