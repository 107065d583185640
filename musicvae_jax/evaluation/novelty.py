"""How different samples are from each other, and from the music that a model was trained on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicvae_jax.codec.base import Codec
from musicvae_jax.evaluation.bootstrap import strata_of
from musicvae_jax.types import Array, existing_fields, until_end

TRANSPOSITIONS = range(-6, 7)  # semitones by which known music is moved: all keys
_NONE = 300  # the interval of two tokens that are not both onsets: more than any


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
        total += float(_hamming(flat[others], exists[others], flat[row], exists[row]).sum())
        pairs += len(others)
    return total / pairs if pairs else float("nan")


def token_distances(first: np.ndarray, second: np.ndarray, metre: np.ndarray, codec: Codec) -> np.ndarray:
    """The same distance of each window from another of its metres: float64[window].

    Args:
        first: int[window, measure, slot, field].
        second: int[window, measure, slot, field].
        metre: int[window, measure, 2].
        codec: of the tokens.
    """
    sides = ((tokens.reshape(len(tokens), -1), _existing(tokens, metre, codec)) for tokens in (first, second))
    return _hamming(*next(sides), *next(sides))


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
            own, there = _to_power_of_two(rows), _to_power_of_two(others)  # so that few shapes are compiled
            compared = (_split(tokens[own], metre[own], codec), _split(known[there], known_metre[there], codec))
            distances[rows] = np.asarray(_nearest(*compared))[: len(rows)]
    return distances


class _Tokens(NamedTuple):
    """The tokens of windows; each array is [window, number]."""

    exist: Array  # bool
    rest: Array  # int16, all but onsets; -1 where there is an onset or no token
    pitch: Array  # int16, of the fields with pitches, the onsets; -1 where there is none


@jax.jit
def _nearest(windows: _Tokens, known: _Tokens) -> Array:
    """float[window]."""

    def one(window: _Tokens) -> Array:
        same = ((window.rest == known.rest) & (known.rest >= 0)).sum(1)
        both = (window.pitch >= 0) & (known.pitch >= 0)
        interval = jnp.where(both, window.pitch - known.pitch, jnp.int16(_NONE))
        moved = jnp.stack([(interval == semitones).sum(1) for semitones in TRANSPOSITIONS]).max(0)
        return 1 - ((same + moved) / jnp.maximum((window.exist | known.exist).sum(1), 1)).max()

    return jax.lax.map(one, windows)


def _split(tokens: np.ndarray, metre: np.ndarray, codec: Codec) -> _Tokens:
    exist = _existing(tokens, metre, codec)
    onset = np.asarray(codec.is_onset(tokens)) & exist.reshape(tokens.shape)
    rest = np.where(exist.reshape(tokens.shape) & ~onset, tokens, -1).astype(np.int16)
    pitched = [field.first_pitch is not None for field in codec.fields]
    pitch = np.where(onset, tokens, -1)[..., pitched].astype(np.int16)
    return _Tokens(exist, *(part.reshape(len(tokens), -1) for part in (rest, pitch)))


def _hamming(one: np.ndarray, has: np.ndarray, other: np.ndarray, other_has: np.ndarray) -> np.ndarray:
    """Of the tokens that one of two windows has, the share that is not the same in both: float64[...]."""
    same, either = (one == other) & has & other_has, has | other_has
    return (either & ~same).sum(-1) / np.maximum(either.sum(-1), 1)


def _existing(tokens: np.ndarray, metre: np.ndarray, codec: Codec) -> np.ndarray:
    """The tokens that windows have: bool[window, token]."""
    mask = until_end(tokens, codec.slot_mask(metre), codec.fields)
    return np.asarray(existing_fields(tokens, mask, codec.fields)).reshape(len(tokens), -1)


def _to_power_of_two(rows: np.ndarray) -> np.ndarray:
    """Rows, the last one repeated."""
    return np.concatenate([rows, np.repeat(rows[-1:], (1 << (len(rows) - 1).bit_length()) - len(rows))])
