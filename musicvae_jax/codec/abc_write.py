"""`Score` to ABC notation."""

from fractions import Fraction

from musicvae_jax.codec.abc_keys import Key, write_key
from musicvae_jax.codec.check import check_score, place_of
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, Score

_UNIT = TICKS_PER_QUARTER // 2  # L:1/8
_MEASURES_PER_LINE = 4
_TUPLETS = {"": Fraction(1), "(3:2:1": Fraction(3, 2), "(5:4:1": Fraction(5, 4)}  # and what they do to a length


def write_abc(score: Score) -> str:
    """One tune whose ``parse_abc`` is the score again.

    An upbeat is written as the full measure it is, with its rests. What ABC does not hold is lost: velocities, tracks
    and parts, chords, phrase ends, and a mode that is not one of `MODES` (major is read for it). Triplets and
    quintuplets are written as tuplets of one note each, which every reader knows.

    Raises:
        MusicError: "polyphonic" where notes overlap; "invalid" or "metre" for a score that is none.
    """
    check_score(score)
    notes = score.notes
    overlap = notes[:-1, ONSET].astype(int) + notes[:-1, DURATION] > notes[1:, ONSET]
    if overlap.any():
        place = place_of(score, int(notes[int(overlap.argmax()) + 1, ONSET]))
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
                # A tie carries the accidental over the bar line; spelling anew might find another letter.
                name = key.spell(pitch) if onset == tick else name.lstrip("^_=")
                text += _lasting(name, stop - tick) + ("- " if onset + duration > stop else " ")
            tick = stop
        written.append(change + text)
    for first in range(0, len(written), _MEASURES_PER_LINE):
        last = first + _MEASURES_PER_LINE >= len(written)
        lines.append(" | ".join(written[first : first + _MEASURES_PER_LINE]) + (" |]" if last else " |"))
    return "\n".join(lines) + "\n"


def _lasting(symbol: str, ticks: int) -> str:
    """The symbol with its length, inside a tuplet of one where the length has thirds or fifths."""
    ways = [(tuplet, Fraction(ticks, _UNIT) * factor) for tuplet, factor in _TUPLETS.items()]
    tuplet, length = next((way for way in ways if way[1].denominator.bit_count() == 1), ways[0])
    number = "" if length.numerator == 1 else str(length.numerator)
    return tuplet + symbol + number + (f"/{length.denominator}" if length.denominator > 1 else "")
