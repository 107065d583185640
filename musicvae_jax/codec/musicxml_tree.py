"""The tree of a MusicXML document before music21 sees it: checked, and cut down to what sounds and when.

music21 builds an object for everything on the page, and hangs on a metre of 99999/4. So what says nothing about notes
is left out here, every number is held to its bounds, and what concerns all parts (metres, bar lines, key, tempo) is
read here, once. Full-measure rests become plain gaps: music21 would stretch those of an upbeat to a measure.
"""

import math
import xml.etree.ElementTree as ET
from typing import NamedTuple

from musicvae_jax.codec.abc_bars import parse_metre
from musicvae_jax.codec.chord_kinds import KINDS
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Metre, Part
from musicvae_jax.codec.xml_safe import parse_xml

_MAX_EVENTS = 50_000  # notes, rests, and moves in time
_MAX_MEASURES = 50_000  # of all parts together
_MAX_PARTS = 200
_TEMPOS = (4.0, 60_000.0)  # quarters per minute; what lies outside is no tempo, and MIDI could not hold it
_MAX_DURATION = 1e9
_MAX_STAVES = 8
_BEAT_UNITS = {"long": 16.0, "breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25}
# The elements that are read; all others are left out with what is in them.
_READ = """
    score-partwise score-timewise work work-title movement-title identification creator miscellaneous
    miscellaneous-field part-list score-part part-name midi-instrument midi-channel midi-program midi-unpitched
    part measure note grace cue chord pitch step alter octave rest unpitched duration tie voice staff instrument
    notations fermata backup forward attributes divisions staves time beats beat-type senza-misura key fifths mode
    transpose chromatic octave-change barline bar-style repeat ending direction direction-type metronome beat-unit
    beat-unit-dot per-minute sound harmony root root-step root-alter kind bass bass-step bass-alter degree degree-value
    degree-alter degree-type offset
"""
_KEPT = frozenset(_READ.split())


class XmlMeasure(NamedTuple):
    """What a part says about a measure, beside its notes."""

    metre: Metre | None  # where it changes
    double_end: bool  # a repeat, double or final bar line at its end
    double_start: bool
    ending: int  # the number of the repeat's ending that starts with it, 0 for none
    shift: int  # semitones from the written to the sounding pitch
    filled: bool  # notes or rests say how long it is; music21 puts a rest of its own into others


class XmlPart(NamedTuple):
    """A part, ready for music21."""

    part: Part
    named_program: bool  # whether the file says which program plays it
    element: ET.Element  # a document with this part alone
    measures: list[XmlMeasure]
    notes: int  # how many it has


class XmlScore(NamedTuple):
    """A document."""

    parts: list[XmlPart]
    title: str
    composer: str
    style: str
    fifths: int | None
    mode: str
    tempo: float


def read_tree(text: bytes, source: str) -> XmlScore:
    """Checks a document and takes it apart.

    Raises:
        MusicError: as `parse_xml`; "unreadable" for another kind of document, "corrupt" for a number outside its
            bounds, "metre", or "size" for too many notes.
    """
    root = parse_xml(text, source, _KEPT)
    if root.tag != "score-partwise":
        raise MusicError(source, "root", "unreadable", f"<{root.tag}>; allowed: <score-partwise>")
    described = {element.get("id", ""): element for element in root.iter("score-part")}
    for what, tags, limit in (
        ("notes and rests", ("note", "forward", "backup", "attributes", "harmony"), _MAX_EVENTS),
        ("measures in all parts", ("measure",), _MAX_MEASURES),
        ("parts", ("part",), _MAX_PARTS),
    ):
        if sum(1 for tag in tags for _ in root.iter(tag)) > limit:
            raise MusicError(source, "file", "size", f"over {limit:,} {what}; allowed: up to that")
    fifths, mode = _key(root)
    composers = [element for element in root.iter("creator") if element.get("type") == "composer"]
    labels = [element for element in root.iter("miscellaneous-field") if element.get("name") == "style"]
    title = _text(root.find("work/work-title")) or _text(root.find("movement-title"))
    tempo = _tempo(root)
    parts = []
    for number, element in enumerate(root.findall("part")):
        name = element.get("id", "")
        if name not in described:
            raise MusicError(source, f"part {number}", "corrupt", f"no <score-part> describes the part {name!r}")
        parts.append(_PartReader(described[name], element, source).read())
    return XmlScore(
        parts, title, _text(next(iter(composers), None)), _text(next(iter(labels), None)), fifths, mode, tempo
    )


class _PartReader:
    """Cleans one part and reads what its measures say beside notes."""

    def __init__(self, described: ET.Element, element: ET.Element, source: str):
        self.described, self.element, self.source = described, element, source
        self.place = ""
        self.shift = 0
        self.notes = 0
        self.unpitched = False
        self.next_metre: Metre | None = None  # of a change at the end of a measure
        # The instrument's id -> the MIDI pitch that percussion without pitch plays.
        self.keys = {
            instrument.get("id", ""): int(key) - 1
            for instrument in described.iter("midi-instrument")
            if (key := _text(instrument.find("midi-unpitched"))).isdecimal() and 1 <= int(key) <= 128
        }

    def read(self) -> XmlPart:
        name = _text(self.described.find("part-name"))
        measures = []
        for number, measure in enumerate(self.element.findall("measure"), 1):
            self.place = f"{name or 'part'}, measure {number}"
            measures.append(self._measure(measure))
            measure.attrib = {"number": str(number)}
        program = _text(self.described.find("midi-instrument/midi-program"))
        has_program = program.isdecimal() and 1 <= int(program) <= 128
        is_drum = self.unpitched or _text(self.described.find("midi-instrument/midi-channel")) == "10"
        part = Part(name, int(program) - 1 if has_program else 0, is_drum)
        document = ET.Element("score-partwise")
        self.described[:] = self.described.findall("part-name")[:1]
        ET.SubElement(document, "part-list").append(self.described)
        document.append(self.element)
        return XmlPart(part, has_program, document, measures, self.notes)

    def _measure(self, measure: ET.Element) -> XmlMeasure:
        metre, self.next_metre = self.next_metre, None
        double_end = double_start = False
        ending = 0
        played: list[ET.Element] = []
        for child in measure:
            if child.tag == "attributes":
                changed = self._attributes(child)
                if any(before.tag == "note" for before in played[-1:]):
                    self.next_metre = changed or self.next_metre  # inside a measure it waits for the next bar line
                else:
                    metre = changed or metre
            elif child.tag == "barline":
                double = child.find("repeat") is not None or _text(child.find("bar-style")).startswith(
                    ("light-", "heavy")
                )
                double_start |= double and child.get("location") == "left"
                double_end |= double and child.get("location") != "left"
                mark = child.find("ending")
                if mark is not None and mark.get("type") == "start":
                    digits = [letter for letter in mark.get("number", "") if letter in "123456789"]
                    ending = int(digits[0]) if digits else 0
            elif child.tag in ("backup", "forward"):
                self._number(child, "duration", 0, _MAX_DURATION)
            if child.tag in ("attributes", "backup", "forward") or (
                self._note(child) if child.tag == "note" else child.tag == "harmony" and _known_harmony(child)
            ):
                played.append(child)
        measure[:] = played
        filled = any(child.tag == "note" for child in played)
        return XmlMeasure(metre, double_end, double_start, ending, self.shift, filled)

    def _attributes(self, attributes: ET.Element) -> Metre | None:
        """Checks what music21 needs, takes out the rest, and returns the metre, if one is given."""
        metre = None
        for child in attributes:
            if child.tag == "divisions":
                self._number(attributes, "divisions", 1e-3, 1e6)
            elif child.tag == "staves":
                child.text = str(int(self._number(attributes, "staves", 1, _MAX_STAVES)))
            elif child.tag == "time":
                metre = metre or self._time(child)
            elif child.tag == "transpose":
                octaves = self._number(child, "octave-change", -10, 10, missing=0)
                self.shift = round(self._number(child, "chromatic", -60, 60, missing=0) + 12 * octaves)
        read = {child.tag: child for child in reversed(attributes) if child.tag in ("divisions", "staves")}
        attributes[:] = read.values()  # the first of each
        return metre

    def _time(self, time: ET.Element) -> Metre:
        beats = [_text(element) for element in time.findall("beats")]
        units = {_text(element) for element in time.findall("beat-type")}
        if len(units) != 1:
            detail = "no one number of beats" if beats else "a measure without metre"
            raise MusicError(self.source, self.place, "metre", f"{detail}; allowed: a fraction such as 6/8")
        try:
            metre = parse_metre(f"{'+'.join(beats)}/{units.pop()}", self.source)
        except MusicError as error:
            raise MusicError(self.source, self.place, "metre", error.detail) from None
        return metre

    def _note(self, note: ET.Element) -> bool:
        """Cuts a note down to what sounds, within bounds, and says whether anything is left of it.

        Grace notes are none, a cue note is a rest, and a rest for a full measure is a gap.
        """
        if note.find("grace") is not None:
            return False
        in_chord = note.find("chord")
        duration = self._number(note, "duration", 0, _MAX_DURATION, missing=0)
        pitch, rest = note.find("pitch"), note.find("rest")
        unpitched = note.find("unpitched")
        if unpitched is not None:
            self.unpitched = True
            pitch = self._pitch_of_percussion(note)
        elif pitch is None and rest is None and duration:
            raise MusicError(self.source, self.place, "corrupt", "a <note> that is neither pitch nor rest")
        if pitch is None or note.find("cue") is not None:
            if in_chord is not None:
                return False
            if rest is not None and rest.get("measure") == "yes":
                note.tag = "forward"
            pitch, sound = None, ET.Element("rest")
        else:
            self._pitch(pitch)
            self.notes += duration > 0
            sound = pitch
        length = note.find("duration")
        if length is None:
            length = ET.Element("duration")
            length.text = "0"
        children = [length, *(child for tag in ("voice", "staff") if (child := note.find(tag)) is not None)]
        if note.tag == "note":
            children.insert(0, sound)
            loudness = _float(note.get("dynamics", ""))
            note.attrib = {"dynamics": str(loudness)} if 0 < loudness < 1000 else {}
        if pitch is not None:
            children[:0] = [in_chord] if in_chord is not None else []
            kinds = {tie.get("type") for tie in note.findall("tie")}
            children += [ET.Element("tie", type=kind) for kind in ("stop", "start") if kind in kinds]
            if note.find("notations/fermata") is not None:
                children.append(ET.Element("notations"))
                ET.SubElement(children[-1], "fermata")
        elif note.tag == "note":
            children.append(ET.Element("type"))
            children[-1].text = "eighth"  # of any other type music21 might take it for a full measure's
        note[:] = children
        return True

    def _pitch(self, pitch: ET.Element) -> None:
        step = _text(pitch.find("step"))
        octave = self._number(pitch, "octave", -1, 10)
        alter = pitch.find("alter")
        semitones = math.floor(self._number(pitch, "alter", -4, 4, missing=0) + 0.5)  # quarter tones are rounded up
        if step not in tuple("ABCDEFG"):
            raise MusicError(self.source, self.place, "corrupt", f"step {step!r}; allowed: A to G")
        if alter is not None:
            alter.text = str(semitones)
        element = pitch.find("octave")
        if element is not None:
            element.text = str(int(octave))

    def _pitch_of_percussion(self, note: ET.Element) -> ET.Element | None:
        """The MIDI key of a note without pitch, as a pitch; None if nothing says which drum it is."""
        instrument = note.find("instrument")
        key = self.keys.get(instrument.get("id", "") if instrument is not None else next(iter(self.keys), ""))
        if key is None:
            return None
        pitch = ET.Element("pitch")
        name = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")[key % 12]
        for tag, value in (("step", name[0]), ("alter", len(name) - 1), ("octave", key // 12 - 1)):
            ET.SubElement(pitch, tag).text = str(value)
        return pitch

    def _number(self, parent: ET.Element, tag: str, low: float, high: float, missing: float | None = None) -> float:
        """The number in a child, within bounds; a missing child counts as `missing`, if that is given."""
        child = parent.find(tag)
        if child is None and missing is not None:
            return missing
        value = _float(_text(child))
        if not low <= value <= high:
            detail = f"<{tag}> {_text(child)[:20]!r}; allowed: {low:g} to {high:g}"
            raise MusicError(self.source, self.place, "corrupt", detail)
        return value


def _known_harmony(harmony: ET.Element) -> bool:
    """Whether music21 can make a chord of it; strips the attributes, which only say how it looks."""
    for element in harmony.iter():
        element.attrib = {}
    numbers = [(tag, 2.0) for tag in ("root-alter", "bass-alter", "degree-alter")]
    numbers += [("degree-value", 13.0), ("offset", _MAX_DURATION)]
    if not all(abs(_float(_text(child))) <= bound for tag, bound in numbers for child in harmony.iter(tag)):
        return False
    steps = [_text(child) for tag in ("root-step", "bass-step") for child in harmony.iter(tag)]
    degrees = {_text(child) for child in harmony.iter("degree-type")}
    known = all(step in tuple("ABCDEFG") for step in steps) and degrees <= {"add", "alter", "subtract"}
    kinds = [_text(child) for child in harmony.iter("kind")]
    return known and len(kinds) == 1 and (kinds == ["none"] or (kinds[0] in KINDS and bool(harmony.findall("root"))))


def _key(root: ET.Element) -> tuple[int | None, str]:
    """Fifths as they sound, and mode, of the first key in the score."""
    for attributes in root.iter("attributes"):
        key = attributes.find("key")
        if key is None:
            continue
        fifths = _float(_text(key.find("fifths")))
        if not -7 <= fifths <= 7:
            return None, ""
        chromatic = _float(_text(attributes.find("transpose/chromatic")) or "0")
        shift = 7 * int(chromatic) % 12 if abs(chromatic) <= 60 else 0
        sounding = int(fifths) + (shift if shift <= 6 else shift - 12)
        sounding -= 12 * (sounding > 7) - 12 * (sounding < -7)
        mode = _text(key.find("mode")).lower()
        return sounding, "" if mode == "none" else mode
    return None, ""


def _tempo(root: ET.Element) -> float:
    """Quarters per minute: the first that is played, else the first that is printed, else 120."""
    for sound in root.iter("sound"):
        tempo = _float(sound.get("tempo", ""))
        if _TEMPOS[0] <= tempo <= _TEMPOS[1]:
            return tempo
    for mark in root.iter("metronome"):
        beat = _BEAT_UNITS.get(_text(mark.find("beat-unit")), math.nan)
        tempo = beat * (2 - 0.5 ** min(len(mark.findall("beat-unit-dot")), 4)) * _float(_text(mark.find("per-minute")))
        if _TEMPOS[0] <= tempo <= _TEMPOS[1]:
            return tempo
    return 120.0


def _text(element: ET.Element | None) -> str:
    return " ".join((element.text or "").split()) if element is not None else ""


def _float(text: str) -> float:
    """The number in a text, NaN where it is none."""
    try:
        return float(text) if len(text) < 40 else math.nan
    except ValueError:
        return math.nan
