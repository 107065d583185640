"""How different samples are from each other, and from the music that a model was trained on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec.base import Codec
from musicvae_jax.evaluation.bootstrap import strata_of
from musicvae_jax.types import Array, existing_fields, until_end

TRANSPOSITIONS = range(-6, 7)  # semitones by which known music is moved: all keys
_INTERVAL = 300  # of two tokens that are not both onsets: more than any


def mean_distance(tokens: np.ndarray, metre: np.ndarray, codec: Codec, families: np.ndarray | None = None) -> float:
    """The mean normalised Hamming distance of two windows of the same metres; NaN without two such windows.

    The distance is the share of differing tokens among those that one of the two windows has.

    Args:
        tokens: int[window, measure, slot, field].
        metre: int[window, measure, 2].
        codec: of the tokens.
        families: int[window]; if given, two windows of one family are no pair.
    """
    families = np.arange(len(tokens)) if families is None else families
    exists, flat = _existing(tokens, metre, codec), tokens.reshape(len(tokens), -1)
    strata, total, pairs = strata_of(metre), 0.0, 0
    for row in range(len(tokens) - 1):
        others = row + 1 + np.flatnonzero(strata[row + 1 :] == strata[row])
        others = others[families[others] != families[row]]
        either = exists[others] | exists[row]
        same = (flat[others] == flat[row]) & exists[others] & exists[row]
        total += float((1 - same.sum(1) / np.maximum(either.sum(1), 1)).sum())
        pairs += len(others)
    return total / pairs if pairs else float("nan")


def nearest_distances(
    tokens: np.ndarray, metre: np.ndarray, known: np.ndarray, known_metre: np.ndarray, codec: Codec
) -> np.ndarray:
    """The distance of each window from the nearest known one of the same metres, in the nearest of all keys.

    The distance is that of `mean_distance`. Every pitch of the known window is moved by -6 to 6 semitones.

    Args:
        tokens: int[window, measure, slot, field].
        metre: int[window, measure, 2].
        known: int[known, measure, slot, field].
        known_metre: int[known, measure, 2].
        codec: of both.

    Returns:
        float64[window], from 0 to 1; NaN where no known window has the same metres.
    """
    kind = strata_of(np.concatenate([metre, known_metre]))
    distances = np.full(len(tokens), np.nan)
    for stratum in np.unique(kind[: len(tokens)]):
        rows, others = np.flatnonzero(kind[: len(tokens)] == stratum), np.flatnonzero(kind[len(tokens) :] == stratum)
        if len(others):
            padded = _to_power_of_two(others)  # so that few shapes are compiled
            own, there = (
                (_narrow(part), _narrow(codec.is_onset(part)), _existing(part, when, codec))
                for part, when in (
                    (tokens[_to_power_of_two(rows)], metre[_to_power_of_two(rows)]),
                    (known[padded], known_metre[padded]),
                )
            )
            distances[rows] = np.asarray(_nearest(*own, *there))[: len(rows)]
    return distances


@partial(jax.jit)
def _nearest(
    tokens: Array, onset: Array, exists: Array, known: Array, known_onset: Array, known_exists: Array
) -> Array:
    """float[window] from int16[window, token], bool[window, token] twice, and the same of the known windows."""

    def one(window: tuple[Array, Array, Array]) -> Array:
        own, own_onset, own_exists = window
        both = own_exists & known_exists
        same = (both & ~own_onset & ~known_onset & (own == known)).sum(1)
        interval = jnp.where(both & own_onset & known_onset, own - known, jnp.int16(_INTERVAL))
        moved = jnp.stack([(interval == semitones).sum(1) for semitones in TRANSPOSITIONS]).max(0)
        return 1 - ((same + moved) / jnp.maximum((own_exists | known_exists).sum(1), 1)).max()

    return jax.lax.map(one, (tokens, onset, exists))


def _existing(tokens: np.ndarray, metre: np.ndarray, codec: Codec) -> np.ndarray:
    """The tokens that windows have: bool[window, token]."""
    mask = until_end(tokens, codec.slot_mask(metre), codec.fields)
    return np.asarray(existing_fields(tokens, mask, codec.fields)).reshape(len(tokens), -1)


def _narrow(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), -1)
    return flat if flat.dtype == bool else flat.astype(np.int16)


def _to_power_of_two(rows: np.ndarray) -> np.ndarray:
    """Rows, the last one repeated."""
    return np.concatenate([rows, np.repeat(rows[-1:], (1 << (len(rows) - 1).bit_length()) - len(rows))])
