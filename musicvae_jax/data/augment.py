"""Augmentation: training windows changed at random, as tokens, into music that is as good.

What each one changes, and what it keeps:

- transposition: the mean pitch moves. Everything else stays.
- velocity scaling: the dynamics are scaled, to the nearest level of loudness. Everything else stays, and of two notes
  the louder one stays at least as loud.
- voice dropout: voices fall silent. The metre stays, and every note of the voices that remain.
- timing jitter: onsets move by one grid step inside their measure. Their order stays, so the note density, pitch, pitch
  classes and scale do, and the mean and spread of velocity.

Tempo is no part of a token: a change of tempo would change nothing, so it is the timing that is jittered.
All draws are functions of (seed, position in the endless order of windows).
"""

import dataclasses

import numpy as np

from musicvae_jax.codec.base import Codec
from musicvae_jax.codec.grid import lay_out, nearest
from musicvae_jax.codec.performance import FIRST_POSITION, PerformanceCodec
from musicvae_jax.config import ConfigError
from musicvae_jax.data.random_bits import TIMING, TRANSPOSITION, VELOCITY, VOICES, random_bits, uniform
from musicvae_jax.types import Batch, until_end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much; 0 is off. The fields of `DataConfig` of the same names.

    Attributes:
        transpose: most semitones, up or down.
        velocity_scale: velocities are scaled by a factor between 1 / (1 + this) and 1 + this.
        voice_dropout: probability that a voice (of a performance: a track) is silenced; one that sounds always stays.
        timing_jitter: probability that an onset of a performance moves.

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
        """Refuses what the codec's tokens cannot show; raises `ConfigError`."""
        names = {field.name for field in codec.fields}
        performance = isinstance(codec, PerformanceCodec)
        for name, possible, wanted in (
            ("velocity_scale", "velocity" in names, "a codec with velocities"),
            ("voice_dropout", "track" in names if performance else len(names) > 1, "a codec of several voices"),
            ("timing_jitter", performance, "codec 'performance'"),
        ):
            value = getattr(self, name)
            if value and not possible:
                raise ConfigError(f"DataConfig.{name} = {value}: allowed is 0, or {wanted}; this one is {codec}")


def augment(
    batch: Batch, codec: Codec, settings: Augmentation, *, seed: int, positions: np.ndarray, pitches: np.ndarray
) -> Batch:
    """Windows, changed at random.

    Args:
        batch: the windows, without attributes.
        codec: of their tokens.
        settings: how much.
        seed: of the draws.
        positions: int64[batch], where the windows stand in the endless order: each has its own draws.
        pitches: int[batch, 2], the lowest and highest pitch of the pieces that windows come from; transposition keeps
            these within MIDI's.
    """
    if settings.voice_dropout:
        batch = _drop_voices(batch, codec, uniform(seed, VOICES, positions, _num_voices(codec)), settings.voice_dropout)
    if settings.transpose:
        batch = _transpose(batch, codec, _semitones(seed, positions, settings.transpose, *pitches.T.astype(np.int64)))
    if settings.velocity_scale:
        batch = _scale_velocity(batch, codec, uniform(seed, VELOCITY, positions, 1)[:, 0], settings.velocity_scale)
    if settings.timing_jitter:
        batch = _jitter(batch, codec, seed, positions, settings.timing_jitter)
    return batch


def _transpose(batch: Batch, codec: Codec, semitones: np.ndarray) -> Batch:
    tokens = batch.tokens.copy()
    for shift in np.unique(semitones):
        rows = semitones == shift
        tokens[rows] = codec.transpose(tokens[rows], int(shift))
    return batch._replace(tokens=tokens)


def _semitones(seed: int, positions: np.ndarray, limit: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Uniform transpositions within [-limit, limit] and the range of MIDI pitches, a function of (seed, position)."""
    lowest, highest = np.maximum(-limit, -low), np.minimum(limit, 127 - high)
    bits = random_bits(seed, TRANSPOSITION, positions.astype(np.uint64))
    return lowest + (bits % (highest - lowest + 1).astype(np.uint64)).astype(np.int64)


def _scale_velocity(batch: Batch, codec: Codec, draws: np.ndarray, most: float) -> Batch:
    """Scales each window's velocities by a factor uniform in its logarithm, narrowed to keep the loudest unclipped."""
    assert isinstance(codec, PerformanceCodec)
    column, notes = _column(codec, "velocity"), _is_note(batch, codec)
    levels = codec.levels
    velocity = levels[batch.tokens[..., column]]
    loudest = np.where(notes, velocity, levels[0]).max((1, 2))
    quietest = np.where(notes, velocity, levels[-1]).min((1, 2))
    low = np.log(np.maximum(1 / (1 + most), levels[0] / quietest))
    high = np.log(np.minimum(1 + most, levels[-1] / loudest))
    factor = np.exp(low + draws * (high - low))
    tokens = batch.tokens.copy()
    scaled = nearest(levels, velocity * factor[:, None, None])
    tokens[..., column] = np.where(notes, scaled, tokens[..., column])
    return batch._replace(tokens=tokens)


def _drop_voices(batch: Batch, codec: Codec, draws: np.ndarray, probability: float) -> Batch:
    """Silences voices by their draws, float64[batch, voice]; of those that sound, the highest draw always stays."""
    sounding = _sounding(batch, codec, draws.shape[1])
    last = np.where(sounding, draws, -1).argmax(1)
    dropped = draws < probability
    dropped[np.arange(len(draws)), last] = False
    if not isinstance(codec, PerformanceCodec):
        return batch._replace(tokens=np.where(dropped[:, None, None], 0, batch.tokens))  # HOLD, of nothing
    notes, rows = _is_note(batch, codec), np.arange(len(draws))[:, None, None]
    gone = notes & dropped[rows, batch.tokens[..., _column(codec, "track")]]
    # Notes that stay move up, and END behind them; what is masked is all zeros.
    order = np.argsort(np.where(notes & ~gone, 0, 1), axis=2, kind="stable")
    tokens = np.take_along_axis(np.where(gone[..., None], 0, batch.tokens), order[..., None], axis=2)
    mask = until_end(tokens, np.broadcast_to(batch.mask.any(2, keepdims=True), batch.mask.shape), codec.fields)
    return batch._replace(tokens=np.where(mask[..., None], tokens, 0), mask=mask)


def _sounding(batch: Batch, codec: Codec, num_voices: int) -> np.ndarray:
    """The voices that have a note: bool[batch, voice]."""
    if not isinstance(codec, PerformanceCodec):
        return (codec.is_onset(batch.tokens) & batch.mask[..., None]).any((1, 2))
    row, measure, slot = np.nonzero(_is_note(batch, codec))
    sounding = np.zeros((len(batch.tokens), num_voices), bool)
    sounding[row, batch.tokens[row, measure, slot, _column(codec, "track")]] = True
    return sounding


def _jitter(batch: Batch, codec: Codec, seed: int, positions: np.ndarray, probability: float) -> Batch:
    """Moves onsets by a grid step, all the notes of an onset together, where two steps on that side are free.

    Two onsets then never meet or pass, wherever their neighbours go, and slots stay in order.
    """
    assert isinstance(codec, PerformanceCodec)
    allowed = lay_out(codec.offsets, batch.metre, codec.positions, source="tokens", unit="positions").mask
    notes = _is_note(batch, codec)
    row, measure, slot = np.nonzero(notes)
    place = batch.tokens[row, measure, slot, 0] - FIRST_POSITION
    taken = np.zeros((*allowed.shape[:2], codec.positions + 4), bool)  # two free ones on either side
    taken[row, measure, place + 2] = True
    free = np.pad(allowed, ((0, 0), (0, 0), (1, 1))) & ~taken[..., 1:-1]
    earlier, later = free[..., :-2] & ~taken[..., :-4], free[..., 2:] & ~taken[..., 4:]
    draws = uniform(seed, TIMING, positions, allowed.shape[1] * codec.positions).reshape(allowed.shape)
    shift = np.where(draws < probability / 2, -1 * earlier, np.where(draws >= 1 - probability / 2, 1 * later, 0))
    tokens = batch.tokens.copy()
    tokens[row, measure, slot, 0] += shift[row, measure, place].astype(tokens.dtype)
    return batch._replace(tokens=tokens)


def _num_voices(codec: Codec) -> int:
    return codec.tracks if isinstance(codec, PerformanceCodec) else len(codec.fields)


def _column(codec: Codec, name: str) -> int:
    return [field.name for field in codec.fields].index(name)


def _is_note(batch: Batch, codec: Codec) -> np.ndarray:
    """bool[batch, measure, slot], of a codec whose slots are notes."""
    return batch.mask & (batch.tokens[..., 0] != codec.fields[0].end)
