"""`MelodyCodec` and `VoicesCodec`: voices on a grid. In each slot a voice holds, rests or starts a note."""

import abc
import dataclasses
from collections import Counter

import numpy as np

from musicvae_jax.codec.base import SAME_VELOCITY, Codec, Encoded, WindowNotes
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.grid import Layout, lay_out, nearest, number_voices
from musicvae_jax.codec.score import DEFAULT_VELOCITY, DURATION, ONSET, PITCH, TRACK, VELOCITY, Score, check_score
from musicvae_jax.codec.tracks import find_polyphony
from musicvae_jax.config import CodecConfig
from musicvae_jax.types import Field

HOLD, REST, FIRST_PITCH = 0, 1, 2
_VOCABULARY = FIRST_PITCH + 128
_DEFAULTS = CodecConfig()


@dataclasses.dataclass(frozen=True)
class GridCodec(Codec):
    """Voices on a grid that repeats in every quarter, from the start of each measure; one field per voice.

    Token 0 HOLD: the note or the silence goes on. Token 1 REST: silence begins. Token 2 + p: a note of MIDI pitch p
    starts. HOLD before the first note is silence. On the default grid 4/4 has 16 slots, 6/8 12, 9/8 18.

    Attributes:
        subdivisions: positions inside the quarter, as fractions, such as ``("0", "1/4", "1/3", "1/2", "2/3", "3/4")``.
        slots: slots of a measure; a metre that needs more is refused.
    """

    subdivisions: tuple[str, ...] = _DEFAULTS.subdivisions
    slots: int = _DEFAULTS.slots

    @abc.abstractmethod
    def _split(self, score: Score) -> list[Score]:
        """The score of each voice."""

    def encode(self, score: Score) -> Encoded:
        """The tokens of a whole piece.

        Onsets and ends move to the nearest grid position, the earlier of two. A note lasts at least one slot, and at
        most to the next onset of its voice.

        `dropped` counts notes of all voices. ``collision``: lost, because an earlier note took the slot; ``off_grid``:
        the onset moved; ``off_grid_end``: the end moved; ``overlap``: cut at the next onset; ``velocity``: differs from
        the default velocity, which decoding gives.

        Raises:
            MusicError: "invalid" score, "metre" that does not fit, "voices" (more tracks than voices), "polyphonic"
                (notes of one voice sound together: two of one slot for over half of the shorter one, or a note lasts
                beyond the second next onset).
        """
        check_score(score)
        layout = lay_out(self.offsets, score.measures[:, 1:], self.slots, source=score.source)
        tokens = np.zeros((*layout.mask.shape, len(self.fields)), np.int32)
        dropped: Counter[str] = Counter()
        for number, voice in enumerate(self._split(score)):
            if len(voice.notes):
                tokens[layout.mask, number], lost = _encode_voice(voice, layout)
                dropped.update(lost)
        counts = {reason: count for reason, count in dropped.items() if count}
        return Encoded(tokens, layout.mask, score.measures[:, 1:].astype(np.int32), counts)

    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        """The notes of windows; see `Codec.notes`. A note lasts to the next event of its voice."""
        rows, measures, slots, voices = tokens.shape
        layout = lay_out(self.offsets, metre, slots, source="tokens")
        streams = np.where(mask[..., None], tokens, HOLD).transpose(0, 3, 1, 2).reshape(rows * voices, measures * slots)
        stream, slot = np.nonzero(streams != HOLD)
        row, voice = np.divmod(stream, max(voices, 1))
        tick = layout.ticks.reshape(rows, -1)[row, slot]
        stop = np.append(tick[1:], 0)
        last = np.append(stream[1:] != stream[:-1], True)[: len(stream)]
        stop = np.where(last, layout.ends[row], stop[: len(stream)])
        value = streams[stream, slot]
        starts = value >= FIRST_PITCH
        row, slot, tick, stop, voice, value = (part[starts] for part in (row, slot, tick, stop, voice, value))
        measure = slot // slots
        pitch = value.astype(np.int64) - FIRST_PITCH
        onset = tick - layout.starts[row, measure]
        velocity = np.full(len(row), DEFAULT_VELOCITY, np.int64)
        order = np.lexsort((voice, pitch, onset, measure, row))
        return WindowNotes(*(x[order] for x in (row, measure, onset, stop - tick, pitch, velocity, voice)))

    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        return lay_out(self.offsets, metre, self.slots, source="tokens").mask

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        return tokens >= FIRST_PITCH

    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See `Codec.first_slots`: for each voice the onset of the note that starts or sounds there, or HOLD."""
        num_measures, num_slots, num_fields = tokens.shape
        stream = tokens.reshape(num_measures * num_slots, num_fields)
        events = (stream != HOLD) & mask.reshape(-1, 1)
        last_event = np.maximum.accumulate(np.where(events, np.arange(len(stream))[:, None], -1), axis=0)
        last_event = last_event[::num_slots]
        began = np.take_along_axis(stream, np.maximum(last_event, 0), axis=0)
        return np.where((last_event >= 0) & self.is_onset(began), began, HOLD).astype(np.int32)

    @property
    def num_voices(self) -> int:
        return len(self.fields)

    def sounding(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (self.is_onset(tokens) & mask[..., None]).any((1, 2))

    def silence(self, tokens: np.ndarray, mask: np.ndarray, silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows with some voices on HOLD throughout; see `Codec.silence`."""
        return np.where(silent[:, None, None], HOLD, tokens), mask


@dataclasses.dataclass(frozen=True)
class MelodyCodec(GridCodec):
    """A melody: the notes of all tracks, no two of which may sound together. See `GridCodec` for tokens and settings.

    Example:
        >>> encoded = MelodyCodec().encode(read_score("tune.abc")[0])
    """

    name = "melody"

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("melody", _VOCABULARY, first_pitch=FIRST_PITCH),)

    def _split(self, score: Score) -> list[Score]:
        return [score]


@dataclasses.dataclass(frozen=True)
class VoicesCodec(GridCodec):
    """Several voices, each a melody as in `MelodyCodec`. See `GridCodec` for tokens and settings.

    Voice n is track n; `number_voices` says what happens to tracks beyond the last voice. Decoded notes have their
    voice as their track.

    Attributes:
        voices: how many.
    """

    name = "voices"

    voices: int = _DEFAULTS.voices

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(f"voice{number}", _VOCABULARY, first_pitch=FIRST_PITCH) for number in range(self.voices))

    def _split(self, score: Score) -> list[Score]:
        voice = number_voices(score.notes[:, TRACK], self.voices)
        if len(voice) and voice.max() >= self.voices:
            detail = f"{len(np.unique(voice))} tracks have notes; allowed: up to {self.voices}"
            raise MusicError(score.source, "tracks", "voices", detail)
        return [dataclasses.replace(score, notes=score.notes[voice == number]) for number in range(self.voices)]


def _encode_voice(score: Score, layout: Layout) -> tuple[np.ndarray, dict[str, int]]:
    """The tokens of one voice, int32[slot] over all slots of the piece, and the counts of `dropped`."""
    found = find_polyphony(score.notes)
    if found is not None:
        raise _polyphonic(score, int(score.notes[found, ONSET]))
    grid = layout.ticks[layout.mask]
    onset = score.notes[:, ONSET].astype(np.int64)
    end = onset + score.notes[:, DURATION]
    slot = nearest(grid, onset)
    first = np.ones(len(slot), bool)
    first[1:] = slot[1:] != slot[:-1]
    cut = np.append(end[:-1] > onset[1:], False)
    shorter = np.minimum(end[:-1] - onset[:-1], end[1:] - onset[1:])
    together = ~first[1:] & (2 * (np.minimum(end[:-1], end[1:]) - onset[1:]) > shorter)
    if together.any():
        raise _polyphonic(score, int(onset[together.argmax() + 1]))

    edges = np.append(grid, score.end)
    end_slot, kept = nearest(edges, end), slot[first]
    stop = np.maximum(end_slot[first], kept + 1)
    following = np.append(kept[1:], len(grid))
    tokens = np.zeros(len(grid) + 1, np.int32)  # one more for the end of the piece
    tokens[np.minimum(stop, following)] = REST  # overwritten by an onset in the same slot
    tokens[kept] = FIRST_PITCH + score.notes[first, PITCH]
    moved = np.abs(score.notes[:, VELOCITY] - DEFAULT_VELOCITY) > SAME_VELOCITY
    return tokens[:-1], {
        "collision": int((~first).sum()),
        "off_grid": int((first & (grid[slot] != onset)).sum()),
        "off_grid_end": int((first & ~cut & (edges[end_slot] != end)).sum()),
        "overlap": int(cut.sum()),
        "velocity": int((first & moved).sum()),
    }


def _polyphonic(score: Score, tick: int) -> MusicError:
    detail = "notes sound together; pick one track, or the skyline, of a polyphonic piece"
    return MusicError(score.source, score.measure_at(tick), "polyphonic", detail)
