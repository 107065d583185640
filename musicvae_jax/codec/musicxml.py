"""MusicXML to `Score`, through music21.

music21 reads the notes: voices, chords, ties, staves, chord symbols. What it must not see, and what the bar lines say,
`musicxml_tree` takes out before; the bars become full measures by the rules for ABC (`place_bars`).
"""

import functools
import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicvae_jax.codec.abc_bars import FINE, Bar
from musicvae_jax.codec.abc_measures import place_bars
from musicvae_jax.codec.check import MAX_MEASURES
from musicvae_jax.codec.chord_kinds import bits_of
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml_tree import XmlMeasure, XmlPart, XmlScore, read_tree
from musicvae_jax.codec.mxl import MAX_TEXT, is_archive, unpack
from musicvae_jax.codec.score import DEFAULT_VELOCITY, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, Metre, Part, Score
from musicvae_jax.codec.source import read_bytes
from musicvae_jax.codec.tracks import known_parts

_QUARTER = TICKS_PER_QUARTER * FINE  # in sub-ticks
_TOLERANCE = 2 * FINE  # rounded tuplets may make a bar so much too long or too short


class _Note(NamedTuple):
    """A note head; times in sub-ticks from the start of its bar."""

    bar: int
    start: int
    end: int
    pitch: int
    velocity: int
    continues: bool  # tied to a note before
    continued: bool  # tied to a note after
    voice: str
    fermata: bool


class _Chord(NamedTuple):
    """A chord symbol."""

    bar: int
    start: int
    root: int  # -1 where the symbol says that there is no chord
    pitch_classes: int  # bit set


class _Staff(NamedTuple):
    """What music21 finds on one staff."""

    notes: list[_Note]
    chords: list[_Chord]
    lengths: list[int]  # of each bar, 0 where nothing but gaps is in it


def read_musicxml(path: str | os.PathLike[str], *, drums: bool = False) -> Score:
    """The piece of a MusicXML file, compressed or not, as the page has it: no repeat is expanded.

    Track n is the n-th staff from the top; all voices of a staff are one track. Tied notes are one note. Grace notes,
    cue notes and notes that last no time are left out. Velocity is a note's own ``dynamics``, else the default. Phrases
    end where a note with a fermata ends, in the first track that has any. A chord symbol lasts to the next.

    Args:
        path: the file.
        drums: keep percussion, as tracks whose part is a drum.

    Raises:
        MusicError: "missing", "empty" (no notes), "unreadable", "corrupt", "size", "metre", "range" or "length".
    """
    source = str(path)
    data = read_bytes(path, MAX_TEXT)
    text = unpack(data, source) if is_archive(data) else data
    if len(text) > MAX_TEXT:
        raise MusicError(source, "file", "size", f"over {MAX_TEXT:,} bytes; allowed: up to that")
    document = read_tree(text, source)
    parts: list[Part] = []
    staves: list[_Staff] = []
    for part in document.parts:
        found = _read_staves(part, source)
        if drums or not part.part.is_drum:
            staves += found
            parts += [_with_program(part)] * len(found)
    if not any(staff.notes for staff in staves):
        percussion = any(part.notes for part in document.parts)
        raise MusicError(source, "parts", "empty", "no notes" + " but percussion" * percussion)
    bars = _bars(document, staves, source)
    starts, measures, _ = place_bars(bars)
    end = measures[-1][0] + Metre(*measures[-1][1:]).ticks
    ends = [start + bar.length for start, bar in zip(starts, bars, strict=True)]
    notes, phrase_ends = _join_ties(staves, starts, ends)
    return Score(
        notes,
        np.array(measures, np.int32),
        fifths=document.fifths,
        mode=document.mode,
        tempo=document.tempo,
        title=document.title or Path(path).stem,
        source=source,
        composer=document.composer,
        style=document.style,
        parts=known_parts(parts),
        chords=_chords([chord for staff in staves for chord in staff.chords], starts, end),
        phrase_ends=np.array(phrase_ends, np.int32),
    )


def _read_staves(part: XmlPart, source: str) -> list[_Staff]:
    """One part, through music21."""
    # The import takes seconds: only a reader of MusicXML pays for it.
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    place = part.part.name or "part"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importer = MusicXMLImporter()
            importer.xmlRootToScore(part.element, importer.stream)  # only there are the staves of one part found
            staves = [_read_staff(staff, part.measures) for staff in importer.stream.parts]
    except Exception as error:  # noqa: BLE001 (music21 raises errors of all kinds on damaged files)
        raise MusicError(source, place, "corrupt", f"{type(error).__name__}: {error}"[:200]) from None
    found = sum(len(staff.notes) for staff in staves)
    if found != part.notes:
        detail = f"{part.notes - found} of {part.notes} notes are on a staff, or in a chord, that does not exist"
        raise MusicError(source, place, "corrupt", detail)
    pitches = [note.pitch for staff in staves for note in staff.notes]
    if pitches and not 0 <= min(pitches) <= max(pitches) <= 127:
        raise MusicError(source, place, "range", f"MIDI pitches {min(pitches)} to {max(pitches)}; allowed: 0 to 127")
    return staves


def _read_staff(staff: Any, measures: list[XmlMeasure]) -> _Staff:
    from music21 import chord, harmony, note

    notes: list[_Note] = []
    chords: list[_Chord] = []
    lengths = []
    for bar, measure in enumerate(staff.getElementsByClass("Measure")):
        length, shift = 0, measures[bar].shift
        for offset, voice, element in _elements(measure):
            start = _fine(offset)
            if isinstance(element, harmony.ChordSymbol):
                silent = isinstance(element, harmony.NoChord)
                classes = [] if silent else [pitch.midi + shift for pitch in element.pitches]
                root = -1 if silent else (element.root().midi + shift) % 12
                chords.append(_Chord(bar, start, root, bits_of(classes)))
                continue
            end = _fine(offset + element.duration.quarterLength)
            if measures[bar].filled and not element.style.hideObjectOnPrint:  # as music21 has gaps
                length = max(length, end)
            heads = element.notes if isinstance(element, chord.Chord) else [element]
            fermata = any("Fermata" in expression.classes for expression in element.expressions)
            for head in heads if end > start else ():
                if isinstance(head, note.Note):
                    velocity = head.volume.velocity if head.hasVolumeInformation() else None
                    velocity = DEFAULT_VELOCITY if velocity is None else min(max(velocity, 1), 127)
                    tie = head.tie.type if head.tie is not None else ""
                    ties = (tie in {"stop", "continue"}, tie in {"start", "continue"})
                    pitch = round(head.pitch.ps) + shift
                    notes.append(_Note(bar, start, end, pitch, velocity, *ties, voice, fermata))
        lengths.append(length)
    return _Staff(notes, chords, lengths)


def _elements(stream: Any, start: Any = 0, voice: str = "") -> Iterator[tuple[Any, str, Any]]:
    """(offset in quarters, voice, element) of notes, rests and chords of a measure and of its voices."""
    for element in stream:
        if element.isStream:
            yield from _elements(element, start + element.offset, str(element.id))
        elif "GeneralNote" in element.classes:
            yield start + element.offset, voice, element


def _fine(quarters: Any) -> int:
    return round(Fraction(quarters) * _QUARTER)


def _bars(document: XmlScore, staves: list[_Staff], source: str) -> list[Bar]:
    """What all parts together say about each bar: the upper ones first."""
    bars: list[Bar] = []
    metre = Metre(4, 4)
    for index in range(max(len(part.measures) for part in document.parts)):
        said = [part.measures[index] for part in document.parts if index < len(part.measures)]
        metre = next((measure.metre for measure in said if measure.metre), metre)
        if bars and any(measure.double_start for measure in said):
            bars[-1].line = "||"
        length = max((staff.lengths[index] for staff in staves if index < len(staff.lengths)), default=0)
        bar = Bar(metre, length=length, line="||" if any(measure.double_end for measure in said) else "|")
        bar.ending = next((measure.ending for measure in said if measure.ending), 0)
        if not length or abs(length - bar.full) <= _TOLERANCE:
            bar.length = bar.full
        bars.append(bar)
    if sum(1 + bar.length // bar.full for bar in bars) > MAX_MEASURES:
        raise MusicError(source, "parts", "length", f"over {MAX_MEASURES} measures")
    return bars


def _join_ties(staves: list[_Staff], starts: list[int], ends: list[int]) -> tuple[np.ndarray, list[int]]:
    """All notes as `Score.notes` has them, and the ticks at which notes with a fermata end in the first such staff.

    Args:
        staves: from the top.
        starts, ends: of the bars, in sub-ticks.
    """
    rows: list[list[int]] = []
    phrase_ends: set[int] = set()
    for track, staff in enumerate(staves):
        tied: dict[tuple[int, int], dict[str, list[int]]] = {}  # pitch and end -> voice -> the row of a note
        held = []
        for note in sorted(staff.notes, key=lambda note: (starts[note.bar] + note.start, note.pitch)):
            start, end = starts[note.bar] + note.start, starts[note.bar] + note.end
            if abs(end - ends[note.bar]) <= _TOLERANCE:
                end = ends[note.bar]
            before = tied.get((note.pitch, start), {}) if note.continues else {}
            row = before.pop(note.voice if note.voice in before else next(iter(before), ""), None)
            if row is None:
                row = [start, end, note.pitch, note.velocity, track]
                rows.append(row)
            row[1] = end
            if note.continued:
                tied.setdefault((note.pitch, end), {})[note.voice] = row
            if note.fermata:
                held.append(row)
        phrase_ends = phrase_ends or {_tick(row[1]) for row in held}
    notes = np.array([(_tick(start), _tick(end), *rest) for start, end, *rest in rows], np.int64)
    notes[:, 1] -= notes[:, 0]
    notes = notes[notes[:, 1] > 0]
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    return notes.astype(np.int32), sorted(phrase_ends)


def _chords(symbols: list[_Chord], starts: list[int], end: int) -> np.ndarray:
    by_tick: dict[int, _Chord] = {}
    for symbol in symbols:
        by_tick.setdefault(_tick(starts[symbol.bar] + symbol.start), symbol)
    onsets = sorted(tick for tick in by_tick if tick < end)
    rows = [
        (onset, following - onset, by_tick[onset].root, by_tick[onset].pitch_classes)
        for onset, following in zip(onsets, [*onsets[1:], end], strict=False)
        if by_tick[onset].pitch_classes
    ]
    return np.array(rows, np.int32).reshape(-1, 4)


def _tick(fine: int) -> int:
    return (fine + FINE // 2) // FINE


def _with_program(part: XmlPart) -> Part:
    return part.part if part.named_program else part.part._replace(program=_program_of(part.part.name))


@functools.cache
def _program_of(name: str) -> int:
    """The General MIDI program of an instrument or voice, where a file has only its name."""
    from music21 import instrument
    from music21.exceptions21 import InstrumentException

    try:
        return int(instrument.fromString(name).midiProgram or 0)
    except InstrumentException:
        return 0
