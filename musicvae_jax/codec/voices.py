"""`VoicesCodec`: several voices on a grid. In a slot each voice holds, rests or starts a note."""

import dataclasses

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.grid import number_voices
from musicvae_jax.codec.grid_codec import FIRST_PITCH, NUM_PITCHES, GridCodec
from musicvae_jax.codec.score import TRACK, Part, Score
from musicvae_jax.config import ConfigError
from musicvae_jax.types import Field


@dataclasses.dataclass(frozen=True)
class VoicesCodec(GridCodec):
    """Voices, each of which is a melody by `MelodyCodec`'s rules. See `GridCodec` for tokens and settings.

    Voice n is track n of the score. Where a track lies beyond the last voice, the tracks with notes are numbered in
    their order instead; more of them than voices are refused. Decoded notes have the voice as their track.

    Attributes:
        voices: how many, a field each.

    Raises:
        ConfigError: as `GridCodec`, or for voices < 1.
    """

    voices: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.voices < 1:
            raise ConfigError(f"voices is {self.voices}; allowed: 1 and up")

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(f"voice{number}", FIRST_PITCH + NUM_PITCHES) for number in range(self.voices))

    def _split(self, score: Score) -> list[Score]:
        voice = number_voices(score.notes[:, TRACK], self.voices)
        if len(voice) and voice.max() >= self.voices:
            detail = f"{len(np.unique(voice))} tracks have notes; allowed: up to {self.voices}"
            raise MusicError(score.source, "tracks", "voices", detail)
        return [dataclasses.replace(score, notes=score.notes[voice == number]) for number in range(self.voices)]

    def _parts(self, score: Score) -> tuple[Part, ...]:
        return voice_parts(score, number_voices(score.notes[:, TRACK], self.voices))


def voice_parts(score: Score, voice: np.ndarray) -> tuple[Part, ...]:
    """What plays each voice, of the voice int[note] that every note of the score got."""
    parts = dict(enumerate(score.parts))
    if (voice != score.notes[:, TRACK]).any():
        first = {int(number): int(track) for number, track in zip(voice[::-1], score.notes[::-1, TRACK], strict=True)}
        parts = {number: parts[track] for number, track in first.items() if track in parts}
    return tuple(parts.get(number, Part()) for number in range(max(parts, default=-1) + 1))
