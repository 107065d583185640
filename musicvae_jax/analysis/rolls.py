"""Piano rolls: notes over time, on paper with bar lines, beats and pitch names."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from musicvae_jax.analysis.figures import GREY, OKABE_ITO, Page
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TRACK, Metre, Score

WIDTH = 10.0  # inches of a page
MARGIN = 0.62  # left of a roll, for pitch names
_GAP = 0.03  # inches between repeated notes
_BLACK_KEYS = (1, 3, 6, 8, 10)
_NAMED = {0: "C", 4: "E", 7: "G"}  # at least three semitones apart, so that names do not touch


class NoteStyle(NamedTuple):
    """How a note is painted."""

    face: str
    edge: str


BLUE, VERMILION, ORANGE = OKABE_ITO["blue"], OKABE_ITO["vermilion"], OKABE_ITO["orange"]
TRACKS = tuple(NoteStyle(colour, colour) for colour in OKABE_ITO.values())
MATCHED, MISSED, EXTRA = NoteStyle(BLUE, BLUE), NoteStyle("#FFFFFF", VERMILION), NoteStyle(ORANGE, ORANGE)


def piano_roll(
    score: Score,
    ax: Axes | None = None,
    *,
    styles: Sequence[NoteStyle] | None = None,
    pitches: tuple[int, int] | None = None,
    measures: tuple[int, int] | None = None,
) -> Axes:
    """Draws notes over time, with bar lines, measure numbers, metres where they change, and pitch names.

    Args:
        score: the music.
        ax: where to draw; the axes of a new figure by default.
        styles: one per note; by default a colour per track.
        pitches: the lowest and highest MIDI pitch that must fit; by default the score's own.
        measures: the first measure to draw and the one after the last; by default all.

    Returns:
        The axes; their one collection holds a box for each note that sounds in those measures.
    """
    pitches = pitches or pitch_range(score)
    if ax is None:
        height = roll_height(pitches)
        ax = Page(WIDTH, height + 0.6).axes(MARGIN, 0.1, WIDTH - MARGIN - 0.1, height)
    first, last = measures or (0, score.num_measures)
    bars = np.append(score.measures[:, 0], score.end)
    left, right = int(bars[first]), int(bars[last])
    _draw_paper(ax, score, (first, last), pitches)
    ax.set_xlim(left, max(right, left + 1))  # a score without measures has a picture too

    if styles is None:
        styles = [TRACKS[int(track) % len(TRACKS)] for track in score.notes[:, TRACK]]
    onset, end, pitch = score.notes[:, ONSET], score.notes[:, ONSET] + score.notes[:, DURATION], score.notes[:, PITCH]
    shown = np.flatnonzero((onset < right) & (end > left)).tolist()
    gap = _GAP * (right - left) / (ax.bbox.width / ax.figure.dpi)
    stop = np.maximum(end - gap, onset + 0.6 * (end - onset))
    low, high = pitch - 0.38, pitch + 0.38
    corners = ((onset, low), (onset, high), (stop, high), (stop, low))
    boxes = np.stack([np.stack(corner, -1) for corner in corners], 1)[shown]
    faces, edges = [styles[i].face for i in shown], [styles[i].edge for i in shown]
    ax.add_collection(PolyCollection(list(boxes), facecolors=faces, edgecolors=edges, linewidths=1.2, zorder=3))
    return ax


def pitch_range(*scores: Score) -> tuple[int, int]:
    """The lowest and highest MIDI pitch of scores, widened to at least an octave."""
    pitches = np.concatenate([score.notes[:, PITCH] for score in scores])
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 72)
    missing = max(12 - (high - low), 0)
    return low - missing // 2, high + missing - missing // 2


def roll_height(pitches: tuple[int, int]) -> float:
    """Inches of a roll: the same for every semitone, within reason."""
    return float(np.clip(0.065 * (pitches[1] - pitches[0] + 2), 0.9, 2.4))


def _draw_paper(ax: Axes, score: Score, measures: tuple[int, int], pitches: tuple[int, int]) -> None:
    """Rows for black keys, bar lines with numbers and metres, beats, pitch names."""
    low, high = pitches
    ax.set_ylim(low - 1, high + 1)
    for pitch in range(low - 1, high + 2):
        if pitch % 12 in _BLACK_KEYS:
            ax.axhspan(pitch - 0.5, pitch + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    for pitch in range(low, high + 1):
        if pitch % 12 == 0:
            ax.axhline(pitch - 0.5, color="#D0D0D0", linewidth=0.7, zorder=1)  # between B and C
    names = _NAMED if high - low <= 30 else {0: "C"}
    named = [pitch for pitch in range(low, high + 1) if pitch % 12 in names]
    ax.set_yticks(named, [f"{names[pitch % 12]}{pitch // 12 - 1}" for pitch in named])

    first, last = measures
    ticks, labels, before = [], [], score.metre(first - 1) if first else None
    for measure in range(first, last):
        start, metre = int(score.measures[measure, 0]), score.metre(measure)
        for beat in range(start + _beat(metre), start + metre.ticks, _beat(metre)):
            ax.axvline(beat, color="#E4E4E4", linewidth=0.6, zorder=1)
        ax.axvline(start, color="#9A9A9A", linewidth=1.0, zorder=2)
        ticks.append(start)
        labels.append(f"{measure + 1}\n{metre if metre != before else ''}")
        before = metre
    ax.set_xticks(ticks, labels, ha="left")
    ax.tick_params(length=0, labelsize=8, labelcolor=GREY, pad=3)
    for spine in ax.spines.values():
        spine.set(color="#9A9A9A", linewidth=0.8)


def _beat(metre: Metre) -> int:
    """Ticks from one felt beat to the next: three units in compound time, else one."""
    compound = metre.denominator >= 8 and metre.numerator % 3 == 0 and metre.numerator > 3
    return max(metre.ticks // metre.numerator * (3 if compound else 1), 1)
