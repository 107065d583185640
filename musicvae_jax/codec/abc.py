"""ABC notation to `Score` and back, as the page has it: no repeat is expanded, no ornament is a note.

The reader is this package's own. Bar lines decide the measures, so the length of every symbol has to be read from the
text anyway; pitch is the small rest. symusic's reader (abc2midi) plays a tune instead: it expands repeats and graces,
forgets the bar lines, delays onsets by a tick, prints its complaints on stdout, and `Score.from_abc` passes the text
through a temporary file whose name is the same in every process, so two processes read each other's tunes. It serves
as the tests' second opinion on pitches.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.abc_bars import BarReader, parse_metre
from musicvae_jax.codec.abc_keys import Key
from musicvae_jax.codec.abc_measures import check_extent, join_bars
from musicvae_jax.codec.abc_text import read_tune, split_tunes
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import ONSET, PITCH, TEMPOS, TRACK, Score
from musicvae_jax.codec.source import read_bytes

MAX_BYTES = 2**25  # of a book
_MAX_TUNES = 100_000
_MAX_TUNE = 2**18  # characters
_MAX_IRREGULAR = 0.25  # share of bars beyond which the metre is not the tune's, when there are at least three


class Tune(NamedTuple):
    """One tune of a book."""

    score: Score
    header: dict[str, str]  # field letter -> value, repeated fields joined by newlines; and "irregular", "voices"


def read_abc(path: str | os.PathLike[str], refusals: list[MusicError] | None = None) -> list[Tune]:
    """The tunes of a file, in order.

    Args:
        path: a UTF-8 or Latin-1 text with one or many tunes.
        refusals: gets the tunes that cannot be read, and reading goes on; without it the first of them raises.

    Raises:
        MusicError: "missing", "empty", "size" or "unreadable" for the file, else as `parse_abc` for a tune.
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


def parse_abc(text: str, source: str = "abc") -> Tune:
    """One tune. Of several voices the first is read (``header["voices"]`` says how many there are).

    ``header["irregular"]`` counts bars inside a strain that do not add up; `join_bars` says what becomes of them.

    Raises:
        MusicError: "unreadable" (no header, a field that cannot be understood), "empty" (no notes), "metre" (free, or
            more than a quarter of the bars do not add up), "range" (a pitch outside MIDI), "length", "size".
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
    rows, measures, irregular = join_bars(bars)
    if not rows:
        raise MusicError(source, "body", "empty", "no notes")
    if irregular > max(2, _MAX_IRREGULAR * len(bars)):
        raise MusicError(source, "M:", "metre", f"{irregular} of {len(bars)} bars do not add up to {metre}")
    notes = np.array(rows, np.int32)
    notes = notes[np.lexsort(notes[:, [TRACK, PITCH, ONSET]].T)]
    title = header.get("T", "").partition("\n")[0]
    score = Score(notes, np.array(measures, np.int32), key.fifths, key.mode, _tempo(header.get("Q", "")), title, source)
    return Tune(score, {**header, "irregular": str(irregular), "voices": str(voices)})


def _tempo(text: str) -> float:
    """Quarters per minute; ``Q:80`` counts quarters; 120 where nothing is said, or what MIDI could not hold."""
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
