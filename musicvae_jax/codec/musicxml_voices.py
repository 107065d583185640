"""The notes of a track as a page has them: shared out to voices, and cut where a bar line or a note value ends."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER

_TYPES = ("whole", "half", "quarter", "eighth", "16th", "32nd", "64th", "128th")
_WHOLE = 4 * TICKS_PER_QUARTER
# Ticks -> the note type that lasts so long, dots, and whether it is one of a triplet.
VALUES = {_WHOLE >> power: (name, 0, False) for power, name in enumerate(_TYPES)}
VALUES |= {3 * _WHOLE >> power + 1: (name, 1, False) for power, name in enumerate(_TYPES[:-1])}
VALUES |= {2 * _WHOLE // 3 >> power: (name, 0, True) for power, name in enumerate(_TYPES[:-1])}
_PLAIN = [ticks for ticks, (_, dots, triplet) in VALUES.items() if not dots and not triplet]


class Piece(NamedTuple):
    """A note, or what a bar line or a note value leaves of it; times in ticks."""

    onset: int
    duration: int
    pitch: int
    velocity: int
    starts: bool  # the note starts here
    ends: bool
    fermata: bool


def share_out(notes: np.ndarray, phrase_ends: set[int], bar_lines: list[int]) -> list[list[Piece]]:
    """Notes shared out to voices in which nothing overlaps but the notes of a chord, cut at bar lines."""
    voices: list[list[tuple[int, int]]] = []  # onset and end of the last note of each voice
    pieces: list[list[Piece]] = []
    order = np.lexsort((notes[:, PITCH], notes[:, DURATION], notes[:, ONSET]))
    for onset, duration, pitch, velocity, _ in notes[order].tolist():
        span = (onset, onset + duration)
        voice = next((v for v, spans in enumerate(voices) if spans[-1] == span), None)
        if voice is None:
            voice = next((v for v, spans in enumerate(voices) if spans[-1][1] <= onset), len(voices))
        if voice == len(voices):
            voices.append([])
            pieces.append([])
        voices[voice] = [span]
        pieces[voice] += _cut(onset, duration, pitch, velocity, bar_lines, span[1] in phrase_ends)
    for voice_pieces in pieces:
        voice_pieces.sort(key=lambda piece: (piece.onset, piece.pitch))
    return pieces


def _cut(onset: int, duration: int, pitch: int, velocity: int, bar_lines: list[int], fermata: bool) -> Iterator[Piece]:
    end = onset + duration
    first = int(np.searchsorted(bar_lines, onset, side="right"))
    last = int(np.searchsorted(bar_lines, end, side="left"))
    edges = [onset, *bar_lines[first:last], end]
    for left, right in itertools.pairwise(edges):
        tick = left
        for length in note_values(right - left):
            stop = tick + length
            yield Piece(tick, length, pitch, velocity, tick == onset, stop == end, fermata and stop == end)
            tick = stop


def note_values(ticks: int) -> list[int]:
    """A length as note values that can be printed, longest first; as it is where there are none."""
    values, left = [], ticks
    while left and left not in VALUES:
        value = next((value for value in _PLAIN if value < left), 0)
        if not value:
            return [ticks]
        values.append(value)
        left -= value
    return [*values, left] if left else values
