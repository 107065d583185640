"""Music in and out of files, and between scores and tokens. Uses NumPy and music libraries, never JAX."""

import dataclasses

from musicvae_jax.codec.abc import Tune, parse_abc, read_abc, write_abc
from musicvae_jax.codec.base import Codec, Encoded, WindowNotes, kept_shares
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.files import format_refusals, read_score, read_scores, read_whole, write_score
from musicvae_jax.codec.grid_codec import MelodyCodec, VoicesCodec
from musicvae_jax.codec.midi import read_midi, write_midi
from musicvae_jax.codec.musicxml import read_musicxml
from musicvae_jax.codec.musicxml_write import write_musicxml
from musicvae_jax.codec.performance import PerformanceCodec
from musicvae_jax.codec.score import DEFAULT_VELOCITY, TICKS_PER_QUARTER, Metre, Part, Score, check_score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.config import CodecConfig

__all__ = [
    "DEFAULT_VELOCITY",
    "TICKS_PER_QUARTER",
    "Codec",
    "Encoded",
    "MelodyCodec",
    "Metre",
    "MusicError",
    "Part",
    "PerformanceCodec",
    "Score",
    "Tune",
    "VoicesCodec",
    "WindowNotes",
    "check_score",
    "format_refusals",
    "kept_shares",
    "make_codec",
    "parse_abc",
    "read_abc",
    "read_midi",
    "read_musicxml",
    "read_score",
    "read_scores",
    "read_whole",
    "select_track",
    "write_abc",
    "write_midi",
    "write_musicxml",
    "write_score",
]

_CODECS: dict[str, type[Codec]] = {kind.name: kind for kind in (MelodyCodec, VoicesCodec, PerformanceCodec)}


def make_codec(config: CodecConfig) -> Codec:
    """The codec of a config; raises `ConfigError` for subdivisions that make no grid."""
    kind = _CODECS[config.name]
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
