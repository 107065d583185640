"""Bars as written, which may be short or long, and how they become measures as long as their metre (ABC, MusicXML).

Times inside bars are in sub-ticks, so that tuplets and dotted notes stay whole numbers.
"""

import dataclasses
import re
from collections.abc import Sequence

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import DEFAULT_VELOCITY, MAX_MEASURES, MAX_TICK, TICKS_PER_QUARTER, Metre, check_metre

SUBTICKS = 5040  # per tick: 2^4 * 3^2 * 5 * 7
QUARTER = TICKS_PER_QUARTER * SUBTICKS

MeasureRow = tuple[int, int, int]  # as in Score.measures
NoteRow = tuple[int, int, int, int, int]  # as in Score.notes


@dataclasses.dataclass(slots=True)
class BarNote:
    """A note as written."""

    start: int  # sub-ticks from the start of the bar
    length: int  # sub-ticks
    pitch: int
    continues: bool  # a tie leads into it from the note of the same pitch before


@dataclasses.dataclass(slots=True)
class Bar:
    """What is written between two bar lines. It can be shorter or longer than its metre."""

    metre: Metre
    notes: list[BarNote] = dataclasses.field(default_factory=list)
    length: int = 0  # sub-ticks
    line: str = ""  # the bar line that ends it
    ending: int = 0  # of the first bar of a first, second, ... ending of a repeat: its number; else 0

    @property
    def full(self) -> int:
        """The length of its metre, in sub-ticks."""
        return self.metre.ticks * SUBTICKS

    @property
    def ends_strain(self) -> bool:
        """Whether a strain, a section of the tune, ends with it: in a repeat, double or final bar line."""
        return self.line != "|"


def parse_metre(text: str, source: str) -> Metre:
    """Reads ``C``, ``C|``, ``6/8`` or ``2+3/8``; raises `MusicError` "metre" for any other text."""
    text = text.strip()
    common = {"C": Metre(4, 4), "C|": Metre(2, 2)}.get(text)
    if common:
        return common
    match = re.fullmatch(r"\(?(\d{1,3}(?:\s*\+\s*\d{1,3})*)\)?\s*/\s*(\d{1,3})", text)
    if not match:
        raise MusicError(source, "M:", "metre", f"{text!r}; allowed: C, C| or a fraction such as 6/8")
    metre = Metre(sum(int(number) for number in match[1].split("+")), int(match[2]))
    return check_metre(metre, source=source, place="M:")


def check_extent(bars: Sequence[Bar], source: str, place: str) -> None:
    """Raises `MusicError` "length" if the bars make more measures or ticks than a `Score` holds."""
    counts = [1 + bar.length // bar.full for bar in bars]
    ticks = sum(count * bar.metre.ticks for count, bar in zip(counts, bars, strict=True))
    if sum(counts) > MAX_MEASURES or ticks > MAX_TICK:
        raise MusicError(source, place, "length", f"over {MAX_MEASURES} measures, or {MAX_TICK} ticks")


def lay_bars(bars: Sequence[Bar]) -> tuple[list[int], list[MeasureRow], int]:
    """Gives every bar its place in a row of full measures; a bar as long as its metre becomes one measure.

    For other bars the first rule that applies holds:

    1. A second or later ending starts as far from the start of its measure as the first ending did, if it fits there.
    2. A bar that exactly fills the silence after the short bar before it shares the measure of that bar.
    3. A short bar at the start of a strain is an upbeat, unless it starts an ending or is the last bar. It ends with
       its measure: the last one of the strain before, if that has enough silence, else a new one with silence first.
    4. Any other short bar starts a measure and is followed by silence. If a bar of the same strain follows, it counts
       as irregular.
    5. A long bar is split into measures. If the last of them is not full, silence follows and it counts as irregular.

    Returns:
        the start of each bar in sub-ticks, the measures, and the number of irregular bars.
    """
    starts: list[int] = []
    measures: list[MeasureRow] = []
    end = 0  # of the measures, in sub-ticks
    room = 0  # silence at the end of the last measure, which the next bar may fill
    ending_offset = irregular = 0
    for index, bar in enumerate(bars):
        before = bars[index - 1] if index else None
        new_strain = before is None or before.ends_strain
        short = bar.length < bar.full
        upbeat = short and new_strain and not bar.ending and index + 1 < len(bars)
        if before and bar.ending < 2 and (bar.length == room or (upbeat and bar.length < room)):
            start, offset, room = end - bar.length, before.full - bar.length, 0
        else:
            irregular += room > 0 and not new_strain and not bar.ending  # the bar before
            offset = bar.full - bar.length if upbeat else ending_offset if bar.ending > 1 else 0
            if offset + bar.length > bar.full:
                offset = 0
            start = end + offset
            for _ in range(-(-(offset + bar.length) // bar.full)):
                measures.append((end // SUBTICKS, *bar.metre))
                end += bar.full
            room = end - start - bar.length
            if room and not short:
                irregular, room = irregular + 1, 0
        if bar.ending == 1:
            ending_offset = offset
        starts.append(start)
    return starts, measures, irregular


def join_tied(bars: Sequence[Bar], starts: Sequence[int]) -> list[NoteRow]:
    """The notes of bars that start at `starts`, unsorted; tied notes become one, unless there is silence between."""
    rows: list[tuple[int, int, int]] = []  # start, end, pitch
    newest: dict[int, int] = {}  # pitch -> its newest row
    for bar, bar_start in zip(bars, starts, strict=True):
        for note in bar.notes:
            start = bar_start + note.start
            row = newest.get(note.pitch)
            if note.continues and row is not None and rows[row][1] == start:
                rows[row] = (rows[row][0], start + note.length, note.pitch)
            else:
                newest[note.pitch] = len(rows)
                rows.append((start, start + note.length, note.pitch))
    ticks = ((to_ticks(start), to_ticks(end), pitch) for start, end, pitch in rows)
    return [(start, end - start, pitch, DEFAULT_VELOCITY, 0) for start, end, pitch in ticks if end > start]


def to_ticks(subticks: int) -> int:
    """The nearest tick."""
    return (subticks + SUBTICKS // 2) // SUBTICKS
