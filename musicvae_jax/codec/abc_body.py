"""The body of an ABC tune: its symbols, and the bars that they make.

Grace notes, decorations, chord symbols, fingerings, slurs and line breaks are dropped. Grace notes in particular take
no time of their own: counted as notes they would shift all later ones.
"""

import functools
import itertools
import re

from musicvae_jax.codec.abc_keys import Key
from musicvae_jax.codec.bars import QUARTER, Bar, BarNote, parse_metre
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import Metre

_LENGTH = r"\d{0,4}(?:/+\d{0,4})*"
# The name of the last group of a match is the kind of the symbol. No pattern looks beyond its own end: damaged text
# would then take quadratic time.
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
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # p notes in the time of q; for 5, 7 and 9 q depends on the metre
_Ties = dict[tuple[str, str], int]  # letter and octave of a note -> its pitch


class BarReader:
    """Reads a tune body into bars in written order: repeats are not expanded, and every ending is kept.

    Args:
        metre, unit, key: from the header; ``[M:]``, ``[L:]`` and ``[K:]`` in the body change them.
        source: for messages.
    """

    def __init__(self, metre: Metre, unit: str, key: Key, source: str):
        self.metre, self.key, self.source = metre, key, source
        self.unit = _parse_unit(unit, source)
        self.bars: list[Bar] = []
        self.bar = Bar(metre)
        self.chord: list[BarNote] | None = None
        self.newest: tuple[Bar, list[BarNote]] | None = None  # the newest note, chord or rest, and its bar
        self.broken = (1, 1)  # the factor of > or < on the next symbol
        self.tuplet, self.tuplet_left = (1, 1), 0
        self.written: _Ties = {}  # notes of the newest symbol
        self.num_tied = 0  # of them, from the first on, that a tie leads into the next symbol
        self.carried: _Ties = {}  # notes that a tie led into this symbol

    def read(self, body: str) -> list[Bar]:
        """All bars of some length; raises `MusicError` "metre", "range" or "unreadable"."""
        for symbol in _SYMBOL.finditer(body):
            kind = symbol.lastgroup
            if kind == "note":
                self._note(symbol)
            elif kind == "rest":
                self._next_symbol()
                self._advance([BarNote(0, self._scaled(symbol["rest_length"]), -1, False)])
            elif kind == "bar":
                self._end_bar(symbol[0])
                self.bar.ending = int((symbol["after"] or "0")[0])
            elif kind == "ending":
                self._end_bar("|")
                self.bar.ending = int(symbol["number"])
            elif kind == "broken":
                self._broken(symbol[0])
            elif kind == "tuplet":
                self._tuplet(int(symbol["p"]), int(symbol["q"] or 0), int(symbol["r"] or 0))
            elif kind == "tie":
                self.num_tied = len(self.written)
            elif kind == "open":
                self._next_symbol()
                self.chord = []
            elif kind == "close":
                self._close_chord(symbol["close_length"])
            elif kind == "bars":
                self._next_symbol()
                # A rest of whole measures stands alone in its bar: after other notes Z is a slip for z.
                length = self._scaled(symbol["count"]) if self.bar.length else int(symbol["count"] or 1) * self.bar.full
                self._advance([BarNote(0, length, -1, False)])
            elif kind == "field":
                self._field(symbol["name"], symbol["value"])
        self._end_bar("|]")
        return self.bars

    def _note(self, symbol: re.Match[str]) -> None:
        if self.chord is None:
            self._next_symbol()
        accidental, *rest = symbol.group("accidental", "letter", "octave")
        name = (rest[0], rest[1])
        pitch = self.key.pitch(accidental, *name)
        carried = self.carried.get(name)
        continues = carried is not None and (not accidental or carried == pitch)
        if carried is not None and continues:
            pitch = carried  # a tie carries an accidental over the bar line
        if not 0 <= pitch <= 127:
            detail = f"{symbol[0][:20]!r} is MIDI pitch {pitch}; allowed: 0 to 127"
            raise MusicError(self.source, "body", "range", detail)
        self.written[name] = pitch
        if self.chord is None:
            self._advance([BarNote(0, self._scaled(symbol["length"]), pitch, continues)])
        else:
            number, divisor = _parse_length(symbol["length"])
            self.chord.append(BarNote(0, number * self.unit // divisor, pitch, continues))

    def _close_chord(self, length: str) -> None:
        chord, self.chord = self.chord, None
        if chord:  # its length is that of its first note times the factor after the bracket
            total = self._scaled(length) * chord[0].length // self.unit
            for note in chord:
                note.length = total
            self._advance(chord)

    def _next_symbol(self) -> None:
        self.carried = dict(itertools.islice(self.written.items(), self.num_tied))
        self.written, self.num_tied = {}, 0

    def _scaled(self, text: str) -> int:
        """The length in sub-ticks that a length text means under the current broken rhythm and tuplet."""
        number, divisor = _parse_length(text)
        length = self.unit * number * self.broken[0] // (divisor * self.broken[1])
        self.broken = (1, 1)
        if self.tuplet_left:
            self.tuplet_left -= 1
            length = length * self.tuplet[0] // self.tuplet[1]
        return length

    def _advance(self, group: list[BarNote]) -> None:
        """Appends notes that sound together, or a rest (pitch -1), to the bar."""
        for note in group:
            note.start = self.bar.length
            if note.pitch >= 0:
                self.bar.notes.append(note)
        self.bar.length += group[0].length
        self.newest = (self.bar, group)

    def _broken(self, arrows: str) -> None:
        power = 2 ** min(len(arrows), 4)
        long, short = (2 * power - 1, power), (1, power)
        before, self.broken = (long, short) if arrows[0] == ">" else (short, long)
        if self.newest:
            bar, group = self.newest
            change = group[0].length * before[0] // before[1] - group[0].length
            bar.length += change
            for note in group:
                note.length += change

    def _tuplet(self, p: int, q: int, r: int) -> None:
        if p < 2 and not q:
            return  # "(1" is a slur before a fingering
        compound = self.metre.numerator % 3 == 0 and self.metre.numerator > 3
        self.tuplet = (q or _TUPLETS.get(p, 3 if compound else 2), max(p, 1))
        self.tuplet_left = r or p

    def _end_bar(self, line: str) -> None:
        self._close_chord("")
        self.key.bar_line()
        if self.bar.length:
            self.bar.line = line.rstrip("0123456789,.-")
            self.bars.append(self.bar)
        elif self.bars and line != "|":
            self.bars[-1].line += line  # ":|" and "|:" around an empty bar are one border
        ending = self.bar.ending if not self.bar.length else 0
        self.bar = Bar(self.metre, ending=ending)

    def _field(self, name: str, value: str) -> None:
        if name == "K":
            self.key = Key(value)
        elif name == "L":
            self.unit = _parse_unit(value, self.source)
        elif name == "M":
            self.metre = parse_metre(value, self.source)
            if not self.bar.length:  # inside a bar it takes effect at the next bar line
                self.bar.metre = self.metre


def _parse_unit(text: str, source: str) -> int:
    """The length in sub-ticks of a unit such as ``1/8``."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*(?:/\s*(\d{1,3}))?\s*", text)
    if not match or not int(match[1]) or (match[2] and not int(match[2])):
        raise MusicError(source, "L:", "unreadable", f"{text!r}; allowed: a fraction such as 1/8")
    return 4 * QUARTER * int(match[1]) // int(match[2] or 1)


@functools.cache
def _parse_length(text: str) -> tuple[int, int]:
    """``3/2`` -> (3, 2); ``/`` -> (1, 2); ``//`` -> (1, 4); an empty text -> (1, 1)."""
    number, slash, divisor = text.partition("/")
    halvings = len(divisor) - len(divisor := divisor.lstrip("/"))
    divisor = divisor.partition("/")[0]
    return int(number or 1), (max(int(divisor or 2), 1) * 2**halvings if slash else 1)
