"""MusicXML to `Score`.

The reader is this package's own. music21, which serves as the tests' second opinion, builds an object for everything on
the page: it takes several times as long, over a minute for 12,000 measures, hangs on a metre of 99999/4, and lengthens
an upbeat by a rest for the whole measure. The bars become full measures by the rules for ABC (`place_bars`).
"""

import os
from pathlib import Path

import numpy as np

from musicvae_jax.codec.abc_bars import FINE, Bar
from musicvae_jax.codec.abc_measures import check_extent, place_bars
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml_head import parse_score, read_head
from musicvae_jax.codec.musicxml_part import PartReader, XmlChord, XmlNote, XmlPart
from musicvae_jax.codec.mxl import MAX_TEXT, is_archive, unpack
from musicvae_jax.codec.programs import program_of
from musicvae_jax.codec.score import ONSET, PITCH, TRACK, Metre, Part, Score
from musicvae_jax.codec.source import read_bytes
from musicvae_jax.codec.tracks import known_parts

_TOLERANCE = 2 * FINE  # rounded tuplets may make a bar so much too long or too short


def read_musicxml(path: str | os.PathLike[str], *, drums: bool = False) -> Score:
    """The piece of a MusicXML file, compressed or not, as the page has it: no repeat is expanded.

    Track n is the n-th staff from the top; all voices of a staff are one track. Tied notes are one note. Grace notes,
    cue notes and notes that last no time are left out. Velocity is a note's own ``dynamics``, else the default. Phrases
    end where a note with a fermata ends, in the first track that has any. A chord symbol lasts to the next. A part
    without a MIDI program gets one by its name.

    Args:
        path: the file.
        drums: keep percussion, as tracks whose part is a drum.

    Raises:
        MusicError: "missing", "empty" (no notes), "unreadable", "corrupt", "size", "metre", "range" or "length".
    """
    source = str(path)
    data = read_bytes(path, MAX_TEXT)
    root = parse_score(unpack(data, source) if is_archive(data) else data, source)
    head = read_head(root)
    described = {element.get("id", ""): element for element in root.iter("score-part")}
    parts = [PartReader(described[part.get("id", "")], source).read(part) for part in root.findall("part")]
    played = [part for part in parts if part.notes and (drums or not part.part.is_drum)]
    if not played:
        percussion = any(part.notes for part in parts)
        raise MusicError(source, "parts", "empty", "no notes" + " but percussion" * percussion)
    bars, lengths = _bars(parts)
    check_extent(bars, source, "parts")
    starts, measures, _ = place_bars(bars)
    end = measures[-1][0] + Metre(*measures[-1][1:]).ticks
    kept = [part for part in parts if drums or not part.part.is_drum]
    staves = [[note for note in part.notes if note.staff == staff] for part in kept for staff in range(part.staves)]
    notes, phrase_ends = _join_ties(staves, bars, lengths, starts)
    return Score(
        notes,
        np.array(measures, np.int32),
        fifths=head.fifths,
        mode=head.mode,
        tempo=head.tempo,
        title=head.title or Path(path).stem,
        source=source,
        composer=head.composer,
        style=head.style,
        parts=known_parts(_with_program(part) for part in kept for _ in range(part.staves)),
        chords=_chords([chord for part in parts for chord in part.chords], starts, end),
        phrase_ends=np.array(phrase_ends, np.int32),
    )


def _bars(parts: list[XmlPart]) -> tuple[list[Bar], list[int]]:
    """What all parts together say about each bar, the upper ones first; and how long each is to the last sub-tick."""
    bars: list[Bar] = []
    lengths: list[int] = []
    metre = Metre(4, 4)
    for index in range(max(len(part.measures) for part in parts)):
        said = [part.measures[index] for part in parts if index < len(part.measures)]
        metre = next((measure.metre for measure in said if measure.metre), metre)
        if bars and any(measure.double_start for measure in said):
            bars[-1].line = "||"
        bar = Bar(metre, line="||" if any(measure.double_end for measure in said) else "|")
        bar.ending = next((measure.ending for measure in said if measure.ending), 0)
        # A rest alone may stand for a measure of any length.
        rests = min(max(measure.rests_end for measure in said), bar.full)
        bar.length = max(rests, *(measure.notes_end for measure in said))
        lengths.append(bar.length)
        if not bar.length or abs(bar.length - bar.full) <= _TOLERANCE:
            bar.length = bar.full
        bars.append(bar)
    return bars, lengths


def _join_ties(
    staves: list[list[XmlNote]], bars: list[Bar], lengths: list[int], starts: list[int]
) -> tuple[np.ndarray, list[int]]:
    """All notes as `Score.notes` has them, and the ticks at which notes with a fermata end in the first such staff.

    Args:
        staves: notes of each, from the top.
        bars, lengths: as `_bars` has them.
        starts: where each bar starts, in sub-ticks.
    """
    rows: list[list[int]] = []
    phrase_ends: set[int] = set()
    for track, staff in enumerate(staves):
        tied: dict[tuple[int, int], list[tuple[str, list[int]]]] = {}  # pitch and end -> voices and rows of notes
        held = []
        for note in sorted(staff, key=lambda note: (starts[note.bar] + note.start, note.pitch)):
            start, end = starts[note.bar] + note.start, starts[note.bar] + note.end
            if note.end == lengths[note.bar]:
                end = starts[note.bar] + bars[note.bar].length  # of a bar that is not quite as long as its metre says
            before = tied.get((note.pitch, start), []) if note.continues else []
            if before:
                voices = [voice for voice, _ in before]
                _, row = before.pop(voices.index(note.voice) if note.voice in voices else 0)
            else:
                row = [start, end, note.pitch, note.velocity, track]
                rows.append(row)
            row[1] = end
            if note.continued:
                tied.setdefault((note.pitch, end), []).append((note.voice, row))
            if note.fermata:
                held.append(row)
        phrase_ends = phrase_ends or {_tick(row[1]) for row in held}
    notes = np.array([(_tick(start), _tick(end), *rest) for start, end, *rest in rows], np.int64)
    notes[:, 1] -= notes[:, 0]
    notes = notes[notes[:, 1] > 0]
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    return notes.astype(np.int32), sorted(phrase_ends)


def _chords(symbols: list[XmlChord], starts: list[int], end: int) -> np.ndarray:
    by_tick: dict[int, XmlChord] = {}
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
    return part.part if part.has_program else part.part._replace(program=program_of(part.part.name))
