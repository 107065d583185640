"""`Score` to MusicXML with exact durations: a note whose length is no note value has no note type."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml_file import pack
from musicvae_jax.codec.musicxml_voices import VALUES, Piece, divide_voices, note_values
from musicvae_jax.codec.notation import chord_name, spell
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, Part, Score, check_score
from musicvae_jax.codec.tracks import part_of
from musicvae_jax.files import replacing

_MAX_PARTS = 200  # the limit of `read_musicxml`
_PITCHED = [channel for channel in range(1, 17) if channel != 10]  # channel 10 is percussion
_MODES = ("major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "aeolian", "ionian", "locrian")
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def write_musicxml(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a MusicXML file, compressed if its suffix is ``.mxl``, completely or not at all.

    ``read_musicxml(path, drums=True)`` reads the same score. MusicXML loses chords without a known root and name,
    phrase ends at which no note of the marked track ends, modes that it does not know, control characters and double
    spaces in names, and a missing title.

    Raises:
        MusicError: "invalid" or "metre" for a bad score, or over 200 tracks.
        OSError: the file cannot be written.
    """
    text = musicxml_text(score)
    content = pack(text) if Path(path).suffix.lower() == ".mxl" else text
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def musicxml_text(score: Score) -> bytes:
    """The document that `write_musicxml` writes."""
    check_score(score)
    tracks = max(len(score.parts), int(score.notes[:, TRACK].max(initial=0)) + 1)
    if tracks > _MAX_PARTS:
        raise MusicError(score.source, "tracks", "invalid", f"track {tracks - 1}; MusicXML is written for {_MAX_PARTS}")
    root = ET.Element("score-partwise", version="4.0")
    _child(_child(root, "work"), "work-title", score.title)
    identification = _child(root, "identification")
    if score.composer:
        _child(identification, "creator", score.composer, type="composer")
    if score.style:
        _child(_child(identification, "miscellaneous"), "miscellaneous-field", score.style, name="style")
    listed = _child(root, "part-list")
    marked = _marked_track(score)
    for track in range(tracks):
        part = part_of(score, track)
        if not 0 <= part.program <= 127:
            raise MusicError(score.source, f"part {track}", "invalid", f"program {part.program}; allowed: 0 to 127")
        _describe(listed, part, track)
        element = _child(root, "part", id=f"P{track + 1}")
        _PartWriter(score, track, phrase_ends=score.phrase_ends.tolist() if track == marked else []).write(element)
    ET.indent(root, " ")
    doctype = b'<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    doctype += b'"http://www.musicxml.org/dtds/partwise.dtd">\n'
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + doctype + ET.tostring(root, "utf-8") + b"\n"


def _marked_track(score: Score) -> int:
    """The track that gets the fermatas: the one in which notes end at the most phrase ends, the first of several."""
    ends = score.notes[np.isin(score.notes[:, ONSET] + score.notes[:, DURATION], score.phrase_ends)]
    spots = np.unique(np.stack([ends[:, TRACK], ends[:, ONSET] + ends[:, DURATION]], axis=1), axis=0)
    return int(np.bincount(spots[:, 0]).argmax()) if len(spots) else 0


def _describe(listed: ET.Element, part: Part, track: int) -> None:
    described = _child(listed, "score-part", id=f"P{track + 1}")
    _child(described, "part-name", part.name)
    instrument = f"P{track + 1}-I1"
    _child(_child(described, "score-instrument", id=instrument), "instrument-name", part.name)
    channel = 10 if part.is_drum else _PITCHED[track % len(_PITCHED)]
    _texts(_child(described, "midi-instrument", id=instrument), midi_channel=channel, midi_program=part.program + 1)


class _PartWriter:
    """Writes the measures of one track."""

    def __init__(self, score: Score, track: int, phrase_ends: Iterable[int]):
        self.score, self.track = score, track
        self.fifths = score.fifths or 0
        notes = score.notes[score.notes[:, TRACK] == track]
        self.voices = divide_voices(notes, set(phrase_ends), score.measures[1:, 0].tolist())
        self.low = len(notes) > 0 and float(np.median(notes[:, PITCH])) < 57

    def write(self, element: ET.Element) -> None:
        metre = None
        position = [0] * len(self.voices)
        for number, (start, *numbers) in enumerate(self.score.measures.tolist(), 1):
            measure = _child(element, "measure", number=number)
            end = start + self.score.metre(number - 1).ticks
            if number == 1 or numbers != metre:
                self._attributes(measure, number == 1, numbers)
            metre = numbers
            if self.track == 0:
                if number == 1:
                    direction = _child(measure, "direction")
                    mark = _child(_child(direction, "direction-type"), "metronome")
                    _texts(mark, beat_unit="quarter", per_minute=f"{self.score.tempo:.10g}")
                    _child(direction, "sound", tempo=f"{self.score.tempo:.10g}")
                for tick, root, kind in _chords_in(self.score, start, end):
                    _harmony(measure, tick - start, root, kind)
            written = False
            for voice, pieces in enumerate(self.voices):
                first = position[voice]
                while position[voice] < len(pieces) and pieces[position[voice]].onset < end:
                    position[voice] += 1
                inside = pieces[first : position[voice]]
                if inside:
                    if written:
                        _move(measure, "backup", end - start)
                    self._voice(measure, inside, start, end, voice + 1)
                    written = True
            if not written:
                rest = _child(measure, "note")
                _child(rest, "rest", measure="yes")
                _texts(rest, duration=end - start, voice=1)

    def _attributes(self, measure: ET.Element, first: bool, numbers: list[int]) -> None:
        attributes = _child(measure, "attributes")
        if first:
            _child(attributes, "divisions", TICKS_PER_QUARTER)
            if self.score.fifths is not None:
                mode = self.score.mode if self.score.mode in _MODES else None
                _texts(_child(attributes, "key"), fifths=self.score.fifths, mode=mode)
        _texts(_child(attributes, "time"), beats=numbers[0], beat_type=numbers[1])
        if first:
            _texts(_child(attributes, "clef"), sign="F" if self.low else "G", line=4 if self.low else 2)

    def _voice(self, measure: ET.Element, pieces: list[Piece], start: int, end: int, voice: int) -> None:
        """Writes the pieces of one voice in a measure, with rests between them to fill the measure."""
        tick, before = start, None
        for piece in pieces:
            in_chord = before is not None and (piece.onset, piece.duration) == (before.onset, before.duration)
            if piece.onset > tick:
                self._rests(measure, piece.onset - tick, voice)
            self._note(measure, piece, voice, in_chord)
            tick, before = piece.onset + piece.duration, piece
        self._rests(measure, end - tick, voice)

    def _rests(self, measure: ET.Element, ticks: int, voice: int) -> None:
        for duration in note_values(ticks):
            if voice > 1:
                _move(measure, "forward", duration, voice)
            else:
                rest = _child(measure, "note")
                _child(rest, "rest")
                _duration(rest, duration, voice)

    def _note(self, measure: ET.Element, piece: Piece, voice: int, in_chord: bool) -> None:
        note = _child(measure, "note", dynamics=f"{piece.velocity / 0.9:.2f}")  # percent of a velocity of 90
        if in_chord:
            _child(note, "chord")
        step, alter, octave = spell(piece.pitch, self.fifths)
        _texts(_child(note, "pitch"), step=step, alter=alter or None, octave=octave)
        ties = [kind for kind, tied in (("stop", not piece.starts), ("start", not piece.ends)) if tied]
        _duration(note, piece.duration, voice, ties)
        if ties or piece.fermata:
            notations = _child(note, "notations")
            for kind in ties:
                _child(notations, "tied", type=kind)
            if piece.fermata:
                _child(notations, "fermata")


def _chords_in(score: Score, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    """(tick, root, kind) of the chord symbols of a measure; kind "none" where no chord follows."""
    chords = [(*chord[:3], chord_name(*chord[2:]) if chord[2] >= 0 else None) for chord in score.chords.tolist()]
    for index, (onset, duration, root, kind) in enumerate(chords):
        if kind and start <= onset < end:
            yield onset, root, kind
        stop = onset + duration
        following = chords[index + 1][0] if index + 1 < len(chords) else score.end
        if start <= stop < end and (stop < following or not kind):
            yield stop, 0, "none"


def _harmony(measure: ET.Element, offset: int, root: int, kind: str) -> None:
    harmony = _child(measure, "harmony")
    step, alter, _ = spell(root + 60, 0)
    _texts(_child(harmony, "root"), root_step=step, root_alter=alter or None)
    _texts(harmony, kind=kind, offset=offset or None)


def _duration(note: ET.Element, ticks: int, voice: int, ties: Iterable[str] = ()) -> None:
    _child(note, "duration", ticks)
    for kind in ties:
        _child(note, "tie", type=kind)
    _child(note, "voice", voice)
    if ticks in VALUES:
        name, dots, triplet = VALUES[ticks]
        _child(note, "type", name)
        for _ in range(dots):
            _child(note, "dot")
        if triplet:
            _texts(_child(note, "time-modification"), actual_notes=3, normal_notes=2)


def _move(measure: ET.Element, tag: str, ticks: int, voice: int | None = None) -> None:
    _texts(_child(measure, tag), duration=ticks, voice=voice)


def _child(parent: ET.Element, tag: str, content: object = "", **attributes: object) -> ET.Element:
    child = ET.SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    child.text = " ".join(_FORBIDDEN.sub("", str(content)).split()) or None
    return child


def _texts(parent: ET.Element, **contents: object) -> None:
    """Appends one child per content that is not None; ``_`` in a name stands for ``-`` in the tag."""
    for name, content in contents.items():
        if content is not None:
            _child(parent, name.replace("_", "-"), content)
