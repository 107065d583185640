"""From bars as notated to measures as long as their metre says."""

from collections.abc import Sequence

from musicvae_jax.codec.abc_bars import FINE, Bar
from musicvae_jax.codec.score import DEFAULT_VELOCITY

MeasureRow = tuple[int, int, int]
NoteRow = tuple[int, int, int, int, int]


def join_bars(bars: list[Bar]) -> tuple[list[NoteRow], list[MeasureRow], int]:
    """The notes of bars in full measures.

    Returns:
        notes (onset, duration, pitch, velocity, track) unsorted; the rest as `place_bars`.
    """
    starts, measures, irregular = place_bars(bars)
    return _sounding(list(zip(bars, starts, strict=True))), measures, irregular


def place_bars(bars: Sequence[Bar]) -> tuple[list[int], list[MeasureRow], int]:
    """Lays bars out in full measures, so that every bar line of a full bar is a measure line.

    The rules for a bar that is shorter or longer than its metre, in this order:

    1. A second or later ending starts where the first ending of its repeat started inside the measure.
    2. A short bar that exactly completes the short bar before it shares its measure, whatever the line between them.
    3. A short bar that begins a strain is an upbeat. It shares the last measure of the strain before, at its end, when
       there is room; else it gets a measure of its own, after silence.
       A bar that begins an ending, and the last bar, are no upbeats.
    4. Any other short bar is followed by silence. Inside a strain it counts as irregular.
    5. A long bar is split from its start, and silence follows the remainder, if any; then it counts as irregular.

    Returns:
        the sub-tick at which each bar starts, measures (start, numerator, denominator), and the number of irregular
        bars.
    """
    starts: list[int] = []
    measures: list[MeasureRow] = []
    end = 0  # of the measures, in sub-ticks
    room = 0  # silence that may still be filled at the end of the last measure
    ending_offset = irregular = 0
    for index, bar in enumerate(bars):
        before = bars[index - 1] if index else None
        new_strain = before is None or before.ends_strain
        short = bar.length < bar.full
        # An ending follows on, and the last bar leads nowhere: neither is an upbeat.
        upbeat = short and new_strain and not bar.ending and index + 1 < len(bars)
        if before and bar.ending < 2 and (bar.length == room or (upbeat and bar.length < room)):
            start, offset, room = end - bar.length, before.full - bar.length, 0
        else:
            irregular += room > 0 and not new_strain and not bar.ending
            offset = bar.full - bar.length if upbeat else ending_offset if bar.ending > 1 else 0
            if offset + bar.length > bar.full:
                offset = 0
            start = end + offset
            for _ in range(-(-(offset + bar.length) // bar.full)):
                measures.append((end // FINE, *bar.metre))
                end += bar.full
            room = end - start - bar.length
            if room and not short:
                irregular, room = irregular + 1, 0
        if bar.ending == 1:
            ending_offset = offset
        starts.append(start)
    return starts, measures, irregular


def _sounding(placed: list[tuple[Bar, int]]) -> list[NoteRow]:
    """Notes in ticks, ties joined where no silence came between."""
    rows: list[tuple[int, int, int]] = []  # start, end, pitch in sub-ticks
    newest: dict[int, int] = {}  # pitch -> its newest row
    for bar, bar_start in placed:
        for note in bar.notes:
            start = bar_start + note.start
            row = newest.get(note.pitch)
            if note.continues and row is not None and rows[row][1] == start:
                rows[row] = (rows[row][0], start + note.length, note.pitch)
            else:
                newest[note.pitch] = len(rows)
                rows.append((start, start + note.length, note.pitch))
    ticks = ((_round(start), _round(end), pitch) for start, end, pitch in rows)
    return [(start, end - start, pitch, DEFAULT_VELOCITY, 0) for start, end, pitch in ticks if end > start]


def _round(fine: int) -> int:
    return (fine + FINE // 2) // FINE
