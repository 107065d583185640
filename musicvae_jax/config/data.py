"""Which music, and how it becomes tokens."""

import dataclasses
from typing import Literal

from musicvae_jax.config.checks import check, check_not_negative, check_positive, check_probability, check_types


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """How music becomes tokens. The codec classes take their defaults and their limits from here."""

    name: Literal["melody", "voices", "performance"] = "melody"
    """melody: one voice on a grid; voices: several voices on a grid; performance: a list of notes with loudness."""
    subdivisions: tuple[str, ...] = ("0", "1/4", "1/2", "3/4")
    """Grid positions inside a quarter; with triplets: 0 1/4 1/3 1/2 2/3 3/4."""
    slots: int = 18
    """Slots of a measure. melody, voices: grid positions of the longest measure; on the default grid 4/4 takes 16,
    6/8 12, 9/8 18. performance: one more than the most notes of a measure."""
    voices: int = 4
    """voices only: number of voices."""
    positions: int = 72
    """performance only: grid positions of the longest measure; on a grid of twelfths 4/4 takes 48, 12/8 72."""
    longest: int = 16
    """performance only: longest duration, in quarters."""
    velocities: int = 32
    """performance only: number of loudness levels, up to 64; 1 leaves loudness out."""
    tracks: int = 1
    """performance only: number of tracks; 1 joins all tracks."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "slots", "voices", "positions", "longest", "velocities", "tracks")
        check(self.velocities <= 64, "CodecConfig.velocities", self.velocities, "1 to 64")
        least = 2 if self.name == "performance" else 1
        check(self.slots >= least, "CodecConfig.slots", self.slots, f"{least} and up, for codec {self.name!r}")

    @property
    def expected(self) -> tuple[str, ...]:
        """Attributes that are known of the notes that a decoder expects; `control_weight` makes it obey their dims."""
        if self.name != "performance":
            return ("note_density", "mean_pitch", "pitch_class_entropy")
        return ("mean_pitch", "pitch_class_entropy", *(["mean_velocity"] if self.velocities > 1 else []))


_TWELFTHS = ("0", "1/12", "1/6", "1/4", "1/3", "5/12", "1/2", "7/12", "2/3", "3/4", "5/6", "11/12")
PERFORMANCE_CODEC = CodecConfig(name="performance", subdivisions=_TWELFTHS, slots=64)
"""The defaults of `PerformanceCodec`: sixteenths, and triplets of quarters and eighths; up to 63 notes a measure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which music, and how it is cut into windows."""

    dataset: str = "folk_tunes"
    data_dir: str = ""
    """Where prepared data sets live; empty means TFDS's own default."""
    manual_dir: str = ""
    """The folder that a data set is prepared from, where that is the user's own; needed until it is prepared."""
    path: str = ""
    """midi_folder only: the folder of MIDI, ABC and MusicXML."""
    track: str = ""
    """What to take of a piece: empty the whole score; "skyline", a track's number or a part's name, one melody."""
    measures: int = 8
    """Measures in a window."""
    hop: int = 4
    """Measures from one training window to the next of the same piece."""
    min_measures: int = 1
    """Training windows with fewer real measures are left out."""
    transpose: int = 5
    """Training windows are transposed by a random number of semitones in [-transpose, transpose]."""
    velocity_scale: float = 0.0
    """Velocities of training windows are scaled by a random factor in [1 / (1 + this), 1 + this]."""
    voice_dropout: float = 0.0
    """Probability that a voice, or a track of a performance, is silent in a training window; one always stays."""
    timing_jitter: float = 0.0
    """Probability that an onset of a performance moves by one grid step in a training window."""
    attributes: bool = False
    """Batches carry the attributes of their windows, over measures, phrases and the window."""
    num_workers: int = 0
    """Worker processes of the input pipeline; 0 uses threads of this one."""

    def __post_init__(self) -> None:
        check_types(self)
        check_positive(self, "measures", "hop", "min_measures")
        check_not_negative(self, "transpose", "velocity_scale", "num_workers")
        check(self.transpose <= 127, "DataConfig.transpose", self.transpose, "0 to 127 semitones")
        check(self.velocity_scale <= 10, "DataConfig.velocity_scale", self.velocity_scale, "0 to 10")
        check_probability(self, "voice_dropout", "timing_jitter")
        check(
            self.min_measures <= self.measures,
            "DataConfig.min_measures",
            self.min_measures,
            f"at most measures = {self.measures}",
        )
