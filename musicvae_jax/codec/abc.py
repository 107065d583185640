"""ABC notation to `Score` and back, as written: repeats are not expanded, ornaments are not notes.

symusic also reads ABC (with abc2midi), but plays the tune: it expands repeats and grace notes, loses the bar lines,
delays onsets by a tick and prints to stdout, and two processes that use `Score.from_abc` share one temporary file. It
serves the tests as a second opinion on pitches.
"""

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.abc_body import BarReader
from musicvae_jax.codec.abc_keys import Key, write_key
from musicvae_jax.codec.bars import check_extent, join_tied, lay_bars, parse_metre
from musicvae_jax.codec.errors import MusicError, read_bytes
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TEMPOS, TICKS_PER_QUARTER, Score, check_score, sort_notes

MAX_BYTES = 2**25  # of a book
_MAX_TUNES = 100_000
_MAX_TUNE = 2**18  # characters
_MAX_IRREGULAR = 0.25  # largest share of bars that do not fit the metre; two such bars are always allowed

_TUNE = re.compile(r"^X:", re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z]):(?![|:\]])(.*)$")  # "A:|" is music
_COMMENT = re.compile(r"(?<!\\)%.*")
_OLD_CHORD = re.compile(r"\+([_^=]*[A-Ga-g][^+|\n]*)\+")  # ABC before 1.6 wrote +CEG+ for [CEG]

_MEASURES_PER_LINE = 4
_TUPLETS = {"": Fraction(1), "(3:2:1": Fraction(3, 2), "(5:4:1": Fraction(5, 4)}  # tuplet -> factor on written lengths


class Tune(NamedTuple):
    """One tune of a book."""

    score: Score
    header: dict[str, str]  # field letter -> value, repeated fields joined by newlines; and "irregular", "voices"


class TuneText(NamedTuple):
    """The parts of a tune's text."""

    header: dict[str, str]  # field letter -> value, repeated fields joined by newlines
    body: str  # the first voice; field lines become inline fields such as [M:3/4]
    voices: int  # how many the tune has


def read_abc(path: str | os.PathLike[str], refusals: list[MusicError] | None = None) -> list[Tune]:
    """The tunes of a file, in order.

    Args:
        path: a UTF-8 or Latin-1 text with one or many tunes.
        refusals: collects the errors of tunes that cannot be read; without it the first error is raised.

    Raises:
        MusicError: "missing", "empty", "size" or "unreadable" for the file; for a tune see `parse_abc`.
    """
    path = Path(path)
    data = read_bytes(path, MAX_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if text.count("X:") > _MAX_TUNES:
        raise MusicError(str(path), "file", "size", f"over {_MAX_TUNES:,} tunes; allowed: up to that")
    tunes = []
    for number, tune in enumerate(split_tunes(text), 1):
        reference = re.match(r"X:\s*(\d+)", tune)
        try:
            tunes.append(parse_abc(tune, source=f"{path} X:{reference[1]}" if reference else f"{path} tune {number}"))
        except MusicError as error:
            if refusals is None:
                raise
            refusals.append(error)
    return tunes


def split_tunes(text: str) -> list[str]:
    """The tunes of a book, each from its ``X:`` line on; a text without ``X:`` is one tune."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    starts = [match.start() for match in _TUNE.finditer(text)] or [0]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def parse_abc(text: str, source: str = "abc") -> Tune:
    """One tune; of several voices the first.

    ``header["voices"]`` is the number of voices, ``header["irregular"]`` the number of bars inside a strain that do not
    fit the metre; `lay_bars` says where those go.

    Raises:
        MusicError: "unreadable" (no header, or a field that cannot be understood), "empty" (no notes), "metre" (free
            metre, or over a quarter of the bars irregular), "range" (a pitch outside MIDI's), "length", "size".
    """
    if len(text) > _MAX_TUNE:
        raise MusicError(source, "tune", "size", f"{len(text):,} characters; allowed: up to {_MAX_TUNE:,}")
    header, body, voices = read_tune(text)
    if "K" not in header:
        raise MusicError(source, "header", "unreadable", "no K: field; an ABC header ends with one")
    if "M" not in header:
        raise MusicError(source, "header", "metre", "no M: field; allowed: C, C| or a fraction such as 6/8")
    metre = parse_metre(header["M"].split("\n")[-1], source)
    unit = header.get("L", "1/16" if metre.numerator * 4 < metre.denominator * 3 else "1/8").split("\n")[-1]
    key = Key(header["K"])
    bars = BarReader(metre, unit, key, source).read(body)
    check_extent(bars, source, "body")
    starts, measures, irregular = lay_bars(bars)
    rows = join_tied(bars, starts)
    if not rows:
        raise MusicError(source, "body", "empty", "no notes")
    if irregular > max(2, _MAX_IRREGULAR * len(bars)):
        raise MusicError(source, "M:", "metre", f"{irregular} of {len(bars)} bars do not add up to {metre}")
    notes = sort_notes(np.array(rows, np.int32))
    title = header.get("T", "").partition("\n")[0]
    score = Score(notes, np.array(measures, np.int32), key.fifths, key.mode, _tempo(header.get("Q", "")), title, source)
    return Tune(score, {**header, "irregular": str(irregular), "voices": str(voices)})


def read_tune(text: str) -> TuneText:
    """Splits one tune into its header and the body of its first voice."""
    header: dict[str, str] = {}
    body: list[str] = []
    voices: dict[str, None] = {}  # a set in order
    current = ""
    for raw in text.split("\n"):
        line = _COMMENT.sub("", raw).rstrip()
        field = _FIELD.match(line)
        if "K" not in header:
            if field:
                name, value = field[1], field[2].strip()
                header[name] = f"{header[name]}\n{value}" if name in header and name != "K" else value
            continue
        if field and field[1] == "V":
            current = _voice(field[2], voices)
        elif field:
            if field[1] in "KLM" and current == next(iter(voices), ""):
                body.append(f"[{field[1]}:{field[2].strip()}]")
        else:
            inline = re.match(r"\s*\[V:([^\]]*)\]", line)
            if inline:
                current, line = _voice(inline[1], voices), line[inline.end() :]
            if current == next(iter(voices), ""):
                body.append(line.removesuffix("\\"))
    return TuneText(header, _OLD_CHORD.sub(r"[\1]", "\n".join(body)), max(len(voices), 1))


def _voice(value: str, voices: dict[str, None]) -> str:
    name = (value.split() or [""])[0]
    voices.setdefault(name)
    return name


def _tempo(text: str) -> float:
    """Quarters per minute of a ``Q:`` value; a plain number counts quarters. 120 if missing or outside `TEMPOS`."""
    text = re.sub(r'"[^"]*"', "", text.partition("\n")[0][:100])
    match = re.search(r"((?:\d{1,3}/\d{1,3}\s+)*\d{1,3}/\d{1,3})\s*=\s*(\d{1,4}(?:\.\d+)?)", text)
    if match:
        beats = [part.split("/") for part in match[1].split()]
        quarters = sum(4 * int(number) / int(divisor) for number, divisor in beats if int(divisor))
        tempo = quarters * float(match[2])
    else:
        plain = re.fullmatch(r"\s*(?:C\s*=)?\s*(\d{1,4}(?:\.\d+)?)\s*", text)
        tempo = float(plain[1]) if plain else 0.0
    return tempo if TEMPOS[0] <= tempo <= TEMPOS[1] else 120.0


def write_abc(score: Score) -> str:
    """The score as one tune; `parse_abc` reads the same score.

    An upbeat is written as a full measure with its rests; triplets and quintuplets as tuplets of one note, which every
    reader knows. ABC loses velocities, tracks, parts, chords, phrase ends, and a mode that it does not know (it is read
    as major).

    Raises:
        MusicError: "polyphonic" where notes overlap; "invalid" or "metre" for a bad score.
    """
    check_score(score)
    notes = score.notes
    overlap = notes[:-1, ONSET].astype(int) + notes[:-1, DURATION] > notes[1:, ONSET]
    if overlap.any():
        place = score.measure_at(int(notes[int(overlap.argmax()) + 1, ONSET]))
        raise MusicError(score.source, place, "polyphonic", "notes overlap; ABC is written for one voice")
    key = Key(write_key(score.fifths, score.mode))
    sounds = notes[:, [ONSET, DURATION, PITCH]].tolist()
    metre, next_note = score.metre(0), 0
    title = " ".join(score.title.split())
    lines = ["X:1", f"T:{title}", f"M:{metre}", "L:1/8", f"Q:1/4={score.tempo:.10g}"]
    lines.append(f"K:{write_key(score.fifths, score.mode)}")
    written, name = [], ""
    for measure, start in enumerate(score.measures[:, 0].tolist()):
        change = f"[M:{score.metre(measure)}]" if score.metre(measure) != metre else ""
        metre, end = score.metre(measure), start + score.metre(measure).ticks
        text, tick = "", start
        key.bar_line()
        while tick < end:
            while next_note < len(sounds) and sum(sounds[next_note][:2]) <= tick:
                next_note += 1
            onset, duration, pitch = sounds[next_note] if next_note < len(sounds) else (end, 0, 0)
            stop = min(onset if onset > tick else onset + duration, end)
            if onset > tick:
                text += _lasting("z", stop - tick) + " "
            else:
                # A tie carries the accidental over the bar line; a new spelling might choose another letter.
                name = key.spell(pitch) if onset == tick else name.lstrip("^_=")
                text += _lasting(name, stop - tick) + ("- " if onset + duration > stop else " ")
            tick = stop
        written.append(change + text)
    for first in range(0, len(written), _MEASURES_PER_LINE):
        last = first + _MEASURES_PER_LINE >= len(written)
        lines.append(" | ".join(written[first : first + _MEASURES_PER_LINE]) + (" |]" if last else " |"))
    return "\n".join(lines) + "\n"


def _lasting(symbol: str, ticks: int) -> str:
    """The symbol with its length in eighths, in a tuplet of one note if the length has thirds or fifths."""
    ways = [(tuplet, Fraction(ticks, TICKS_PER_QUARTER // 2) * factor) for tuplet, factor in _TUPLETS.items()]
    tuplet, length = next((way for way in ways if way[1].denominator.bit_count() == 1), ways[0])
    number = "" if length.numerator == 1 else str(length.numerator)
    return tuplet + symbol + number + (f"/{length.denominator}" if length.denominator > 1 else "")
