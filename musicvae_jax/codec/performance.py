"""`PerformanceCodec`: polyphony with dynamics. A measure is a list of notes; a slot says when, what and how loud."""

import dataclasses
import functools

import numpy as np

from musicvae_jax.codec.base import SAME_VELOCITY, Encoded, WindowNotes
from musicvae_jax.codec.check import check_score
from musicvae_jax.codec.decoding import decode
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.grid import lay_out, nearest, number_voices, parse_subdivisions
from musicvae_jax.codec.performance_quantise import quantise
from musicvae_jax.codec.score import (
    DEFAULT_VELOCITY,
    DURATION,
    ONSET,
    PITCH,
    TICKS_PER_QUARTER,
    TRACK,
    VELOCITY,
    Score,
)
from musicvae_jax.codec.voices import voice_parts
from musicvae_jax.config import ConfigError
from musicvae_jax.types import Field, until_end

END = 0  # class 0, so that what is masked, all zeros, says that there is no note
FIRST_POSITION = 1
NUM_PITCHES = 128
_TWELFTHS = ("0", "1/12", "1/6", "1/4", "1/3", "5/12", "1/2", "7/12", "2/3", "3/4", "5/6", "11/12")
_POSITION, _PITCH, _DURATION, _VELOCITY = range(4)  # the numbers of the fields that are there


@dataclasses.dataclass(frozen=True)
class PerformanceCodec:
    """Slot n of a measure is its n-th note, sorted by (position, pitch, track); the slot after the last one is END.

    Fields, in the order in which they are predicted: ``position`` (0 END, 1 + n the n-th grid position of the measure),
    ``pitch`` (MIDI), ``duration`` (a class of `durations`), ``velocity`` (a class of `levels`), ``track``. With one
    velocity or one track that field is left out: it would say nothing, and each token counts in a perplexity.

    Tokens that no encoder writes mean: notes in another order are sorted; a position that the metre does not have is no
    note; of notes of one position, pitch and track one stays, as in `encode`; without END all slots are notes; a note
    ends at the latest with the last measure.

    Attributes:
        subdivisions: positions inside the quarter, as fractions; the default holds sixteenths and triplets of both
            quarters and eighths.
        slots: slots of a measure's row, one more than its most notes.
        positions: grid positions of the longest measure that fits; 4/4 has 48 on the default grid, 12/8 72.
        longest: longest duration, in quarters.
        velocities: number of loudness levels; 1 leaves loudness out, and decoding gives the default velocity.
        tracks: number of tracks; 1 makes one of all.

    Raises:
        ConfigError: when built from a grid that cannot be (see `grid.parse_subdivisions`), or numbers outside what the
            message allows.
    """

    subdivisions: tuple[str, ...] = _TWELFTHS
    slots: int = 64
    positions: int = 72
    longest: int = 16
    velocities: int = 32
    tracks: int = 1

    def __post_init__(self) -> None:
        parse_subdivisions(self.subdivisions)
        for name, low, high in (
            ("slots", 2, None),
            ("positions", 1, None),
            ("longest", 1, None),
            ("velocities", 1, 64),
            ("tracks", 1, None),
        ):
            value = getattr(self, name)
            if value < low or (high and value > high):
                raise ConfigError(f"{name} is {value}; allowed: {low} " + (f"to {high}" if high else "and up"))

    @property
    def fields(self) -> tuple[Field, ...]:
        fields = [
            Field("position", FIRST_POSITION + self.positions, end=END),
            Field("pitch", NUM_PITCHES),
            Field("duration", len(self.durations)),
        ]
        if self.velocities > 1:
            fields.append(Field("velocity", self.velocities))
        if self.tracks > 1:
            fields.append(Field("track", self.tracks))
        return tuple(fields)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Grid positions inside a quarter, in ticks."""
        return parse_subdivisions(self.subdivisions)

    @property
    def durations(self) -> np.ndarray:
        """Ticks of each duration class, int64, ascending.

        The grid positions inside a quarter, then those inside the second quarter, then the same twice, four times, ...
        as long: steps grow with the length, as they do on the page.
        """
        return _durations(self.offsets, self.longest)

    @property
    def levels(self) -> np.ndarray:
        """MIDI velocity of each velocity class, int64, ascending: steps of 128 / velocities, the last 127."""
        return _levels(self.velocities)

    def encode(self, score: Score) -> Encoded:
        """Canonical tokens of a whole piece.

        Onsets snap to the nearest grid position, durations and velocities to the nearest class (ties to the earlier,
        shorter, quieter). A note that lasts to the end of the piece still does, where a class is as long. Track n is
        track n; where one lies beyond the last track, the tracks with notes are numbered in their order, and those
        beyond join the last.

        `dropped` counts, by reason: ``collision`` notes lost because another of their pitch and track took their
        position (the longest stays, of equally long ones the loudest); ``slots`` notes lost because the measure has
        more than slots - 1 (first go those with higher and lower notes at the same position, then the outer ones; among
        those first the quietest, then the shortest, then the last); ``off_grid`` notes whose onset moved;
        ``duration`` notes cut to the longest duration; ``off_grid_end`` other notes whose duration changed;
        ``velocity`` notes whose velocity moved by more than 2; ``track`` notes that joined the last track.

        Raises:
            MusicError: "invalid" (not a valid score), "metre" (does not fit the positions).
        """
        check_score(score)
        metre = score.measures[:, 1:].astype(np.int32)
        layout = lay_out(self.offsets, metre, self.positions, source=score.source, unit="positions")
        grid, places = layout.ticks[layout.mask], np.argwhere(layout.mask)
        notes = score.notes.astype(np.int64)
        at = nearest(grid, notes[:, ONSET])
        voice = number_voices(notes[:, TRACK], self.tracks)
        joined = voice >= self.tracks
        voice = np.minimum(voice, self.tracks - 1)

        # Of each (position, pitch, track) the first in this order is the one that stays.
        order = np.lexsort((-notes[:, VELOCITY], -notes[:, DURATION], voice, notes[:, PITCH], at))
        place = np.stack([at, notes[:, PITCH], voice])[:, order]
        order = order[np.append(True, (place[:, 1:] != place[:, :-1]).any(0))[: len(order)]]
        unique = len(order)
        order = order[_within_capacity(notes[order], at[order], places[at[order], 0], self.slots - 1)]

        notes, at, voice = notes[order], at[order], voice[order]
        measure, position = places[at].T
        room = layout.ends - grid[at]
        duration = _classify(self.durations, notes[:, DURATION], room)
        level = nearest(self.levels, notes[:, VELOCITY])
        columns = [FIRST_POSITION + position, notes[:, PITCH], duration]
        columns += [level] * (self.velocities > 1) + [voice] * (self.tracks > 1)
        tokens = np.zeros((len(metre), self.slots, len(self.fields)), np.int32)
        tokens[measure, np.arange(len(order)) - np.searchsorted(measure, measure)] = np.stack(columns, -1)

        sounding = np.minimum(self.durations[duration], room)
        cut = notes[:, DURATION] > np.maximum(sounding, self.durations[-1])
        dropped = {
            "collision": len(score.notes) - unique,
            "slots": unique - len(order),
            "off_grid": int((grid[at] != notes[:, ONSET]).sum()),
            "duration": int(cut.sum()),
            "off_grid_end": int((~cut & (sounding != notes[:, DURATION])).sum()),
            "velocity": int((np.abs(self.levels[level] - notes[:, VELOCITY]) > SAME_VELOCITY).sum()),
            "track": int(joined[order].sum()),
        }
        mask = until_end(tokens, np.ones(tokens.shape[:2], bool), self.fields)
        return Encoded(tokens, mask, metre, {reason: count for reason, count in dropped.items() if count})

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
        """The score that tokens say; every token array of the vocabulary decodes, by the rules of the class.

        Args:
            tokens: int[measure, slot, field].
            metre: int[measure, 2]; a measure of (0, 0) is padding and is left out.
            tempo: quarters per minute.
            fifths: key signature.
            mode: of the key.
            title: for display.

        Raises:
            MusicError: "token" outside the vocabulary, "metre" that does not fit, "invalid" shapes.
        """
        return decode(self, tokens, metre, tempo=tempo, fifths=fifths, mode=mode, title=title)

    def quantise(self, score: Score) -> Score:
        """The nearest score that the codec can hold, found without tokens; decoding the encoding gives the same."""
        check_score(score)
        lay_out(self.offsets, score.measures[:, 1:], self.positions, source=score.source, unit="positions")
        voice = number_voices(score.notes[:, TRACK], self.tracks).clip(max=self.tracks - 1)
        notes = quantise(
            score, voice.tolist(), self.offsets, self.durations.tolist(), self.levels.tolist(), self.slots - 1
        )
        return dataclasses.replace(score, notes=notes, parts=voice_parts(score, voice))

    def transpose(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """Moves every note; raises `MusicError` "range" rather than leave MIDI pitches 0-127."""
        bounds = self.pitch_range(tokens)
        if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones < NUM_PITCHES:
            detail = f"pitches {bounds[0]} to {bounds[1]} moved by {semitones}; allowed: 0 to {NUM_PITCHES - 1}"
            raise MusicError("tokens", "transpose", "range", detail)
        return np.where(self.is_onset(tokens), tokens + semitones, tokens).astype(tokens.dtype)

    def pitch_range(self, tokens: np.ndarray) -> tuple[int, int] | None:
        """Lowest and highest MIDI pitch, or None without a note."""
        pitches = tokens[self.is_onset(tokens)]
        return (int(pitches.min()), int(pitches.max())) if pitches.size else None

    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that measures may have: all, and none in (0, 0). END, a token, says how many there are.

        Raises:
            MusicError: "metre", one that does not fit.
        """
        layout = lay_out(self.offsets, metre, self.positions, source="tokens", unit="positions")
        return np.repeat(layout.mask.any(-1, keepdims=True), self.slots, -1)

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        """bool, the shape of tokens [..., field]: True at the pitch of every note."""
        return (tokens[..., :1] != END) & (np.arange(tokens.shape[-1]) == _PITCH)

    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The first slots as they are: a note that sounds across a window's border cannot start anew."""
        del mask
        return tokens[:, 0].astype(np.int32)

    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        """The notes of windows; a note ends at the latest with its window.

        Args:
            tokens: int[row, measure, slot, field].
            mask: bool[row, measure, slot].
            metre: int[row, measure, 2]; padding measures (0, 0) come last.
        """
        layout = lay_out(self.offsets, metre, self.positions, source="tokens", unit="positions")
        row, measure, slot = np.nonzero(until_end(tokens, mask, self.fields) & (tokens[..., _POSITION] != END))
        columns = tokens[row, measure, slot].astype(np.int64)
        there = layout.mask[row, measure, columns[:, _POSITION] - FIRST_POSITION]
        row, measure, columns = row[there], measure[there], columns[there]
        velocity = columns[:, _VELOCITY] if self.velocities > 1 else np.zeros(len(row), np.int64)
        track = columns[:, -1] if self.tracks > 1 else np.zeros(len(row), np.int64)
        place = np.stack([row, measure, columns[:, _POSITION], columns[:, _PITCH], track])
        order = np.lexsort((-velocity, -columns[:, _DURATION], *place[::-1]))
        place = place[:, order]
        order = order[np.append(True, (place[:, 1:] != place[:, :-1]).any(0))[: len(order)]]

        row, measure, columns = row[order], measure[order], columns[order]
        tick = layout.ticks[row, measure, columns[:, _POSITION] - FIRST_POSITION]
        return WindowNotes(
            row=row,
            measure=measure,
            onset=tick - layout.starts[row, measure],
            duration=np.minimum(self.durations[columns[:, _DURATION]], layout.ends[row] - tick),
            pitch=columns[:, _PITCH],
            velocity=self.levels[velocity[order]],
            track=track[order],
        )


def _within_capacity(notes: np.ndarray, at: np.ndarray, measure: np.ndarray, capacity: int) -> np.ndarray:
    """Which notes, sorted by (position, pitch), stay when a measure holds only so many: bool[note]."""
    outer = np.append(True, at[1:] != at[:-1]) | np.append(at[1:] != at[:-1], True)
    order = np.lexsort((-notes[:, DURATION], -notes[:, VELOCITY], ~outer[: len(at)], measure))
    kept = np.zeros(len(at), bool)
    kept[order] = np.arange(len(at)) - np.searchsorted(measure, measure) < capacity
    return kept


def _classify(durations: np.ndarray, wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The nearest duration class; of a note that lasts to the end of the piece, `room` ticks on, one as long."""
    to_end = np.searchsorted(durations, room).clip(max=len(durations) - 1)
    return np.where(wanted >= room, to_end, nearest(durations, wanted))


@functools.cache
def _durations(offsets: tuple[int, ...], longest: int) -> np.ndarray:
    inside = np.array(offsets, np.int64)
    octaves = [2**power * (TICKS_PER_QUARTER + inside) for power in range(longest.bit_length())]
    ticks = np.concatenate([inside[1:], *octaves])
    return ticks[ticks <= longest * TICKS_PER_QUARTER]


@functools.cache
def _levels(velocities: int) -> np.ndarray:
    if velocities == 1:
        return np.array([DEFAULT_VELOCITY], np.int64)
    return np.minimum(np.rint(128 * np.arange(1, velocities + 1) / velocities).astype(np.int64), 127)
