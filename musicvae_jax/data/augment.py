"""Augmentation: random changes of training windows, made on tokens, that leave the music as good as before.

- transposition changes the mean pitch and nothing else.
- velocity scaling changes the dynamics and nothing else. Velocities go to the nearest level; the order of two
  velocities is never reversed.
- voice dropout removes all notes of some voices. Metre and other voices stay.
- timing jitter moves onsets by one grid step inside their measure. Their order stays, and so do note density, pitch,
  pitch classes, scale, and mean and standard deviation of velocity.

Tempo is not part of the tokens, hence no augmentation. All draws are functions of (seed, position), where position
counts the windows of the endless training order.
"""

import dataclasses

import numpy as np

from musicvae_jax.codec.base import Codec
from musicvae_jax.config import ConfigError
from musicvae_jax.data.random_bits import TIMING, TRANSPOSITION, VELOCITY, VOICES, random_bits, uniform
from musicvae_jax.types import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Amounts; 0 is off. The fields have the names of those of `DataConfig`.

    Attributes:
        transpose: most semitones, up or down.
        velocity_scale: velocities are scaled by a factor between 1 / (1 + velocity_scale) and 1 + velocity_scale.
        voice_dropout: probability that a voice or track is silenced; at least one that has notes stays.
        timing_jitter: probability that an onset moves.

    Raises:
        ValueError: when built from a number outside its range.
    """

    transpose: int = 0
    velocity_scale: float = 0.0
    voice_dropout: float = 0.0
    timing_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name, limit in (("transpose", 127), ("velocity_scale", 10), ("voice_dropout", 1), ("timing_jitter", 1)):
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ValueError(f"{name} = {value}: allowed is 0 or more, up to {limit}")

    def check(self, codec: Codec) -> None:
        """Raises `ConfigError` if the codec's tokens cannot be changed in this way."""
        for name, possible, wanted in (
            ("velocity_scale", codec.has_velocities, "a codec with velocities"),
            ("voice_dropout", codec.num_voices > 1, "a codec of several voices"),
            ("timing_jitter", codec.onset_positions > 0, "codec 'performance'"),
        ):
            value = getattr(self, name)
            if value and not possible:
                raise ConfigError(f"DataConfig.{name} = {value}: allowed is 0, or {wanted}; this one is {codec}")


def augment(
    batch: Batch, codec: Codec, settings: Augmentation, *, seed: int, positions: np.ndarray, pitches: np.ndarray
) -> tuple[Batch, np.ndarray]:
    """Changes windows at random; the second result is by how many semitones each was transposed, int64[batch].

    Args:
        batch: the windows, without attributes.
        codec: of their tokens.
        settings: amounts.
        seed: of the draws.
        positions: int64[batch], each window's position in the endless order.
        pitches: int[batch, 2], lowest and highest pitch of the piece of each window; transposition keeps them in 0-127.
    """
    tokens, mask = batch.tokens, batch.mask
    semitones = np.zeros(len(positions), np.int64)
    if settings.voice_dropout:
        draws = uniform(seed, VOICES, positions, codec.num_voices)
        dropped = draws < settings.voice_dropout
        last = np.where(codec.sounding(tokens, mask), draws, -1).argmax(1)  # of the voices with notes
        dropped[np.arange(len(draws)), last] = False
        tokens, mask = codec.silence(tokens, mask, dropped)
    if settings.transpose:
        semitones = _semitones(seed, positions, settings.transpose, *pitches.T.astype(np.int64))
        tokens = tokens.copy()
        for shift in np.unique(semitones):
            rows = semitones == shift
            tokens[rows] = codec.transpose(tokens[rows], int(shift))
    if settings.velocity_scale:
        draws = uniform(seed, VELOCITY, positions, 1)[:, 0]
        tokens = codec.scale_velocities(tokens, mask, settings.velocity_scale, draws)
    if settings.timing_jitter:
        shape = (*mask.shape[:2], codec.onset_positions)
        draws = uniform(seed, TIMING, positions, shape[1] * shape[2]).reshape(shape)
        half = settings.timing_jitter / 2
        steps = np.where(draws < half, -1, np.where(draws >= 1 - half, 1, 0))
        tokens = codec.move_onsets(tokens, mask, batch.metre, steps)
    return batch._replace(tokens=tokens, mask=mask), semitones


def _semitones(seed: int, positions: np.ndarray, limit: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Uniform in [-limit, limit], narrowed so that the pitches low to high stay in 0-127; int64[batch]."""
    lowest, highest = np.maximum(-limit, -low), np.minimum(limit, 127 - high)
    bits = random_bits(seed, TRANSPOSITION, positions.astype(np.uint64))
    return lowest + (bits % (highest - lowest + 1).astype(np.uint64)).astype(np.int64)
