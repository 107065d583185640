"""The text of ABC: splitting a book into tunes, header fields, and the symbols of a tune body in order.

Grace notes, decorations, chord symbols, fingerings, slurs and line breaks are dropped here. They are not music on the
grid: read as notes (grace notes become 30-tick notes in other readers) they would push what follows off its place.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TUNE = re.compile(r"^X:", re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z]):(?![|:\]])(.*)$")  # "A:|" is music
_COMMENT = re.compile(r"(?<!\\)%.*")
_OLD_CHORD = re.compile(r"\+([_^=]*[A-Ga-g][^+|\n]*)\+")  # ABC before 1.6 wrote +CEG+ for [CEG]
_LENGTH = r"\d{0,4}(?:/+\d{0,4})*"
# No pattern may look further than its own end, or damaged text takes quadratic time.
_SYMBOL = re.compile(
    rf"""
    (?P<skip>    \{{[^{{}}]*\}} | "[^"]*" | ![^!\s|]*! | Hx | y{_LENGTH} )
  | (?P<field>   \[(?P<name>[A-Za-z]):(?P<value>[^][]*)\] )
  | (?P<bar>     (?: \[\| | :*\|+ | ::+ ) [|\]:]* (?P<after>\d[\d,.-]*)? | :(?=\s*$) )
  | (?P<ending>  \[\s*(?P<number>\d)[\d,.-]* )
  | (?P<tuplet>  \((?P<p>\d)(?: :(?P<q>\d{{0,2}}) (?: :(?P<r>\d{{0,2}}) )? )? )
  | (?P<note>    (?P<accidental>[_^=]{{0,4}}) (?P<letter>[A-Ga-g]) (?P<octave>[,']*) (?P<length>{_LENGTH}) )
  | (?P<rest>    [zx](?P<rest_length>{_LENGTH}) )
  | (?P<bars>    [ZX](?P<count>\d{{0,4}}) )
  | (?P<broken>  >+ | <+ )
  | (?P<tie>     - )
  | (?P<open>    \[ )
  | (?P<close>   \](?P<close_length>{_LENGTH}) )
    """,
    re.VERBOSE | re.MULTILINE,
)


class TuneText(NamedTuple):
    """A tune before it is understood."""

    header: dict[str, str]  # field letter -> value; a repeated field's values are joined by newlines
    body: str  # one voice; a field line is kept as an inline field, [M:3/4]
    voices: int  # how many voices the tune has; only the first is in `body`


def split_tunes(text: str) -> list[str]:
    """A book's tunes, each from its ``X:`` line on; a text without ``X:`` is one tune."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    starts = [match.start() for match in _TUNE.finditer(text)] or [0]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def read_tune(text: str) -> TuneText:
    """Header and first voice of one tune."""
    header: dict[str, str] = {}
    body: list[str] = []
    voices: dict[str, None] = {}  # in order
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


def symbols(body: str) -> Iterator[re.Match[str]]:
    """The symbols that carry pitch or time, in order; everything else is passed over.

    `lastgroup` of a match is its kind: note, rest, bars (a rest of whole measures), open and close (of a chord), tie,
    broken, tuplet, bar (with ``after``, an ending's number), ending, field. Parts are the groups named in the pattern.
    """
    return (match for match in _SYMBOL.finditer(body) if match.lastgroup != "skip")


def _voice(value: str, voices: dict[str, None]) -> str:
    name = (value.split() or [""])[0]
    voices.setdefault(name)
    return name
