"""MusicXML to `Score`.

music21 serves the tests as a second opinion. As a reader it is several times slower (over a minute for 12,000
measures), hangs on a metre of 99999/4, and lengthens an upbeat by a rest for the whole measure. Bars become full
measures by `bars.lay_bars`, as in ABC.
"""

import math
import os
import xml.etree.ElementTree as ET
from collections import OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np

from musicvae_jax.codec.bars import SUBTICKS, Bar, check_extent, lay_bars, to_ticks
from musicvae_jax.codec.errors import MusicError, read_bytes
from musicvae_jax.codec.musicxml_file import MAX_TEXT, is_archive, parse_xml, unpack
from musicvae_jax.codec.musicxml_part import PartReader, XmlChord, XmlNote, XmlPart, number_in, text_of
from musicvae_jax.codec.score import TEMPOS, Metre, Part, Score, sort_notes
from musicvae_jax.codec.tracks import known_parts, program_of

_MAX_PARTS = 200
_MAX_NOTES = 60_000  # with rests; a string quartet of 45 minutes has 20,000
_TOLERANCE = 2 * SUBTICKS  # a bar may be so much too long or too short: rounded tuplets
_BEAT_UNITS = {"long": 16.0, "breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25}
_READ = """
    score-partwise score-timewise work work-title movement-title identification creator miscellaneous
    miscellaneous-field part-list score-part part-name midi-instrument midi-channel midi-program midi-unpitched
    part measure note grace cue chord pitch step alter octave rest unpitched duration tie voice staff instrument
    notations fermata backup forward attributes divisions staves time beats beat-type senza-misura key fifths mode
    transpose chromatic octave-change barline bar-style repeat ending direction direction-type metronome beat-unit
    beat-unit-dot per-minute sound harmony root root-step root-alter kind bass bass-step bass-alter degree degree-value
    degree-alter degree-type offset
"""
_ELEMENTS = frozenset(_READ.split())  # all others are dropped with their content


def read_musicxml(path: str | os.PathLike[str], *, drums: bool = False) -> Score:
    """The piece of a MusicXML file, compressed or not, as written: repeats are not expanded.

    Track n is the n-th staff from the top, with all its voices. Tied notes are one note. Grace notes, cue notes and
    notes of no length are left out. Velocity is a note's ``dynamics``, or the default. Phrases end with notes that have
    a fermata, in the first track that has any. A chord symbol lasts to the next. A part without a MIDI program gets one
    by its name.

    Args:
        path: the file.
        drums: keep percussion, as tracks whose part is a drum.

    Raises:
        MusicError: "missing", "empty" (no notes), "unreadable", "corrupt", "size", "metre", "range" or "length".
    """
    source = str(path)
    data = read_bytes(path, MAX_TEXT)
    root = _parse(unpack(data, source) if is_archive(data) else data, source)
    described = {element.get("id", ""): element for element in root.iter("score-part")}
    parts = [PartReader(described[part.get("id", "")], source).read(part) for part in root.findall("part")]
    kept = [part for part in parts if drums or not part.part.is_drum]
    if not any(part.notes for part in kept):
        percussion = any(part.notes for part in parts)
        raise MusicError(source, "parts", "empty", "no notes" + " but percussion" * percussion)
    bars, lengths = _bars(parts)
    check_extent(bars, source, "parts")
    starts, measures, _ = lay_bars(bars)
    staves = [[note for note in part.notes if note.staff == staff] for part in kept for staff in range(part.staves)]
    notes, phrase_ends = _join_ties(staves, bars, lengths, starts)
    fifths, mode = _key(root)
    return Score(
        notes,
        np.array(measures, np.int32),
        fifths=fifths,
        mode=mode,
        tempo=_tempo(root),
        title=text_of(root.find("work/work-title")) or text_of(root.find("movement-title")) or Path(path).stem,
        source=source,
        composer=next((text_of(name) for name in root.iter("creator") if name.get("type") == "composer"), ""),
        style=next((text_of(name) for name in root.iter("miscellaneous-field") if name.get("name") == "style"), ""),
        parts=known_parts(_with_program(part) for part in kept for _ in range(part.staves)),
        chords=_chords(parts, starts, measures[-1][0] + Metre(*measures[-1][1:]).ticks),
        phrase_ends=np.array(phrase_ends, np.int32),
    )


def _parse(text: bytes, source: str) -> ET.Element:
    """The root of a document of the right kind and size; see `parse_xml`."""
    root = parse_xml(text, source, _ELEMENTS)
    if root.tag != "score-partwise":
        raise MusicError(source, "root", "unreadable", f"<{root.tag}>; allowed: <score-partwise>")
    listed = {element.get("id", "") for element in root.iter("score-part")}
    parts = [element.get("id", "") for element in root.findall("part")]
    notes = sum(1 for _ in root.iter("note"))
    if len(parts) > _MAX_PARTS or notes > _MAX_NOTES:
        limits = f"up to {_MAX_PARTS} and {_MAX_NOTES:,}"
        raise MusicError(source, "file", "size", f"{len(parts):,} parts, {notes:,} notes; allowed: {limits}")
    if unlisted := [name for name in parts if name not in listed]:
        raise MusicError(source, "part-list", "corrupt", f"no <score-part> describes the part {unlisted[0][:20]!r}")
    return root


def _key(root: ET.Element) -> tuple[int | None, str]:
    """Sounding fifths, and mode, of the first key in the score."""
    for attributes in root.iter("attributes"):
        key = attributes.find("key")
        if key is None:
            continue
        fifths = number_in(text_of(key.find("fifths")))
        if not -7 <= fifths <= 7:
            return None, ""
        chromatic = number_in(text_of(attributes.find("transpose/chromatic")) or "0")
        shift = 7 * int(chromatic) % 12 if abs(chromatic) <= 60 else 0
        sounding = int(fifths) + (shift if shift <= 6 else shift - 12)
        sounding -= 12 * (sounding > 7) - 12 * (sounding < -7)
        mode = text_of(key.find("mode")).lower()
        return sounding, "" if mode == "none" else mode
    return None, ""


def _tempo(root: ET.Element) -> float:
    """Quarters per minute: the first tempo for playback, otherwise the first printed one, otherwise 120."""
    tempos = [number_in(sound.get("tempo", "")) for sound in root.iter("sound")]
    for mark in root.iter("metronome"):
        beat = _BEAT_UNITS.get(text_of(mark.find("beat-unit")), math.nan)
        dots = min(len(mark.findall("beat-unit-dot")), 4)
        tempos.append(beat * (2 - 0.5**dots) * number_in(text_of(mark.find("per-minute"))))
    return next((tempo for tempo in tempos if TEMPOS[0] <= tempo <= TEMPOS[1]), 120.0)


def _bars(parts: list[XmlPart]) -> tuple[list[Bar], list[int]]:
    """The bars of all parts together, and the unrounded length of each in sub-ticks. Upper parts take precedence."""
    bars: list[Bar] = []
    lengths: list[int] = []
    metre = Metre(4, 4)
    for index in range(max(len(part.measures) for part in parts)):
        measures = [part.measures[index] for part in parts if index < len(part.measures)]
        metre = next((measure.metre for measure in measures if measure.metre), metre)
        if bars and any(measure.double_start for measure in measures):
            bars[-1].line = "||"
        bar = Bar(metre, line="||" if any(measure.double_end for measure in measures) else "|")
        bar.ending = next((measure.ending for measure in measures if measure.ending), 0)
        # A single rest may stand for a measure of any length.
        rests = min(max(measure.rests_end for measure in measures), bar.full)
        bar.length = max(rests, *(measure.notes_end for measure in measures))
        lengths.append(bar.length)
        if not bar.length or abs(bar.length - bar.full) <= _TOLERANCE:
            bar.length = bar.full
        bars.append(bar)
    return bars, lengths


class _Tied:
    """Rows of notes that end at one place and go on, each for one note: the oldest of a voice, else the oldest."""

    def __init__(self) -> None:
        # Number -> voice and row, oldest first. The first entry of a plain dict is slow to find after many are gone.
        self._rows: OrderedDict[int, tuple[str, list[int]]] = OrderedDict()
        self._of_voice: dict[str, deque[int]] = defaultdict(deque)
        self._number = 0

    def add(self, voice: str, row: list[int]) -> None:
        self._rows[self._number] = voice, row
        self._of_voice[voice].append(self._number)
        self._number += 1

    def take(self, voice: str) -> list[int] | None:
        """A row, which is then gone; None if there is none."""
        if not self._rows:
            return None
        if not self._of_voice[voice]:
            voice = next(iter(self._rows.values()))[0]
        return self._rows.pop(self._of_voice[voice].popleft())[1]


def _join_ties(
    staves: list[list[XmlNote]], bars: list[Bar], lengths: list[int], starts: list[int]
) -> tuple[np.ndarray, list[int]]:
    """`Score.notes`, and the ticks at which notes with a fermata end in the first staff that has any.

    Args:
        staves: the notes of each staff, from the top.
        bars, lengths: see `_bars`.
        starts: of the bars, in sub-ticks.
    """
    rows: list[list[int]] = []
    phrase_ends: set[int] = set()
    for track, staff in enumerate(staves):
        tied: dict[tuple[int, int], _Tied] = defaultdict(_Tied)  # pitch and end -> notes that go on there
        held = []
        for note in sorted(staff, key=lambda note: (starts[note.bar] + note.start, note.pitch)):
            start, end = starts[note.bar] + note.start, starts[note.bar] + note.end
            if note.end == lengths[note.bar]:
                end = starts[note.bar] + bars[note.bar].length  # the bar's length may have been rounded
            row = tied[note.pitch, start].take(note.voice) if note.continues else None
            if row is None:
                row = [start, end, note.pitch, note.velocity, track]
                rows.append(row)
            row[1] = end
            if note.continued:
                tied[note.pitch, end].add(note.voice, row)
            if note.fermata:
                held.append(row)
        phrase_ends = phrase_ends or {to_ticks(row[1]) for row in held}
    notes = np.array([(to_ticks(start), to_ticks(end), *rest) for start, end, *rest in rows], np.int64)
    notes[:, 1] -= notes[:, 0]
    return sort_notes(notes[notes[:, 1] > 0]), sorted(phrase_ends)


def _chords(parts: list[XmlPart], starts: list[int], end: int) -> np.ndarray:
    """`Score.chords` of a piece that ends at tick `end`; of several symbols at one tick the first."""
    by_tick: dict[int, XmlChord] = {}
    for part in parts:
        for symbol in part.chords:
            by_tick.setdefault(to_ticks(starts[symbol.bar] + symbol.start), symbol)
    onsets = sorted(tick for tick in by_tick if tick < end)
    rows = [
        (onset, following - onset, by_tick[onset].root, by_tick[onset].pitch_classes)
        for onset, following in zip(onsets, [*onsets[1:], end], strict=False)
        if by_tick[onset].pitch_classes
    ]
    return np.array(rows, np.int32).reshape(-1, 4)


def _with_program(part: XmlPart) -> Part:
    return part.part if part.has_program else part.part._replace(program=program_of(part.part.name))
