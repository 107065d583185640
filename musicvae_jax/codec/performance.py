"""`PerformanceCodec`: polyphony with dynamics. A measure is a list of notes; a slot is one note."""

import dataclasses
import functools

import numpy as np

from musicvae_jax.codec.base import SAME_VELOCITY, Codec, Encoded, WindowNotes
from musicvae_jax.codec.grid import lay_out, nearest, number_voices
from musicvae_jax.codec.score import (
    DEFAULT_VELOCITY,
    DURATION,
    ONSET,
    PITCH,
    TICKS_PER_QUARTER,
    TRACK,
    VELOCITY,
    Score,
    check_score,
)
from musicvae_jax.config.data import PERFORMANCE_CODEC
from musicvae_jax.types import Field, until_end

END = 0  # a position; class 0, so that masked slots, which are all zeros, hold no note
FIRST_POSITION = 1
_POSITION, _PITCH, _DURATION, _VELOCITY = range(4)  # fields; the track, if there, is the last
_TRACK = -1


@dataclasses.dataclass(frozen=True)
class PerformanceCodec(Codec):
    """Slot n of a measure is its n-th note, sorted by (position, pitch, track); the slot after the last note is END.

    Fields, in the order in which they are predicted: ``position`` (0 END, 1 + n the n-th grid position of the measure),
    ``pitch`` (MIDI), ``duration`` (a class of `durations`), ``velocity`` (a class of `levels`), ``track``. With one
    velocity or one track that field is left out: each token counts in a perplexity.

    Decoding takes any tokens. Notes may be in any order. A position that the metre does not have is no note. Of several
    notes with one position, pitch and track one stays, as in `encode`. Without END all slots are notes. A note ends at
    the latest with the last measure.

    Attributes:
        subdivisions: positions inside the quarter, as fractions.
        slots: slots of a measure, one more than its most notes.
        positions: grid positions of the longest measure; 4/4 has 48 on the default grid, 12/8 72.
        longest: longest duration, in quarters.
        velocities: number of loudness levels; with 1 all decoded notes have the default velocity.
        tracks: number of tracks; 1 joins all tracks.
    """

    name = "performance"

    subdivisions: tuple[str, ...] = PERFORMANCE_CODEC.subdivisions
    slots: int = PERFORMANCE_CODEC.slots
    positions: int = PERFORMANCE_CODEC.positions
    longest: int = PERFORMANCE_CODEC.longest
    velocities: int = PERFORMANCE_CODEC.velocities
    tracks: int = PERFORMANCE_CODEC.tracks

    @property
    def fields(self) -> tuple[Field, ...]:
        fields = [
            Field("position", FIRST_POSITION + self.positions, end=END),
            Field("pitch", 128, first_pitch=0),
            Field("duration", len(self.durations)),
        ]
        if self.velocities > 1:
            fields.append(Field("velocity", self.velocities, velocities=tuple(self.levels.tolist())))
        if self.tracks > 1:
            fields.append(Field("track", self.tracks))
        return tuple(fields)

    @property
    def durations(self) -> np.ndarray:
        """Ticks of each duration class, int64, ascending.

        The grid positions of the first quarter, then those of the second quarter times 1, 2, 4, ...: as in note values,
        steps grow with the length.
        """
        return _durations(self.offsets, self.longest)

    @property
    def levels(self) -> np.ndarray:
        """MIDI velocity of each velocity class, int64, ascending: steps of 128 / velocities, the last 127."""
        return _levels(self.velocities)

    def encode(self, score: Score) -> Encoded:
        """The tokens of a whole piece.

        Onsets move to the nearest grid position, durations and velocities to the nearest class; of two equally near to
        the earlier, shorter, quieter. A note that lasts to the end of the piece still does if a class is long enough.
        Tracks are numbered by `number_voices`; those beyond the last join it.

        `dropped` counts notes. ``collision``: lost, because another note of the same position, pitch and track is
        longer, or equally long and louder; ``slots``: lost from a measure of over slots - 1 notes (inner notes of
        chords go before outer ones; among these the quietest, then the shortest, then the last); ``off_grid``: the
        onset moved; ``duration``: cut to the longest duration; ``off_grid_end``: the duration changed otherwise;
        ``velocity``: moved by more than 2; ``track``: joined the last track.

        Raises:
            MusicError: "invalid" score, "metre" that does not fit.
        """
        check_score(score)
        metre = score.measures[:, 1:].astype(np.int32)
        layout = lay_out(self.offsets, metre, self.positions, source=score.source, unit="positions")
        grid, positions = layout.ticks[layout.mask], np.argwhere(layout.mask)
        notes = score.notes.astype(np.int64)
        at = nearest(grid, notes[:, ONSET])
        voice = number_voices(notes[:, TRACK], self.tracks)
        joined = voice >= self.tracks
        voice = np.minimum(voice, self.tracks - 1)

        # Of each (position, pitch, track) the first in this order stays.
        order = np.lexsort((-notes[:, VELOCITY], -notes[:, DURATION], voice, notes[:, PITCH], at))
        order = order[_first_of_each(np.stack([at, notes[:, PITCH], voice])[:, order])]
        unique = len(order)
        order = order[_within_capacity(notes[order], at[order], positions[at[order], 0], self.slots - 1)]

        notes, at, voice = notes[order], at[order], voice[order]
        measure, position = positions[at].T
        room = layout.ends - grid[at]
        to_end = np.searchsorted(self.durations, room).clip(max=len(self.durations) - 1)
        duration = np.where(notes[:, DURATION] >= room, to_end, nearest(self.durations, notes[:, DURATION]))
        level = nearest(self.levels, notes[:, VELOCITY])
        columns = [FIRST_POSITION + position, notes[:, PITCH], duration]
        columns += [level] * (self.velocities > 1) + [voice] * (self.tracks > 1)
        tokens = np.zeros((len(metre), self.slots, len(self.fields)), np.int32)
        tokens[measure, np.arange(len(order)) - np.searchsorted(measure, measure)] = np.stack(columns, -1)

        length = np.minimum(self.durations[duration], room)
        cut = notes[:, DURATION] > np.maximum(length, self.durations[-1])
        dropped = {
            "collision": len(score.notes) - unique,
            "slots": unique - len(order),
            "off_grid": int((grid[at] != notes[:, ONSET]).sum()),
            "duration": int(cut.sum()),
            "off_grid_end": int((~cut & (length != notes[:, DURATION])).sum()),
            "velocity": int((np.abs(self.levels[level] - notes[:, VELOCITY]) > SAME_VELOCITY).sum()),
            "track": int(joined[order].sum()),
        }
        mask = until_end(tokens, np.ones(tokens.shape[:2], bool), self.fields)
        return Encoded(tokens, mask, metre, {reason: count for reason, count in dropped.items() if count})

    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        layout = lay_out(self.offsets, metre, self.positions, source="tokens", unit="positions")
        row, measure, slot = np.nonzero(self._is_note(tokens, until_end(tokens, mask, self.fields)))
        columns = tokens[row, measure, slot].astype(np.int64)
        there = layout.mask[row, measure, columns[:, _POSITION] - FIRST_POSITION]
        row, measure, columns = row[there], measure[there], columns[there]
        velocity = columns[:, _VELOCITY] if self.velocities > 1 else np.zeros(len(row), np.int64)
        track = columns[:, _TRACK] if self.tracks > 1 else np.zeros(len(row), np.int64)
        keys = np.stack([row, measure, columns[:, _POSITION], columns[:, _PITCH], track])
        order = np.lexsort((-velocity, -columns[:, _DURATION], *keys[::-1]))
        order = order[_first_of_each(keys[:, order])]

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

    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        """See `Codec.slot_mask`: a measure may have all slots, and its END says how many it has."""
        layout = lay_out(self.offsets, metre, self.positions, source="tokens", unit="positions")
        return np.repeat(layout.mask.any(-1, keepdims=True), self.slots, -1)

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        return (tokens[..., :1] != END) & (np.arange(tokens.shape[-1]) == _PITCH)

    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See `Codec.first_slots`. The tokens' own: a note that sounds across the bar line cannot start anew."""
        del mask
        return tokens[:, 0].astype(np.int32)

    @property
    def num_voices(self) -> int:
        return self.tracks

    def sounding(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        row, measure, slot = np.nonzero(self._is_note(tokens, mask))
        found = np.zeros((len(tokens), self.tracks), bool)
        found[row, tokens[row, measure, slot, _TRACK] if self.tracks > 1 else 0] = True
        return found

    def silence(self, tokens: np.ndarray, mask: np.ndarray, silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows without the notes of some tracks; see `Codec.silence`. The notes that stay move up."""
        notes, rows = self._is_note(tokens, mask), np.arange(len(tokens))[:, None, None]
        gone = notes & silent[rows, tokens[..., _TRACK] if self.tracks > 1 else 0]
        order = np.argsort(np.where(notes & ~gone, 0, 1), axis=2, kind="stable")
        tokens = np.take_along_axis(np.where(gone[..., None], 0, tokens), order[..., None], axis=2)
        mask = until_end(tokens, np.broadcast_to(mask.any(2, keepdims=True), mask.shape), self.fields)
        return np.where(mask[..., None], tokens, 0), mask

    def scale_velocities(self, tokens: np.ndarray, mask: np.ndarray, limit: float, draws: np.ndarray) -> np.ndarray:
        """See `Codec.scale_velocities`. Velocities go to the nearest level."""
        notes, levels = self._is_note(tokens, mask), self.levels
        velocity = levels[tokens[..., _VELOCITY]]
        loudest = np.where(notes, velocity, levels[0]).max((1, 2))
        quietest = np.where(notes, velocity, levels[-1]).min((1, 2))
        low = np.log(np.maximum(1 / (1 + limit), levels[0] / quietest))
        high = np.log(np.minimum(1 + limit, levels[-1] / loudest))
        factor = np.exp(low + draws * (high - low))
        tokens = tokens.copy()
        scaled = nearest(levels, velocity * factor[:, None, None])
        tokens[..., _VELOCITY] = np.where(notes, scaled, tokens[..., _VELOCITY])
        return tokens

    @property
    def onset_positions(self) -> int:
        return self.positions

    def move_onsets(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray, steps: np.ndarray) -> np.ndarray:
        allowed = lay_out(self.offsets, metre, self.positions, source="tokens", unit="positions").mask
        row, measure, slot = np.nonzero(self._is_note(tokens, mask))
        position = tokens[row, measure, slot, _POSITION] - FIRST_POSITION
        taken = np.zeros((*allowed.shape[:2], self.positions + 4), bool)  # with two free positions on either side
        taken[row, measure, position + 2] = True
        free = np.pad(allowed, ((0, 0), (0, 0), (1, 1))) & ~taken[..., 1:-1]
        earlier, later = free[..., :-2] & ~taken[..., :-4], free[..., 2:] & ~taken[..., 4:]
        moves = np.where(steps < 0, -1 * earlier, np.where(steps > 0, 1 * later, 0))
        tokens = tokens.copy()
        tokens[row, measure, slot, _POSITION] += moves[row, measure, position].astype(tokens.dtype)
        return tokens

    def _is_note(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return mask & (tokens[..., _POSITION] != END)


def _first_of_each(keys: np.ndarray) -> np.ndarray:
    """Of sorted keys int[key, note]: bool[note], the first note of each key."""
    return np.append(True, (keys[:, 1:] != keys[:, :-1]).any(0))[: keys.shape[1]]


def _within_capacity(notes: np.ndarray, at: np.ndarray, measure: np.ndarray, capacity: int) -> np.ndarray:
    """The notes, sorted by (position, pitch), that stay when a measure holds `capacity` notes: bool[note]."""
    outer = np.append(True, at[1:] != at[:-1]) | np.append(at[1:] != at[:-1], True)
    order = np.lexsort((-notes[:, DURATION], -notes[:, VELOCITY], ~outer[: len(at)], measure))
    kept = np.zeros(len(at), bool)
    kept[order] = np.arange(len(at)) - np.searchsorted(measure, measure) < capacity
    return kept


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
