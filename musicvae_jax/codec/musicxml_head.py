"""What concerns a whole MusicXML document: its size, title, composer, key and tempo."""

import math
import xml.etree.ElementTree as ET
from typing import NamedTuple

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml_part import number_in, text_of
from musicvae_jax.codec.score import TEMPOS
from musicvae_jax.codec.xml_safe import parse_xml

_MAX_PARTS = 200
_MAX_NOTES = 60_000  # and rests; a string quartet of 45 minutes has 20,000
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


class XmlHead(NamedTuple):
    """The first lines of a page."""

    title: str
    composer: str
    style: str
    fifths: int | None  # as they sound
    mode: str
    tempo: float  # quarters per minute


def parse_score(text: bytes, source: str) -> ET.Element:
    """The root of a document, with the elements that say what sounds.

    Raises:
        MusicError: as `parse_xml`; "unreadable" for another kind of document, "size" for too many parts or notes,
            "corrupt" for a part that is not in the list of parts.
    """
    root = parse_xml(text, source, _KEPT)
    if root.tag != "score-partwise":
        raise MusicError(source, "root", "unreadable", f"<{root.tag}>; allowed: <score-partwise>")
    listed = {element.get("id", "") for element in root.iter("score-part")}
    parts = [element.get("id", "") for element in root.findall("part")]
    notes = sum(1 for _ in root.iter("note"))
    if len(parts) > _MAX_PARTS or notes > _MAX_NOTES:
        limits = f"up to {_MAX_PARTS} and {_MAX_NOTES:,}"
        raise MusicError(source, "file", "size", f"{len(parts):,} parts, {notes:,} notes; allowed: {limits}")
    if strange := [name for name in parts if name not in listed]:
        raise MusicError(source, "part-list", "corrupt", f"no <score-part> describes the part {strange[0][:20]!r}")
    return root


def read_head(root: ET.Element) -> XmlHead:
    """What concerns all parts."""
    composers = [text_of(element) for element in root.iter("creator") if element.get("type") == "composer"]
    styles = [text_of(element) for element in root.iter("miscellaneous-field") if element.get("name") == "style"]
    title = text_of(root.find("work/work-title")) or text_of(root.find("movement-title"))
    return XmlHead(title, next(iter(composers), ""), next(iter(styles), ""), *_key(root), _tempo(root))


def _key(root: ET.Element) -> tuple[int | None, str]:
    """Fifths as they sound, and mode, of the first key in the score."""
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
    """Quarters per minute: the first that is played, else the first that is printed, else 120."""
    for sound in root.iter("sound"):
        tempo = number_in(sound.get("tempo", ""))
        if TEMPOS[0] <= tempo <= TEMPOS[1]:
            return tempo
    for mark in root.iter("metronome"):
        beat = _BEAT_UNITS.get(text_of(mark.find("beat-unit")), math.nan)
        tempo = (
            beat * (2 - 0.5 ** min(len(mark.findall("beat-unit-dot")), 4)) * number_in(text_of(mark.find("per-minute")))
        )
        if TEMPOS[0] <= tempo <= TEMPOS[1]:
            return tempo
    return 120.0
