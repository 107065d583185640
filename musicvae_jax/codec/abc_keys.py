"""Keys and pitches in ABC: the meaning of a ``K:`` field, and accidentals."""

import re

from musicvae_jax.codec.notation import FIFTHS, MODES, NATURAL

# First three letters -> name, and how many fifths its signature lies below that of major.
_MODES = {name[:3]: (name, below) for name, below in MODES.items()} | {"ion": ("major", 0), "aeo": ("minor", 3)}
_ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_KEY = re.compile(r"\s*([A-G])([#b]?)[ \t]*([A-Za-z]*)(.*)", re.DOTALL)


class Key:
    """A key, and the accidentals since the last bar line.

    An accidental holds for its letter in every octave up to the bar line (ABC 2.1, section 11.3, the default).

    Attributes:
        fifths: sharps minus flats of the signature; None if ``K:`` is empty or unknown.
        mode: ``"major"``, ``"dorian"``, ... or ``""``.
    """

    def __init__(self, text: str):
        fifths, self.mode, extra = _parse(text)
        self.fifths = fifths if fifths is not None and abs(fifths) <= 7 else None
        self.signature = _signature(fifths or 0)
        for accidental, letter in re.findall(r"(\^\^|\^|=|__|_)([a-gA-G])", extra):
            self.signature[letter.upper()] = _ACCIDENTALS[accidental]
        self._bar: dict[str, int] = {}

    def bar_line(self) -> None:
        """Forgets the accidentals of the measure."""
        self._bar = {}

    def pitch(self, accidental: str, letter: str, octave: str) -> int:
        """The MIDI pitch of a written note (``C`` is middle C, ``c`` an octave higher); remembers its accidental."""
        name = letter.upper()
        if accidental:
            self._bar[name] = _ACCIDENTALS.get(accidental, 0)
        shift = self._bar.get(name, self.signature[name])
        return 60 + 12 * (letter.islower() + octave.count("'") - octave.count(",")) + NATURAL[name] + shift

    def spell(self, pitch: int) -> str:
        """The inverse of `pitch`: a written note, with an accidental only where it is needed."""
        flats = (self.fifths or 0) < 0
        for shift in (None, 0, -1 if flats else 1, 1 if flats else -1):
            for name in NATURAL:
                current = self._bar.get(name, self.signature[name])
                wanted = current if shift is None else shift
                octave, rest = divmod(pitch - NATURAL[name] - wanted, 12)
                if rest:
                    continue
                accidental = "" if wanted == current else {0: "=", 1: "^", -1: "_"}[wanted]
                if accidental:
                    self._bar[name] = wanted
                letter = name if octave <= 5 else name.lower()
                return accidental + letter + "," * (5 - octave) + "'" * (octave - 6)
        raise AssertionError("every pitch is a natural or next to one")


def write_key(fifths: int | None, mode: str) -> str:
    """The value of a ``K:`` field that `Key` reads as `fifths` and `mode`."""
    if fifths is None:
        return "none"
    position = fifths + MODES.get(mode, 0) + 1  # of the tonic in FIFTHS; 7 more is one sharp more
    return f"{FIFTHS[position % 7]}{'#' * (position // 7) if position >= 0 else 'b' * -(position // 7)} {mode}".rstrip()


def _signature(fifths: int) -> dict[str, int]:
    """Semitones by letter, such as ``{"F": 1, ...}`` for one sharp."""
    shifts = dict.fromkeys(NATURAL, 0)
    for index in range(abs(fifths)):
        letter = FIFTHS[index % 7] if fifths > 0 else FIFTHS[6 - index % 7]
        shifts[letter] += 1 if fifths > 0 else -1
    return shifts


def _parse(text: str) -> tuple[int | None, str, str]:
    """Fifths, mode, and the rest of a ``K:`` value, which may hold explicit accidentals."""
    if text.strip().upper().startswith("HP"):
        return 2, "mixolydian", ""  # Highland pipes: A with F and C sharp
    match = _KEY.match(text)
    if not match:
        return None, "", text
    tonic, sign, word, extra = match.groups()
    mode, below = _MODES.get(word[:3].lower(), ("minor", 3) if word in ("m", "mi") else ("major", 0))
    return FIFTHS.index(tonic) - 1 + {"#": 7, "b": -7, "": 0}[sign] - below, mode, extra
