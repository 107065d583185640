"""`MelodyCodec`: one voice on a grid. A measure is a row of slots; a slot holds, rests or starts a note."""

import dataclasses
import functools
from fractions import Fraction

import numpy as np

from musicvae_jax.codec.base import Encoded
from musicvae_jax.codec.check import check_metre, check_score, polyphonic
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.melody_quantise import quantise
from musicvae_jax.codec.score import DEFAULT_VELOCITY, DURATION, ONSET, PITCH, TICKS_PER_QUARTER, VELOCITY, Metre, Score
from musicvae_jax.codec.tracks import find_polyphony
from musicvae_jax.config import ConfigError
from musicvae_jax.types import Field

HOLD, REST, FIRST_PITCH = 0, 1, 2
NUM_PITCHES = 128
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclasses.dataclass(frozen=True)
class MelodyCodec:
    """Melodies on a grid that repeats in every quarter, from the start of each measure.

    Token 0 HOLD: what sounds, or silence, goes on. Token 1 REST: silence begins. Token 2 + p: onset of MIDI pitch p.
    A HOLD before any onset is silence. 4/4 has 4 quarters = 16 slots on the default grid, 6/8 has 12, 9/8 (4.5
    quarters) 18.

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
        _parse_subdivisions(self.subdivisions)

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("melody", FIRST_PITCH + NUM_PITCHES),)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Grid positions inside a quarter, in ticks."""
        return _parse_subdivisions(self.subdivisions)

    def num_slots(self, metre: Metre, *, source: str = "score", place: str = "header") -> int:
        """Number of grid positions of a measure; raises `MusicError` "metre" when that exceeds `slots`."""
        needed = len(_grid(self.offsets, check_metre(metre, source=source, place=place).ticks))
        if needed > self.slots:
            detail = f"{metre} needs {needed} slots; allowed: up to {self.slots}"
            raise MusicError(source, place, "metre", detail)
        return needed

    def encode(self, score: Score) -> Encoded:
        """Canonical tokens of a whole piece.

        Onsets snap to the nearest grid position (ties to the earlier), ends likewise, at least one slot long and no
        longer than to the next onset.

        `dropped` counts, by reason: ``collision`` notes lost because an earlier one took their slot; ``off_grid``
        notes whose onset moved; ``off_grid_end`` notes whose end moved; ``overlap`` notes cut at the next onset.

        Raises:
            MusicError: "invalid" (not a valid score), "metre" (does not fit the slots), "polyphonic" (notes sound
                together: two of one slot for over half of the shorter, or one into the second next onset).
        """
        check_score(score)
        starts, mask = self._layout(score.measures[:, 1:], score.source)
        grid, total = starts[mask], int(mask.sum())
        tokens = np.zeros((*mask.shape, 1), np.int32)
        if not len(score.notes):
            return Encoded(tokens, mask, score.measures[:, 1:].astype(np.int32), {})
        found = find_polyphony(score.notes)
        if found is not None:
            raise polyphonic(score, int(score.notes[found, ONSET]))

        onset = score.notes[:, ONSET].astype(np.int64)
        end = onset + score.notes[:, DURATION]
        slot = _nearest(grid, onset)
        first = np.ones(len(slot), bool)
        first[1:] = slot[1:] != slot[:-1]
        cut = np.append(end[:-1] > onset[1:], False)
        shorter = np.minimum(end[:-1] - onset[:-1], end[1:] - onset[1:])
        together = ~first[1:] & (2 * (np.minimum(end[:-1], end[1:]) - onset[1:]) > shorter)
        if together.any():
            raise polyphonic(score, int(onset[together.argmax() + 1]))

        edges = np.append(grid, score.end)
        end_slot, kept = _nearest(edges, end), slot[first]
        stop = np.maximum(end_slot[first], kept + 1)
        following = np.append(kept[1:], total)
        flat = np.zeros(total + 1, np.int32)
        rests = np.minimum(stop, following)
        flat[rests] = REST  # an onset in the same slot overwrites it below; the last entry is the end of the piece
        flat[kept] = FIRST_PITCH + score.notes[first, PITCH]
        tokens[mask, 0] = flat[:-1]

        dropped = {
            "collision": int((~first).sum()),
            "off_grid": int((first & (grid[slot] != onset)).sum()),
            "off_grid_end": int((first & ~cut & (edges[end_slot] != end)).sum()),
            "overlap": int(cut.sum()),
        }
        dropped = {reason: count for reason, count in dropped.items() if count}
        return Encoded(tokens, mask, score.measures[:, 1:].astype(np.int32), dropped)

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
            tokens: int[measure, slot, 1]; what lies beyond a measure's own slots is ignored.
            metre: int[measure, 2]; a measure of (0, 0) is padding and is left out.

        Raises:
            MusicError: "token" outside the vocabulary, "metre" that does not fit, "invalid" shapes.
        """
        tokens, metre = np.asarray(tokens), np.asarray(metre)
        if tokens.ndim != 3 or tokens.shape[2] != 1 or metre.shape != (len(tokens), 2):
            detail = f"tokens {tokens.shape} with metre {metre.shape}; allowed: [measure, slot, 1] with [measure, 2]"
            raise MusicError("tokens", "shape", "invalid", detail)
        real = metre.any(1)
        tokens, metre = tokens[real], metre[real]
        starts, mask = self._layout(metre, "tokens", tokens.shape[1])
        flat, grid = tokens[..., 0][mask], starts[mask]
        if flat.size and not 0 <= flat.min() <= flat.max() < FIRST_PITCH + NUM_PITCHES:
            detail = f"values {flat.min()} to {flat.max()}; allowed: 0 to {FIRST_PITCH + NUM_PITCHES - 1}"
            raise MusicError("tokens", "vocabulary", "token", detail)

        measures = np.concatenate([starts[:, :1], metre], axis=1).astype(np.int32)
        score = Score(np.zeros((0, 5), np.int32), measures, fifths, mode, tempo, title)
        events = np.flatnonzero(flat != HOLD)
        ticks = np.append(grid[events], score.end)
        sounding = flat[events] >= FIRST_PITCH
        notes = np.zeros((int(sounding.sum()), 5), np.int32)
        notes[:, ONSET] = ticks[:-1][sounding]
        notes[:, DURATION] = np.diff(ticks)[sounding]
        notes[:, PITCH] = flat[events][sounding] - FIRST_PITCH
        notes[:, VELOCITY] = DEFAULT_VELOCITY
        return dataclasses.replace(score, notes=notes)

    def quantise(self, score: Score) -> Score:
        """The nearest score that the codec can hold, found without tokens; decoding the encoding gives the same."""
        check_score(score)
        self._layout(score.measures[:, 1:], score.source)
        found = find_polyphony(score.notes)
        if found is not None:
            raise polyphonic(score, int(score.notes[found, ONSET]))
        return quantise(score, self.offsets)

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

    def is_onset(self, tokens: np.ndarray) -> np.ndarray:
        """bool, the shape of `tokens`: where a note starts."""
        return tokens >= FIRST_PITCH

    def describe(self, token: int) -> str:
        """``"hold"``, ``"rest"`` or the note's name, ``"C4"`` being MIDI 60."""
        if not 0 <= token < FIRST_PITCH + NUM_PITCHES:
            raise MusicError("tokens", "describe", "token", f"{token}; allowed: 0 to {FIRST_PITCH + NUM_PITCHES - 1}")
        if token < FIRST_PITCH:
            return ("hold", "rest")[token]
        octave, name = divmod(int(token) - FIRST_PITCH, 12)
        return f"{_NAMES[name]}{octave - 1}"

    def _layout(self, metre: np.ndarray, source: str, slots: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tick of every slot, int64[measure, slot], and the mask, bool[measure, slot]."""
        slots = self.slots if slots is None else slots
        grid = np.zeros((len(metre), max(slots, 1)), np.int64)
        lengths = np.zeros(len(metre), np.int64)
        mask = np.zeros((len(metre), slots), bool)
        keys = metre[:, 0].astype(np.int64) * 1024 + metre[:, 1]
        for key in dict.fromkeys(keys.tolist()):
            rows = keys == key
            index = int(rows.argmax())
            kind = Metre(int(metre[index, 0]), int(metre[index, 1]))
            needed = self.num_slots(kind, source=source, place=f"measure {index + 1}")
            if needed > slots:
                detail = f"{kind} needs {needed} slots; the tokens have {slots}"
                raise MusicError(source, f"measure {index + 1}", "metre", detail)
            grid[rows, :needed] = _grid(self.offsets, kind.ticks)
            mask[rows, :needed] = True
            lengths[rows] = kind.ticks
        starts = np.cumsum(lengths) - lengths
        return grid[:, :slots] + starts[:, None], mask


def _nearest(grid: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Index of the grid position nearest to each tick, the earlier of two equally near."""
    if len(grid) == 1:
        return np.zeros_like(ticks)
    after = np.searchsorted(grid, ticks).clip(1, len(grid) - 1)
    return np.where(grid[after] - ticks < ticks - grid[after - 1], after, after - 1)


@functools.cache
def _parse_subdivisions(subdivisions: tuple[str, ...]) -> tuple[int, ...]:
    try:
        fractions = [Fraction(text) for text in subdivisions]
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"subdivisions {subdivisions}: {error}; allowed: fractions such as '1/3'") from None
    if not fractions or fractions[0] != 0 or fractions[-1] >= 1 or sorted(set(fractions)) != fractions:
        raise ConfigError(f"subdivisions {subdivisions}; allowed: sorted, distinct fractions in [0, 1), the first 0")
    ticks = [fraction * TICKS_PER_QUARTER for fraction in fractions]
    if any(tick.denominator != 1 for tick in ticks):
        raise ConfigError(f"subdivisions {subdivisions}; allowed: whole fractions of {TICKS_PER_QUARTER} ticks")
    return tuple(int(tick) for tick in ticks)


@functools.cache
def _grid(offsets: tuple[int, ...], length: int) -> np.ndarray:
    """Ticks of a measure's grid positions."""
    quarters = np.arange(0, length, TICKS_PER_QUARTER)
    ticks = (quarters[:, None] + np.array(offsets)).reshape(-1)
    return ticks[ticks < length]
