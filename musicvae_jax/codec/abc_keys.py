"""Keys and pitches of ABC: what a ``K:`` field means, and the accidentals in force."""

import re

LETTERS = "CDEFGAB"
SEMITONES = dict(zip(LETTERS, (0, 2, 4, 5, 7, 9, 11), strict=True))
SHARPS = "FCGDAEB"  # in the order a key signature adds them; flats are the reverse
MODES = {  # first three letters -> name, and how many fifths its signature lies below the major one's
    "maj": ("major", 0),
    "ion": ("major", 0),
    "min": ("minor", 3),
    "aeo": ("minor", 3),
    "mix": ("mixolydian", 1),
    "dor": ("dorian", 2),
    "phr": ("phrygian", 4),
    "lyd": ("lydian", -1),
    "loc": ("locrian", 5),
}
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_KEY = re.compile(r"\s*([A-G])([#b]?)[ \t]*([A-Za-z]*)(.*)", re.DOTALL)


class Key:
    """A key, and what the accidentals written since the last bar line have changed.

    Accidentals hold for their letter in every octave up to the bar line (ABC 2.1, section 11.3, the default).

    Attributes:
        fifths: sharps minus flats of the signature, or None for an unknown or empty ``K:``.
        mode: ``"major"``, ``"dorian"``, ... or ``""``.
    """

    def __init__(self, text: str):
        fifths, self.mode, extra = _parse(text)
        self.fifths = fifths if fifths is not None and abs(fifths) <= 7 else None
        self.signature = signature(fifths or 0)
        for accidental, letter in re.findall(r"(\^\^|\^|=|__|_)([a-gA-G])", extra):
            self.signature[letter.upper()] = ACCIDENTALS[accidental]
        self._bar: dict[str, int] = {}

    def bar_line(self) -> None:
        """Forgets the accidentals of the measure."""
        self._bar = {}

    def pitch(self, accidental: str, letter: str, octave: str) -> int:
        """MIDI pitch of a note as written (middle C is ``C``, the c above is ``c``), remembering its accidental."""
        name = letter.upper()
        if accidental:
            self._bar[name] = ACCIDENTALS.get(accidental, 0)
        shift = self._bar.get(name, self.signature[name])
        height = 60 + 12 * (letter.islower() + octave.count("'") - octave.count(","))
        return height + SEMITONES[name] + shift

    def spell(self, pitch: int) -> str:
        """The note that `pitch` reads back from, with an accidental only where one is needed."""
        flats = (self.fifths or 0) < 0
        for shift in (None, 0, -1 if flats else 1, 1 if flats else -1):
            for name in LETTERS:
                current = self._bar.get(name, self.signature[name])
                wanted = current if shift is None else shift
                octave, rest = divmod(pitch - SEMITONES[name] - wanted, 12)
                if rest:
                    continue
                accidental = "" if wanted == current else {0: "=", 1: "^", -1: "_"}[wanted]
                if accidental:
                    self._bar[name] = wanted
                letter = name if octave <= 5 else name.lower()
                return accidental + letter + "," * (5 - octave) + "'" * (octave - 6)
        raise AssertionError("every pitch is a natural or a neighbour of one")


def signature(fifths: int) -> dict[str, int]:
    """Semitones by letter, e.g. ``{"F": 1, ...}`` for one sharp."""
    shifts = dict.fromkeys(LETTERS, 0)
    for index in range(abs(fifths)):
        letter = SHARPS[index % 7] if fifths > 0 else SHARPS[6 - index % 7]
        shifts[letter] += 1 if fifths > 0 else -1
    return shifts


def write_key(fifths: int | None, mode: str) -> str:
    """The value of the ``K:`` field that `Key` reads back as `fifths` and `mode`."""
    if fifths is None:
        return "none"
    below = dict(MODES.values()).get(mode, 0)
    position = fifths + below + 1  # of the tonic in F C G D A E B, one further in sharps per seven
    return f"{SHARPS[position % 7]}{'#' * (position // 7) if position >= 0 else 'b' * -(position // 7)} {mode}".rstrip()


def _parse(text: str) -> tuple[int | None, str, str]:
    """Fifths, mode and the rest of a ``K:`` value, where explicit accidentals stand."""
    if text.strip().upper().startswith("HP"):
        return 2, "mixolydian", ""  # Highland pipes: F and C sharp around A, whether or not the signature is drawn
    match = _KEY.match(text)
    if not match:
        return None, "", text
    tonic, sign, word, extra = match.groups()
    mode, below = MODES.get(word[:3].lower(), ("minor", 3) if word in ("m", "mi") else ("major", 0))
    fifths = SHARPS.index(tonic) - 1 + {"#": 7, "b": -7, "": 0}[sign] - below
    return fifths, mode, extra
