"""`Codec`: what all codecs do. They turn music into tokens and back, and answer questions about tokens."""

import abc
import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.grid import parse_subdivisions
from musicvae_jax.codec.score import Metre, Score, sort_notes
from musicvae_jax.config import CodecConfig
from musicvae_jax.types import Field

SAME_VELOCITY = 2  # of 127: a smaller change of velocity is not counted as one


class Encoded(NamedTuple):
    """A whole piece as tokens."""

    tokens: np.ndarray  # int32[measure, slot, field], 0 where masked
    mask: np.ndarray  # bool[measure, slot]
    metre: np.ndarray  # int32[measure, 2]
    dropped: dict[str, int]  # reason -> number of notes that lost something; see the codec's `encode`


class WindowNotes(NamedTuple):
    """The notes of a batch of windows, sorted by (row, measure, onset, pitch, track)."""

    row: np.ndarray  # int64[note], the window
    measure: np.ndarray  # int64[note], the measure of the window in which the note starts
    onset: np.ndarray  # int64[note], ticks from the start of that measure
    duration: np.ndarray  # int64[note], ticks
    pitch: np.ndarray  # int64[note], MIDI
    velocity: np.ndarray  # int64[note], 1-127
    track: np.ndarray  # int64[note], voice or track


class Codec(abc.ABC):
    """Turns music into tokens and back: decode(encode(score)) is the nearest score that the codec can hold.

    Subclasses are frozen dataclasses: codecs of equal settings are equal, and can key a cache.

    Raises:
        ConfigError: when built from settings that `CodecConfig` or `parse_subdivisions` refuse.
    """

    name: ClassVar[str]  # in `CodecConfig`
    subdivisions: tuple[str, ...]
    slots: int  # of a measure

    def __post_init__(self) -> None:
        CodecConfig(name=self.name, **dataclasses.asdict(self))  # type: ignore[call-overload, arg-type]
        parse_subdivisions(self.subdivisions)

    @property
    @abc.abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """The categorical variables of a slot, in the order in which the decoder predicts them."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Grid positions inside a quarter, in ticks."""
        return parse_subdivisions(self.subdivisions)

    @abc.abstractmethod
    def encode(self, score: Score) -> Encoded:
        """The tokens of a whole piece."""

    def decode(
        self,
        tokens: np.ndarray,
        metre: np.ndarray,
        *,
        tempo: float = 120.0,
        fifths: int | None = None,
        mode: str = "",
        title: str = "",
    ) -> Score:
        """The score of tokens; all tokens of the vocabulary decode.

        Args:
            tokens: int[measure, slot, field]; slots that a measure does not have are ignored.
            metre: int[measure, 2]; padding measures (0, 0) are left out.
            tempo, fifths, mode, title: as in `Score`.

        Raises:
            MusicError: "token" outside the vocabulary, "metre" that does not fit, "invalid" shapes.
        """
        tokens, metre = np.asarray(tokens), np.asarray(metre)
        num_fields = len(self.fields)
        if tokens.ndim != 3 or tokens.shape[2] != num_fields or metre.shape != (len(tokens), 2):
            allowed = f"[measure, slot, {num_fields}] with [measure, 2]"
            detail = f"tokens {tokens.shape} with metre {metre.shape}; allowed: {allowed}"
            raise MusicError("tokens", "shape", "invalid", detail)
        real = metre.any(1)
        tokens, metre = tokens[real], metre[real]
        mask = self.slot_mask(metre)
        tokens = _fit(tokens, mask, metre)
        for number, field in enumerate(self.fields):
            values = tokens[..., number][mask]
            if values.size and not 0 <= values.min() <= values.max() < field.size:
                detail = f"{field.name} {values.min()} to {values.max()}; allowed: 0 to {field.size - 1}"
                raise MusicError("tokens", "vocabulary", "token", detail)
        _, measure, onset, *rest = self.notes(tokens[None], mask[None], metre[None])
        lengths = np.array([Metre(*row).ticks for row in metre.tolist()], np.int64)
        starts = np.cumsum(lengths) - lengths
        notes = np.stack([starts[measure] + onset, *rest], axis=1)
        measures = np.concatenate([starts[:, None], metre], axis=1).astype(np.int32)
        return Score(sort_notes(notes), measures, tempo=tempo, fifths=fifths, mode=mode, title=title)

    @abc.abstractmethod
    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        """The notes of windows; a note ends at the latest with its window.

        Args:
            tokens: int[row, measure, slot, field].
            mask: bool[row, measure, slot].
            metre: int[row, measure, 2]; padding measures (0, 0) come last.
        """

    @abc.abstractmethod
    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that measures may have: int[..., measure, 2] to bool[..., measure, slot]; none for (0, 0).

        A field with an `end` may end a measure earlier. Raises `MusicError` "metre" for a metre that does not fit.
        """

    @abc.abstractmethod
    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        """bool, the shape of tokens [..., slot, field]: True at the pitch of each note; masked slots are not excluded.

        Works on NumPy and JAX arrays.
        """

    @abc.abstractmethod
    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The first slot that each measure of a piece must have in a window that starts with the measure.

        int32[measure, field] of tokens int32[measure, slot, field] and mask bool[measure, slot]. If the codec can say
        so, a note that sounds across the bar line starts anew.
        """

    def pitch_range(self, tokens: np.ndarray) -> tuple[int, int] | None:
        """The lowest and the highest MIDI pitch of tokens int[..., slot, field]; None without notes."""
        first = next(field.first_pitch for field in self.fields if field.first_pitch is not None)
        pitches = tokens[self.is_onset(tokens)] - first
        return (int(pitches.min()), int(pitches.max())) if pitches.size else None

    def transpose(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """Moves all pitches of tokens int[..., slot, field]; raises `MusicError` "range" if one would leave 0-127."""
        bounds = self.pitch_range(tokens)
        if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones <= 127:
            detail = f"pitches {bounds[0]} to {bounds[1]} moved by {semitones}; allowed: 0 to 127"
            raise MusicError("tokens", "transpose", "range", detail)
        return np.where(self.is_onset(tokens), tokens + semitones, tokens).astype(tokens.dtype)

    @property
    @abc.abstractmethod
    def num_voices(self) -> int:
        """Voices or tracks, which `silence` tells apart."""

    @abc.abstractmethod
    def sounding(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The voices that have notes: bool[row, voice] of windows as in `notes`."""

    @abc.abstractmethod
    def silence(self, tokens: np.ndarray, mask: np.ndarray, silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows as in `notes` without the notes of the voices in silent bool[row, voice]: new tokens and mask."""

    @property
    def has_velocities(self) -> bool:
        """Whether tokens say how loud notes are."""
        return any(field.name == "velocity" for field in self.fields)

    def scale_velocities(self, tokens: np.ndarray, mask: np.ndarray, limit: float, draws: np.ndarray) -> np.ndarray:
        """Windows as in `notes`, each with its velocities scaled by one factor. For codecs with `has_velocities`.

        Args:
            tokens, mask: the windows.
            limit: factors lie in [1 / (1 + limit), 1 + limit], narrowed so that the factor clips no velocity.
            draws: float[row] in [0, 1), where log(factor) lies between the ends of that range.
        """
        raise NotImplementedError(f"{self} has no velocities")

    @property
    def onset_positions(self) -> int:
        """Grid positions of a measure between which `move_onsets` moves onsets; 0 if it cannot."""
        return 0

    def move_onsets(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Windows as in `notes` with onsets moved by one grid step. For codecs with `onset_positions`.

        All notes of an onset move together, and only if two steps on that side are free: then no two onsets meet or
        pass each other.

        Args:
            tokens, mask, metre: the windows.
            steps: int[row, measure, position], -1, 0 or 1: the move wanted for an onset at that position.
        """
        raise NotImplementedError(f"{self} cannot move onsets")


def _fit(tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> np.ndarray:
    """Tokens with as many slots as the mask; raises `MusicError` "metre" where a measure needs more than they have."""
    wanted, given = mask.shape[1], tokens.shape[1]
    lacking = mask[:, given:].any(1)
    if lacking.any():
        number = int(lacking.argmax())
        detail = f"{Metre(*metre[number].tolist())} needs {mask[number].sum()} slots; the tokens have {given}"
        raise MusicError("tokens", f"measure {number + 1}", "metre", detail)
    return np.pad(tokens[:, :wanted], ((0, 0), (0, max(wanted - given, 0)), (0, 0)))


def kept_shares(scores: Iterable[Score], codec: Codec) -> dict[str, float]:
    """The shares of music that a codec keeps, from the counts of its `encode`.

    Returns:
        ``pieces``: pieces that the codec takes; of their notes ``notes``: those that are kept, ``onsets``: kept with
        their exact onset, ``velocities``: kept with their velocity within `SAME_VELOCITY`. A share of nothing is 1.
    """
    pieces, taken, notes = 0, 0, 0
    dropped: Counter[str] = Counter()
    for score in scores:
        pieces += 1
        try:
            counts = codec.encode(score).dropped
        except MusicError:
            continue
        taken += 1
        notes += len(score.notes)
        dropped.update(counts)
    kept = notes - dropped["collision"] - dropped["slots"]
    shares = {"notes": kept, "onsets": kept - dropped["off_grid"], "velocities": kept - dropped["velocity"]}
    return {"pieces": taken / pieces if pieces else 1.0} | {
        name: count / notes if notes else 1.0 for name, count in shares.items()
    }
