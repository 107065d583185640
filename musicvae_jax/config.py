"""The configuration: a tree of frozen dataclasses, validated when built, JSON both ways.

An experiment is a value of `Config`; a variant of it is ``dataclasses.replace``. Every error is raised here, when the
value is built, and quotes the value and what is allowed.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """What a user can mend: the message says what is wrong and what is allowed. Scripts print it as one line."""


class ConfigError(UserError):
    """A configuration that cannot work; the message quotes the value and what is allowed."""


def _check(holds: bool, name: str, value: Any, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value!r}: allowed is {allowed}")


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        _check(getattr(config, name) > 0, f"{type(config).__name__}.{name}", getattr(config, name), "a number above 0")


def _check_not_negative(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(value >= 0, f"{type(config).__name__}.{name}", value, "0 or more")


def _check_probability(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _check(0 <= value < 1, f"{type(config).__name__}.{name}", value, "0 <= value < 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """How music becomes tokens."""

    name: Literal["melody", "voices", "performance"] = "melody"
    """melody: one voice on a grid; voices: several; performance: a list of notes, for polyphony with dynamics."""
    subdivisions: tuple[str, ...] = ("0", "1/4", "1/2", "3/4")
    """Grid positions inside a quarter; with triplets: 0 1/4 1/3 1/2 2/3 3/4."""
    slots: int = 18
    """melody, voices: grid positions of the longest measure that fits; on the default grid 4/4 takes 16, 6/8 12,
    9/8 18. performance: one more than the most notes of a measure."""
    voices: int = 4
    """voices only: how many."""
    positions: int = 72
    """performance only: grid positions of the longest measure that fits; on a grid of twelfths 4/4 takes 48."""
    longest: int = 16
    """performance only: longest duration, in quarters."""
    velocities: int = 32
    """performance only: number of loudness levels, up to 64; 1 leaves loudness out."""
    tracks: int = 1
    """performance only: number of tracks; 1 makes one of all."""

    def __post_init__(self) -> None:
        _check_positive(self, "slots", "voices", "positions", "longest", "velocities", "tracks")
        _check(self.velocities <= 64, "CodecConfig.velocities", self.velocities, "1 to 64")
        least = 2 if self.name == "performance" else 1
        _check(self.slots >= least, "CodecConfig.slots", self.slots, f"{least} and up, for codec {self.name!r}")


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
        _check_positive(self, "measures", "hop", "min_measures")
        _check_not_negative(self, "transpose", "velocity_scale", "num_workers")
        _check_probability(self, "voice_dropout", "timing_jitter")
        _check(
            self.min_measures <= self.measures,
            "DataConfig.min_measures",
            self.min_measures,
            f"at most measures = {self.measures}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes of the VAE."""

    dim: int = 192
    """Width of every transformer layer."""
    num_heads: int = 6
    mlp_ratio: int = 4
    encoder_slot_layers: int = 2
    """Bidirectional layers inside each measure."""
    encoder_measure_layers: int = 2
    """Bidirectional layers across measures."""
    conductor_layers: int = 1
    """Bidirectional layers across measures that turn the latents into one condition per measure."""
    decoder_layers: int = 4
    """Causal layers of the decoder."""
    global_dim: int = 128
    """Width of the latent that spans the whole window."""
    dropout: float = 0.0
    """Dropout on the output of every attention and feed-forward layer."""
    token_dropout: float = 0.0
    """Share of past slots hidden from the decoder in training, so that it asks the latent (Bowman et al. 2016)."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """What layers compute in; parameters stay float32 or wider."""
    remat: bool = False
    """Recompute activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        _check_positive(self, "dim", "num_heads", "mlp_ratio", "decoder_layers", "global_dim")
        _check_not_negative(self, "encoder_slot_layers", "encoder_measure_layers", "conductor_layers")
        _check_probability(self, "dropout", "token_dropout")
        _check(
            self.dim % (2 * self.num_heads) == 0,
            "ModelConfig.dim",
            self.dim,
            f"a multiple of 2 x num_heads = {2 * self.num_heads}",
        )

    @property
    def widths(self) -> dict[str, int]:
        """The latent levels that are on, coarse to fine, with their widths."""
        return {"global": self.global_dim}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss: nll + beta * KL, both summed in nats."""

    beta: float = 1.0
    """Weight of the KL (Higgins et al. 2017); 1 is the ELBO."""
    beta_warmup_steps: int = 0
    """Steps over which beta rises linearly from 0."""

    def __post_init__(self) -> None:
        _check_not_negative(self, "beta", "beta_warmup_steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimiser, the devices and the rhythm of logging, evaluation and checkpoints."""

    num_steps: int = 2000
    batch_size: int = 64
    """Windows in a step, over all devices and processes."""
    accumulate: int = 1
    """Microbatches whose gradients are averaged before an update: less memory, same result."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    """The peak, reached after warmup_steps, then a cosine down to final_learning_rate x the peak."""
    warmup_steps: int = 100
    final_learning_rate: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Gradients are clipped to this global norm; it is stated against the loss per token."""
    adam_b2: float = 0.98
    ema_decay: float = 0.995
    """Decay of the moving average of the parameters that evaluation uses; 0 turns it off."""
    parallel: Literal["pmap", "jit"] = "jit"
    """How the step is spread over devices: both give the same numbers."""
    num_devices: int = 0
    """Local devices used; 0 uses all."""
    seed: int = 0
    log_every: int = 10
    eval_every: int = 500
    """Steps between short evaluations on the validation split, which choose the best checkpoint."""
    eval_examples: int = 256
    """Windows in such a short evaluation."""
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        _check_positive(self, "num_steps", "batch_size", "accumulate", "learning_rate", "clip_norm")
        _check_positive(self, "log_every", "eval_every", "eval_examples", "checkpoint_every")
        _check_not_negative(self, "warmup_steps", "final_learning_rate", "weight_decay", "num_devices", "seed")
        _check_probability(self, "ema_decay", "adam_b2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment."""

    codec: CodecConfig = CodecConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    train: TrainConfig = TrainConfig()


def to_json(config: Config) -> str:
    """The config as indented JSON that `from_json` reads back to an equal value."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config that `to_json` wrote.

    Raises:
        ConfigError: for text that is not JSON, an unknown field (with the nearest names) or a value of another type.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the config is not JSON: {error}") from error
    return _build(Config, tree, "config")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A sentence with the known names nearest to an unknown one, for error messages."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def check_seed(seed: int) -> None:
    """Refuses a negative seed."""
    _check(seed >= 0, "seed", seed, "0 or more")


def differences(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configs differ: dotted name -> (first, second)."""
    return dict(_differences(dataclasses.asdict(first), dataclasses.asdict(second), ""))


def _differences(first: dict, second: dict, prefix: str) -> typing.Iterator[tuple[str, tuple[Any, Any]]]:
    for name, value in first.items():
        if isinstance(value, dict):
            yield from _differences(value, second[name], f"{prefix}{name}.")
        elif value != second[name]:
            yield prefix + name, (value, second[name])


def _build(kind: type[T], tree: Any, place: str) -> T:
    if not isinstance(tree, dict):
        raise ConfigError(f"{place} = {tree!r}: allowed is an object with the fields of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    for name in tree:
        if name not in hints:
            raise ConfigError(f"{place} has no field {name!r}: {nearest(name, hints)}")
    return kind(**{name: _convert(hints[name], value, f"{place}.{name}") for name, value in tree.items()})


def _convert(hint: Any, value: Any, place: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, place)
    if origin is Literal:
        _check(value in typing.get_args(hint), place, value, " or ".join(map(repr, typing.get_args(hint))))
        return value
    if origin is tuple:
        _check(isinstance(value, list | tuple), place, value, "a list")
        return tuple(_convert(typing.get_args(hint)[0], item, place) for item in value)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _convert(typing.get_args(hint)[0], value, place)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _check(type(value) is hint, place, value, f"a value of type {hint.__name__}")
    _check(not isinstance(value, float) or math.isfinite(value), place, value, "a finite number")
    return value
