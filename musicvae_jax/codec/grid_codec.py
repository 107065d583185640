"""Voices on a grid: what `MelodyCodec` and `VoicesCodec` are made of. A measure is a row of slots."""

import abc
import dataclasses
from collections import Counter

import numpy as np

from musicvae_jax.codec.base import SAME_VELOCITY, Encoded, WindowNotes
from musicvae_jax.codec.check import check_score, polyphonic
from musicvae_jax.codec.decoding import decode
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.grid import Layout, lay_out, nearest, num_positions, parse_subdivisions
from musicvae_jax.codec.grid_quantise import quantise
from musicvae_jax.codec.score import DEFAULT_VELOCITY, DURATION, ONSET, PITCH, TRACK, VELOCITY, Metre, Part, Score
from musicvae_jax.codec.tracks import find_polyphony
from musicvae_jax.config import ConfigError
from musicvae_jax.types import Field

HOLD, REST, FIRST_PITCH = 0, 1, 2
NUM_PITCHES = 128
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclasses.dataclass(frozen=True)
class GridCodec(abc.ABC):
    """Voices on a grid that repeats in every quarter, from the start of each measure; a field per voice.

    Token 0 HOLD: what sounds, or silence, goes on. Token 1 REST: silence begins. Token 2 + p: onset of MIDI pitch p.
    A HOLD before any onset is silence. 4/4 has 4 quarters = 16 slots on the default grid, 6/8 has 12, 9/8 (4.5
    quarters) 18. Subclasses say which voices there are: `fields`, `_split` and `_parts`.

    Attributes:
        subdivisions: positions inside the quarter, as fractions, e.g. ``("0", "1/4", "1/3", "1/2", "2/3", "3/4")``.
        slots: slots of a measure's row; a metre that needs more is refused.

    Raises:
        ConfigError: when built from subdivisions that are not sorted, distinct fractions in [0, 1) starting at 0, each
            a whole number of ticks, or from slots < 1.
    """

    subdivisions: tuple[str, ...] = ("0", "1/4", "1/2", "3/4")
    slots: int = 18

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ConfigError(f"slots is {self.slots}; allowed: 1 and up")
        parse_subdivisions(self.subdivisions)

    @property
    @abc.abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """One per voice."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Grid positions inside a quarter, in ticks."""
        return parse_subdivisions(self.subdivisions)

    def num_slots(self, metre: Metre, *, source: str = "score", place: str = "header") -> int:
        """Number of grid positions of a measure; raises `MusicError` "metre" when that exceeds `slots`."""
        return num_positions(self.offsets, metre, self.slots, source=source, place=place)

    def encode(self, score: Score) -> Encoded:
        """Canonical tokens of a whole piece.

        Onsets snap to the nearest grid position (ties to the earlier), ends likewise, at least one slot long and no
        longer than to the voice's next onset.

        `dropped` counts, by reason, over all voices: ``collision`` notes lost because an earlier one took their slot;
        ``off_grid`` notes whose onset moved; ``off_grid_end`` notes whose end moved; ``overlap`` notes cut at the next
        onset; ``velocity`` notes whose velocity was another than what decoding gives.

        Raises:
            MusicError: "invalid" (not a valid score), "metre" (does not fit the slots), "voices" (more tracks than
                voices), "polyphonic" (notes of a voice sound together: two of one slot for over half of the shorter,
                or one into the second next onset).
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
        """The score that tokens say; every token array of the vocabulary decodes.

        Args:
            tokens: int[measure, slot, field]; what lies beyond a measure's own slots is ignored.
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
        lay_out(self.offsets, score.measures[:, 1:], self.slots, source=score.source)
        notes = []
        for number, voice in enumerate(self._split(score)):
            found = find_polyphony(voice.notes)
            if found is not None:
                raise polyphonic(score, int(voice.notes[found, ONSET]))
            notes.append(quantise(voice, self.offsets).notes)
            notes[-1][:, TRACK] = number
        merged = np.concatenate(notes)
        merged = merged[np.lexsort(merged[:, [TRACK, PITCH, ONSET]].T)]
        return dataclasses.replace(score, notes=merged, parts=self._parts(score))

    def transpose(self, tokens: np.ndarray, semitones: int) -> np.ndarray:
        """Moves every onset; raises `MusicError` "range" rather than leave MIDI pitches 0-127."""
        bounds = self.pitch_range(tokens)
        if bounds and not 0 <= bounds[0] + semitones <= bounds[1] + semitones < NUM_PITCHES:
            detail = f"pitches {bounds[0]} to {bounds[1]} moved by {semitones}; allowed: 0 to {NUM_PITCHES - 1}"
            raise MusicError("tokens", "transpose", "range", detail)
        return np.where(tokens >= FIRST_PITCH, tokens + semitones, tokens).astype(tokens.dtype)

    def pitch_range(self, tokens: np.ndarray) -> tuple[int, int] | None:
        """Lowest and highest MIDI pitch, or None without a note."""
        pitches = tokens[tokens >= FIRST_PITCH]
        return (int(pitches.min()) - FIRST_PITCH, int(pitches.max()) - FIRST_PITCH) if pitches.size else None

    def slot_mask(self, metre: np.ndarray) -> np.ndarray:
        """The slots that measures have: int[..., measure, 2] to bool[..., measure, slot]; (0, 0) has none.

        Raises:
            MusicError: "metre", one that does not fit.
        """
        return lay_out(self.offsets, metre, self.slots, source="tokens").mask

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        """bool, the shape of `tokens`: where a note starts."""
        return tokens >= FIRST_PITCH

    def first_slots(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """What the first slot of each measure must hold where a window starts with that measure.

        Args:
            tokens: int32[measure, slot, field], a whole piece.
            mask: bool[measure, slot].

        Returns:
            int32[measure, field]: per voice the onset of the note that starts or sounds there, HOLD where there is
            silence: what the codec itself would write if the piece started with that measure.
        """
        num_measures, num_slots, num_fields = tokens.shape
        stream = tokens.reshape(num_measures * num_slots, num_fields)
        events = (stream != HOLD) & mask.reshape(-1, 1)
        last_event = np.maximum.accumulate(np.where(events, np.arange(len(stream))[:, None], -1), axis=0)
        last_event = last_event[::num_slots]
        began = np.take_along_axis(stream, np.maximum(last_event, 0), axis=0)
        return np.where((last_event >= 0) & self.is_onset(began), began, HOLD).astype(np.int32)

    def notes(self, tokens: np.ndarray, mask: np.ndarray, metre: np.ndarray) -> WindowNotes:
        """The notes of windows; a note lasts to the voice's next event, or to the end of its window.

        Args:
            tokens: int[row, measure, slot, field].
            mask: bool[row, measure, slot].
            metre: int[row, measure, 2]; padding measures (0, 0) come last.
        """
        rows, measures, slots, voices = tokens.shape
        layout = lay_out(self.offsets, metre, slots, source="tokens")
        streams = np.where(mask[..., None], tokens, HOLD).transpose(0, 3, 1, 2).reshape(rows * voices, measures * slots)
        stream, place = np.nonzero(streams != HOLD)
        row, voice = np.divmod(stream, max(voices, 1))
        tick = layout.ticks.reshape(rows, -1)[row, place]
        stop = np.append(tick[1:], 0)
        last = np.append(stream[1:] != stream[:-1], True)[: len(stream)]
        stop = np.where(last, layout.ends[row], stop[: len(stream)])
        value = streams[stream, place]
        sounding = value >= FIRST_PITCH
        row, place, tick, stop, voice, value = (part[sounding] for part in (row, place, tick, stop, voice, value))
        measure = place // slots
        pitch = value.astype(np.int64) - FIRST_PITCH
        onset = tick - layout.starts[row, measure]
        velocity = np.full(len(row), DEFAULT_VELOCITY, np.int64)
        order = np.lexsort((voice, pitch, onset, measure, row))
        return WindowNotes(*(x[order] for x in (row, measure, onset, stop - tick, pitch, velocity, voice)))

    def describe(self, token: int) -> str:
        """``"hold"``, ``"rest"`` or the note's name, ``"C4"`` being MIDI 60."""
        if not 0 <= token < FIRST_PITCH + NUM_PITCHES:
            raise MusicError("tokens", "describe", "token", f"{token}; allowed: 0 to {FIRST_PITCH + NUM_PITCHES - 1}")
        if token < FIRST_PITCH:
            return ("hold", "rest")[token]
        octave, name = divmod(int(token) - FIRST_PITCH, 12)
        return f"{_NAMES[name]}{octave - 1}"

    @abc.abstractmethod
    def _split(self, score: Score) -> list[Score]:
        """The score of every voice, one per field."""

    def _parts(self, score: Score) -> tuple[Part, ...]:
        """What plays each voice."""
        return score.parts


def _encode_voice(score: Score, layout: Layout) -> tuple[np.ndarray, dict[str, int]]:
    """One voice as the tokens of the piece's slots one after another, int32[slot], and what was dropped."""
    found = find_polyphony(score.notes)
    if found is not None:
        raise polyphonic(score, int(score.notes[found, ONSET]))
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
        raise polyphonic(score, int(onset[together.argmax() + 1]))

    edges = np.append(grid, score.end)
    end_slot, kept = nearest(edges, end), slot[first]
    stop = np.maximum(end_slot[first], kept + 1)
    following = np.append(kept[1:], len(grid))
    tokens = np.zeros(len(grid) + 1, np.int32)
    tokens[np.minimum(stop, following)] = REST  # an onset in the same slot overwrites it; the last is the piece's end
    tokens[kept] = FIRST_PITCH + score.notes[first, PITCH]
    moved = np.abs(score.notes[:, VELOCITY] - DEFAULT_VELOCITY) > SAME_VELOCITY
    return tokens[:-1], {
        "collision": int((~first).sum()),
        "off_grid": int((first & (grid[slot] != onset)).sum()),
        "off_grid_end": int((first & ~cut & (edges[end_slot] != end)).sum()),
        "overlap": int(cut.sum()),
        "velocity": int((first & moved).sum()),
    }
