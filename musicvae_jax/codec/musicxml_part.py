"""Reads one part of a MusicXML document: notes, chord symbols, and what its measures say about themselves."""

import math
import xml.etree.ElementTree as ET
from fractions import Fraction
from typing import NamedTuple

from musicvae_jax.codec.bars import QUARTER, parse_metre
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.notation import CHORDS, NATURAL, apply_degree, bits_of
from musicvae_jax.codec.score import DEFAULT_VELOCITY, Metre, Part

_MAX_DURATION = 1e9
_MAX_STAVES = 8
_FINEST = 10**9  # the largest denominator of a position in quarters


class XmlNote(NamedTuple):
    """A note head; times in sub-ticks from the start of its bar."""

    bar: int
    staff: int  # from 0
    voice: str
    start: int
    end: int
    pitch: int  # sounding
    velocity: int
    continues: bool  # tied to a note before
    continued: bool  # tied to a note after
    fermata: bool


class XmlChord(NamedTuple):
    """A chord symbol."""

    bar: int
    start: int
    root: int
    pitch_classes: int  # bit set; 0 for the symbol that says "no chord"


class XmlMeasure(NamedTuple):
    """What a part says about a measure, apart from its notes."""

    metre: Metre | None  # None if it does not change
    double_end: bool  # a repeat, double or final bar line at the end
    double_start: bool
    ending: int  # number of the repeat's ending that starts with it, or 0
    notes_end: int  # sub-ticks, 0 without notes
    rests_end: int  # likewise; a rest for a full measure has no length of its own and does not count


class XmlPart(NamedTuple):
    """A part."""

    part: Part
    has_program: bool  # whether the file gives its program
    staves: int
    measures: list[XmlMeasure]
    notes: list[XmlNote]
    chords: list[XmlChord]


class PartReader:
    """Reads one part.

    Args:
        described: its ``<score-part>``.
        source: for messages.
    """

    def __init__(self, described: ET.Element, source: str):
        self.source = source
        self.name = text_of(described.find("part-name"))
        self.place = self.name or "part"
        program = text_of(described.find("midi-instrument/midi-program"))
        self.has_program = program.isdecimal() and 1 <= int(program[:4]) <= 128
        self.program = int(program) - 1 if self.has_program else 0
        self.is_drum = text_of(described.find("midi-instrument/midi-channel")) == "10"
        # Instrument id -> MIDI pitch of unpitched percussion.
        self.keys = {
            instrument.get("id", ""): int(key) - 1
            for instrument in described.iter("midi-instrument")
            if (key := text_of(instrument.find("midi-unpitched"))).isdecimal() and 1 <= int(key[:4]) <= 128
        }
        self.divisions = Fraction(1)
        self.staves = 1
        self.shift = 0  # semitones from the written to the sounding pitch
        self.metre: Metre | None = None  # takes effect with the next measure
        self.position = self.onset = Fraction(0)  # quarters from the start of the measure; onset of the last note
        self.notes_end = self.rests_end = Fraction(0)
        self.bar = 0
        self.notes: list[XmlNote] = []
        self.chords: list[XmlChord] = []

    def read(self, part: ET.Element) -> XmlPart:
        """Everything in a ``<part>``; raises `MusicError` "corrupt", "metre" or "range"."""
        measures = []
        for self.bar, measure in enumerate(part.findall("measure")):
            self.place = f"{self.name or 'part'}, measure {self.bar + 1}"
            measures.append(self._measure(measure))
        described = Part(self.name, self.program, self.is_drum)
        return XmlPart(described, self.has_program, self.staves, measures, self.notes, self.chords)

    def _measure(self, measure: ET.Element) -> XmlMeasure:
        metre, self.metre = self.metre, None
        self.position = self.onset = self.notes_end = self.rests_end = Fraction(0)
        double_end = double_start = False
        ending = 0
        for child in measure:
            if child.tag == "note":
                self._note(child)
            elif child.tag == "attributes":
                changed = self._attributes(child)
                if self.position:
                    self.metre = changed or self.metre  # inside a measure a change waits for the next bar line
                else:
                    metre = changed or metre
            elif child.tag == "backup":
                self._move(-self._quarters(child))
            elif child.tag == "forward":
                self._move(self._quarters(child))
            elif child.tag == "barline":
                style = text_of(child.find("bar-style"))
                double = child.find("repeat") is not None or style.startswith(("light-", "heavy"))
                double_start |= double and child.get("location") == "left"
                double_end |= double and child.get("location") != "left"
                mark = child.find("ending")
                if mark is not None and mark.get("type") == "start":
                    ending = int(next((letter for letter in mark.get("number", "") if letter in "123456789"), 0))
            elif child.tag == "harmony":
                self._harmony(child)
        return XmlMeasure(metre, double_end, double_start, ending, _subticks(self.notes_end), _subticks(self.rests_end))

    def _attributes(self, attributes: ET.Element) -> Metre | None:
        """Stores what notes need, and returns the metre if there is one."""
        metre = None
        for child in attributes:
            if child.tag == "divisions":
                self.divisions = Fraction(self._number(attributes, "divisions", 1e-3, 1e6))
            elif child.tag == "staves":
                self.staves = max(self.staves, int(self._number(attributes, "staves", 1, _MAX_STAVES)))
            elif child.tag == "transpose":
                octaves = self._number(child, "octave-change", -10, 10, missing=0)
                self.shift = round(self._number(child, "chromatic", -60, 60, missing=0) + 12 * octaves)
            elif child.tag == "time":
                metre = metre or self._time(child)
        return metre

    def _time(self, time: ET.Element) -> Metre:
        beats = [text_of(element) for element in time.findall("beats")]
        units = {text_of(element) for element in time.findall("beat-type")}
        if len(units) != 1:
            detail = "beats of several lengths" if units else "a measure without metre"
            raise MusicError(self.source, self.place, "metre", f"{detail}; allowed: a fraction such as 6/8")
        try:
            return parse_metre(f"{'+'.join(beats)[:100]}/{units.pop()[:100]}", self.source)
        except MusicError as error:
            raise MusicError(self.source, self.place, "metre", error.detail) from None

    def _note(self, note: ET.Element) -> None:
        """Appends a note that has a length and sounds. A cue note counts as a rest; a grace note is ignored."""
        if note.find("grace") is not None:
            return
        duration = self._quarters(note, missing=0)
        if note.find("chord") is None:
            self.onset = self.position
            self._move(duration)
        end = self.onset + duration
        pitch, rest = self._pitch(note), note.find("rest")
        if pitch is None or not duration or note.find("cue") is not None:
            if rest is None or rest.get("measure") != "yes":
                self.rests_end = max(self.rests_end, end)
            return
        self.notes_end = max(self.notes_end, end)
        ties = {tie.get("type") for tie in note.findall("tie")}
        loudness = number_in(note.get("dynamics", ""))
        velocity = min(max(round(loudness * 0.9), 1), 127) if 0 < loudness < math.inf else DEFAULT_VELOCITY
        staff = int(self._number(note, "staff", 1, _MAX_STAVES, missing=1))
        self.staves = max(self.staves, staff)
        voice = text_of(note.find("voice"))
        fermata = note.find("notations/fermata") is not None
        sounds = (_subticks(self.onset), _subticks(end), pitch, velocity, "stop" in ties, "start" in ties, fermata)
        self.notes.append(XmlNote(self.bar, staff - 1, voice, *sounds))

    def _pitch(self, note: ET.Element) -> int | None:
        """The MIDI pitch of a note; None for a rest and for percussion without a known instrument."""
        pitch = note.find("pitch")
        if note.find("unpitched") is not None:
            self.is_drum = True
            instrument = note.find("instrument")
            return self.keys.get(instrument.get("id", "") if instrument is not None else next(iter(self.keys), ""))
        if pitch is None:
            return None
        step = text_of(pitch.find("step"))
        if step not in NATURAL:
            raise MusicError(self.source, self.place, "corrupt", f"step {step[:20]!r}; allowed: A to G")
        semitones = math.floor(self._number(pitch, "alter", -4, 4, missing=0) + 0.5)  # quarter tones round up
        octave = int(self._number(pitch, "octave", -2, 10))
        midi = 12 * (octave + 1) + NATURAL[step] + semitones + self.shift
        if not 0 <= midi <= 127:
            raise MusicError(self.source, self.place, "range", f"MIDI pitch {midi}; allowed: 0 to 127")
        return midi

    def _harmony(self, harmony: ET.Element) -> None:
        """Appends a chord symbol of a known kind; others are ignored."""
        kind = text_of(harmony.find("kind"))
        offset = number_in(text_of(harmony.find("offset")) or "0")
        if not abs(offset) <= _MAX_DURATION:
            return
        start = _subticks(max(self.position + Fraction(offset) / self.divisions, Fraction(0)))
        root, bass = (self._pitch_class(harmony, name) for name in ("root", "bass"))
        if kind == "none":
            self.chords.append(XmlChord(self.bar, start, 0, 0))
        elif kind in CHORDS and root is not None:
            steps = list(CHORDS[kind])
            for degree in harmony.findall("degree"):
                values = [number_in(text_of(degree.find(f"degree-{name}"))) for name in ("value", "alter")]
                if all(abs(value) <= 13 for value in values):
                    apply_degree(steps, text_of(degree.find("degree-type")), int(values[0]), round(values[1]))
            sounding = [root + step for step in steps] + ([bass] if bass is not None else [])
            self.chords.append(XmlChord(self.bar, start, root, bits_of(sounding)))

    def _pitch_class(self, harmony: ET.Element, name: str) -> int | None:
        """The sounding pitch class of the root or bass of a chord symbol."""
        step = text_of(harmony.find(f"{name}/{name}-step"))
        alter = number_in(text_of(harmony.find(f"{name}/{name}-alter")) or "0")
        if step not in NATURAL or not abs(alter) <= 2:
            return None
        return (NATURAL[step] + round(alter) + self.shift) % 12

    def _move(self, quarters: Fraction) -> None:
        """Moves the position, but not to before the measure; rounded where divisions that change make it endless."""
        self.position = max(self.position + quarters, Fraction(0))
        if self.position.denominator > _FINEST:
            self.position = self.position.limit_denominator(_FINEST)

    def _quarters(self, element: ET.Element, missing: float | None = None) -> Fraction:
        return Fraction(self._number(element, "duration", 0, _MAX_DURATION, missing)) / self.divisions

    def _number(self, parent: ET.Element, tag: str, low: float, high: float, missing: float | None = None) -> float:
        """The number in a child, checked to be in [low, high]; a missing child has the value `missing`, if given."""
        child = parent.find(tag)
        if child is None and missing is not None:
            return missing
        value = number_in(text_of(child))
        if not low <= value <= high:
            detail = f"<{tag}> {text_of(child)[:20]!r}; allowed: {low:g} to {high:g}"
            raise MusicError(self.source, self.place, "corrupt", detail)
        return value


def text_of(element: ET.Element | None) -> str:
    """The text of an element, white space reduced to single spaces; "" for None."""
    return " ".join((element.text or "").split()) if element is not None else ""


def number_in(text: str) -> float:
    """The number in a text; NaN for any other text."""
    try:
        return float(text) if len(text) < 40 else math.nan
    except ValueError:
        return math.nan


def _subticks(quarters: Fraction) -> int:
    return round(quarters * QUARTER)
