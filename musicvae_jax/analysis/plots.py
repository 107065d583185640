"""Pictures of music: piano rolls, reconstructions, grids of samples, interpolations.

Figures are made without pyplot, so that nothing here touches a notebook's or a script's own figures. The colours are
those of Okabe & Ito (2008), which people of all colour vision tell apart; hollow boxes say the same without colour.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Patch

from musicvae_jax.analysis.curves import plot_training_curves
from musicvae_jax.analysis.figures import GREY, INK, OKABE_ITO, Page
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, Metre, Score

__all__ = [
    "NoteStyle",
    "match_notes",
    "piano_roll",
    "pitch_range",
    "plot_interpolation",
    "plot_reconstruction",
    "plot_samples",
    "plot_training_curves",
]

MEASURES_PER_LINE, MAX_LINES = 8, 12
_ONSET_TOLERANCE = TICKS_PER_QUARTER // 8  # half of a sixteenth, the default grid's step
_WIDTH = 10.0  # inches
_GAP = 0.03  # inches between repeated notes
_MARGIN = 0.62  # left of a roll, for pitch names
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
        height = _height(pitches)
        ax = Page(_WIDTH, height + 0.6).axes(_MARGIN, 0.1, _WIDTH - _MARGIN - 0.1, height)
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


def plot_reconstruction(
    original: Score, reconstruction: Score, path: str | os.PathLike[str], *, title: str = ""
) -> dict[str, int]:
    """Draws a piece above its reconstruction on the same axes, and says which notes came back.

    Args:
        original: what was encoded.
        reconstruction: what was decoded.
        path: of the PNG; written whole or not at all.
        title: shown above; by default the original's own.

    Returns:
        Counts of notes: ``matched``, ``missed`` (only in the original), ``extra`` (only in the reconstruction); see
        `match_notes`.
    """
    kept, found = match_notes(original, reconstruction)
    counts = {"matched": int(kept.sum()), "missed": int((~kept).sum()), "extra": int((~found).sum())}
    rows = (
        ("original", original, [MATCHED if note else MISSED for note in kept]),
        ("reconstruction", reconstruction, [MATCHED if note else EXTRA for note in found]),
    )
    pitches = pitch_range(original, reconstruction)
    height = _height(pitches)
    longest = max(original, reconstruction, key=lambda score: score.num_measures)
    lines = _lines(longest.num_measures)
    page = Page(_WIDTH, 0.65 + len(lines) * (2 * height + 0.65))
    for number, (first, last) in enumerate(lines):
        top = 0.55 + number * (2 * height + 0.65)
        for row, (name, score, styles) in enumerate(rows):
            ax = page.axes(_MARGIN + 0.2, top + row * (height + 0.1), _WIDTH - _MARGIN - 0.3, height)
            here = (min(first, score.num_measures), min(last, score.num_measures))
            piano_roll(score, ax, styles=styles, pitches=pitches, measures=here)
            _fill_line(ax, longest, (first, last), lines)
            ax.set_ylabel(name, fontsize=9, color=INK)
            ax.yaxis.set_label_coords(-0.5 / _WIDTH / ax.get_position().width, 0.5)
            ax.tick_params(labelbottom=row == 1)
    page.title(title or original.title, 0.28)
    meanings = (("matched", "in both", MATCHED), ("missed", "missed", MISSED), ("extra", "extra", EXTRA))
    page.figure.legend(
        handles=[
            Patch(facecolor=style.face, edgecolor=style.edge, label=f"{counts[name]} {meaning}")
            for name, meaning, style in meanings
        ],
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / _WIDTH, 1 - 0.08 / page.height),
        ncols=3,
        frameon=False,
        fontsize=9.5,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0,
    )
    page.save(path)
    return counts


def plot_samples(scores: Sequence[Score], path: str | os.PathLike[str], *, titles: Sequence[str] | None = None) -> None:
    """Draws a piece over as many lines as it needs, or several pieces in a grid of two columns.

    Args:
        scores: at least one.
        path: of the PNG.
        titles: one per score; by default their own, or their numbers where they have none.

    Raises:
        ValueError: if there are no scores.
    """
    if not scores:
        raise ValueError("scores is empty; there must be at least one to draw")
    titles = titles or [score.title or (f"{number}" if len(scores) > 1 else "") for number, score in enumerate(scores)]
    pitches = pitch_range(*scores)
    height = _height(pitches)
    if len(scores) == 1:
        lines = _lines(scores[0].num_measures)
        page = Page(_WIDTH, 0.45 + len(lines) * (height + 0.5))
        for number, (first, last) in enumerate(lines):
            top = 0.42 + number * (height + 0.5)
            ax = page.axes(_MARGIN, top, _WIDTH - _MARGIN - 0.1, height)
            piano_roll(scores[0], ax, pitches=pitches, measures=(first, last))
            _fill_line(ax, scores[0], (first, last), lines)
        page.title(titles[0], 0.26)
    else:
        column = _WIDTH / 2
        page = Page(_WIDTH, 0.1 + -(-len(scores) // 2) * (height + 0.75))
        for number, (score, title) in enumerate(zip(scores, titles, strict=True)):
            row, side = divmod(number, 2)
            top = 0.35 + row * (height + 0.75)
            ax = page.axes(side * column + _MARGIN, top, column - _MARGIN - 0.1, height)
            piano_roll(score, ax, pitches=pitches)
            ax.set_title(title, fontsize=9.5, color=INK, loc="left", pad=4, parse_math=False)
    page.save(path)


def plot_interpolation(scores: Sequence[Score], path: str | os.PathLike[str]) -> None:
    """Draws the way from one piece to another, one below the other on the same axes.

    Args:
        scores: at least two; the first and the last are the ends.
        path: of the PNG.

    Raises:
        ValueError: if there are fewer than two scores.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} scores to interpolate; there must be at least 2")
    pitches = pitch_range(*scores)
    height = 0.8 * _height(pitches)
    longest = max(scores, key=lambda score: score.end)
    page = Page(_WIDTH, 0.55 + len(scores) * (height + 0.08))
    for number, score in enumerate(scores):
        share = number / (len(scores) - 1)
        ax = page.axes(_MARGIN + 0.35, 0.1 + number * (height + 0.08), _WIDTH - _MARGIN - 0.45, height)
        colour = to_hex(colormaps["plasma"](0.75 * share))
        piano_roll(score, ax, styles=[NoteStyle(colour, colour)] * len(score.notes), pitches=pitches)
        ax.set_xlim(0, max(longest.end, 1))
        ax.set_ylabel(f"{share:.0%}", fontsize=9.5, color=INK, rotation=0, va="center", ha="right")
        ax.yaxis.set_label_coords(-0.045, 0.5)
        ax.tick_params(labelbottom=number == len(scores) - 1)
    page.save(path)


def match_notes(original: Score, reconstruction: Score) -> tuple[np.ndarray, np.ndarray]:
    """Which notes of each score the other has too: same pitch, onsets at most half a sixteenth apart, one for one.

    Returns:
        (bool[note of the original], bool[note of the reconstruction]), with equal numbers of True.
    """
    kept, found = np.zeros(len(original.notes), bool), np.zeros(len(reconstruction.notes), bool)
    for pitch in np.intersect1d(original.notes[:, PITCH], reconstruction.notes[:, PITCH]):
        mine, theirs = (np.flatnonzero(score.notes[:, PITCH] == pitch) for score in (original, reconstruction))
        a, b = 0, 0
        while a < len(mine) and b < len(theirs):  # both are sorted by onset: the earliest pair first is optimal
            distance = int(original.notes[mine[a], ONSET]) - int(reconstruction.notes[theirs[b], ONSET])
            if abs(distance) <= _ONSET_TOLERANCE:
                kept[mine[a]] = found[theirs[b]] = True
            a += distance <= _ONSET_TOLERANCE
            b += distance >= -_ONSET_TOLERANCE
    return kept, found


def pitch_range(*scores: Score) -> tuple[int, int]:
    """The lowest and highest MIDI pitch of scores, widened to at least an octave."""
    pitches = np.concatenate([score.notes[:, PITCH] for score in scores])
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 72)
    missing = max(12 - (high - low), 0)
    return low - missing // 2, high + missing - missing // 2


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


def _fill_line(ax: Axes, score: Score, measures: tuple[int, int], lines: Sequence[tuple[int, int]]) -> None:
    """Gives every line the same scale: a last line of fewer measures ends early instead of being stretched."""
    bars = np.append(score.measures[:, 0], score.end)
    left, right = int(bars[measures[0]]), int(bars[measures[1]])
    longest = max(int(bars[last] - bars[first]) for first, last in lines)
    if right > left:
        ax.set_xlim(left, right)
        place = ax.get_position()
        ax.set_position((place.x0, place.y0, place.width * (right - left) / longest, place.height))


def _lines(num_measures: int) -> list[tuple[int, int]]:
    """Cuts a piece into lines of measures (first, last + 1); very long pieces get longer lines rather than more."""
    length = max(MEASURES_PER_LINE, -(-num_measures // MAX_LINES))
    return [(first, min(first + length, num_measures)) for first in range(0, num_measures, length)] or [(0, 0)]


def _height(pitches: tuple[int, int]) -> float:
    """Inches of a roll: the same for every semitone, within reason."""
    return float(np.clip(0.065 * (pitches[1] - pitches[0] + 2), 0.9, 2.4))
