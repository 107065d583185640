"""Random numbers as functions of (seed, use, counter): the order of work does not change them."""

import numpy as np

ORDER, TRANSPOSITION, VELOCITY, VOICES, TIMING = range(5)  # uses
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def random_bits(seed: int, use: int, counter: np.ndarray) -> np.ndarray:
    """64 random bits of each counter uint64[...], by SplitMix64 (Steele, Lea and Flood 2014): uint64[...].

    Different uses have independent numbers.
    """
    return _mix(_mix(_mix(np.array([seed], np.uint64)) + np.uint64(use)) + counter * _GAMMA)


def uniform(seed: int, use: int, counter: np.ndarray, num: int) -> np.ndarray:
    """Numbers in [0, 1): float64[counter, num] of int[counter]. The first columns do not depend on `num`."""
    bits = random_bits(seed, use, counter.astype(np.uint64))[:, None]
    return (_mix(bits + np.arange(num, dtype=np.uint64) * _GAMMA) >> np.uint64(11)) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = bits + _GAMMA
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
