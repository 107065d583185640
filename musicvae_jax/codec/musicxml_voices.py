"""The notes of a track as they are printed: divided into voices, and cut at bar lines and into note values."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER

_TYPES = ("whole", "half", "quarter", "eighth", "16th", "32nd", "64th", "128th")
_WHOLE = 4 * TICKS_PER_QUARTER
# Ticks -> note type, dots, and whether it belongs to a triplet.
VALUES = {_WHOLE >> power: (name, 0, False) for power, name in enumerate(_TYPES)}
VALUES |= {3 * _WHOLE >> power + 1: (name, 1, False) for power, name in enumerate(_TYPES[:-1])}
VALUES |= {2 * _WHOLE // 3 >> power: (name, 0, True) for power, name in enumerate(_TYPES[:-1])}
_PLAIN = [ticks for ticks, (_, dots, triplet) in VALUES.items() if not dots and not triplet]


class Piece(NamedTuple):
    """A note, or a part of one between two cuts; times in ticks."""

    onset: int
    duration: int
    pitch: int
    velocity: int
    starts: bool  # it is the start of the note
    ends: bool
    fermata: bool


def divide_voices(notes: np.ndarray, phrase_ends: set[int], bar_lines: list[int]) -> list[list[Piece]]:
    """The pieces of each voice. Inside a voice only notes of one chord overlap.

    Args:
        notes: `Score.notes` of one track.
        phrase_ends: ticks; notes that end there get a fermata.
        bar_lines: ticks between measures, ascending.
    """
    spans: list[tuple[int, int]] = []  # onset and end of the last note of each voice
    pieces: list[list[Piece]] = []
    order = np.lexsort((notes[:, PITCH], notes[:, DURATION], notes[:, ONSET]))
    for onset, duration, pitch, velocity, _ in notes[order].tolist():
        span = (onset, onset + duration)
        voice = next((v for v, other in enumerate(spans) if other == span), None)
        if voice is None:
            voice = next((v for v, other in enumerate(spans) if other[1] <= onset), len(spans))
        if voice == len(spans):
            spans.append(span)
            pieces.append([])
        spans[voice] = span
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
    """A length as a sum of printable note values, longest first; the length itself if there is no such sum."""
    values, left = [], ticks
    while left and left not in VALUES:
        value = next((value for value in _PLAIN if value < left), 0)
        if not value:
            return [ticks]
        values.append(value)
        left -= value
    return [*values, left] if left else values
