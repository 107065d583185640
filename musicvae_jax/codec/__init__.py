"""Music in and out of files, and between scores and tokens. NumPy and music libraries; never jax."""

from musicvae_jax.codec.abc import Tune, parse_abc, read_abc
from musicvae_jax.codec.abc_write import write_abc
from musicvae_jax.codec.base import Codec, Encoded, WindowNotes
from musicvae_jax.codec.check import check_score
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.files import format_refusals, read_score, read_scores, read_whole, write_score
from musicvae_jax.codec.kept import kept_shares
from musicvae_jax.codec.melody import MelodyCodec
from musicvae_jax.codec.midi import read_midi, write_midi
from musicvae_jax.codec.musicxml import read_musicxml
from musicvae_jax.codec.musicxml_write import write_musicxml
from musicvae_jax.codec.performance import PerformanceCodec
from musicvae_jax.codec.score import DEFAULT_VELOCITY, TICKS_PER_QUARTER, Metre, Part, Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.codec.voices import VoicesCodec
from musicvae_jax.config import CodecConfig, ConfigError

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


def make_codec(config: CodecConfig) -> Codec:
    """The codec a config names; raises `ConfigError` for a grid that cannot be."""
    subdivisions, slots = tuple(config.subdivisions), config.slots
    if config.name == "melody":
        return MelodyCodec(subdivisions, slots)
    if config.name == "voices":
        return VoicesCodec(subdivisions, slots, config.voices)
    if config.name == "performance":
        return PerformanceCodec(subdivisions, slots, config.positions, config.longest, config.velocities, config.tracks)
    raise ConfigError(f"codec {config.name!r}; allowed: 'melody', 'voices' or 'performance'")
