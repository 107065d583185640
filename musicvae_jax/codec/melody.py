"""`MelodyCodec`: one voice on a grid. A slot holds, rests or starts a note."""

import dataclasses

from musicvae_jax.codec.grid_codec import FIRST_PITCH, HOLD, NUM_PITCHES, REST, GridCodec
from musicvae_jax.codec.score import Score
from musicvae_jax.types import Field

__all__ = ["FIRST_PITCH", "HOLD", "NUM_PITCHES", "REST", "MelodyCodec"]


@dataclasses.dataclass(frozen=True)
class MelodyCodec(GridCodec):
    """Melodies: the notes of all tracks, of which no two may sound together. See `GridCodec` for tokens and settings.

    Example:
        >>> encoded = MelodyCodec().encode(read_score("tune.abc")[0])
    """

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("melody", FIRST_PITCH + NUM_PITCHES),)

    def _split(self, score: Score) -> list[Score]:
        return [score]
