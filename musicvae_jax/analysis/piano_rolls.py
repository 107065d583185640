"""Piano rolls: one score, samples, a reconstruction, variants, an interpolation.

Colours tell which notes two scores share; a missed note is also hollow, so that the picture works without colour.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from musicvae_jax.analysis.page import GREY, INK, OKABE_ITO, Page
from musicvae_jax.codec.score import DURATION, ONSET, PITCH, TICKS_PER_QUARTER, TRACK, Metre, Score, check_is_score

_WIDTH = 10.0  # inches of a page
_MARGIN = 0.62  # inches left of a roll, for pitch names
_GAP = 0.03  # inches between repeated notes
_MEASURES_PER_LINE, _MAX_LINES = 8, 12
_BLACK_KEYS = (1, 3, 6, 8, 10)
_PITCH_NAMES = {0: "C", 4: "E", 7: "G"}  # at least three semitones apart, so that the names do not overlap
_ONSET_TOLERANCE = TICKS_PER_QUARTER // 8  # half a sixteenth


class NoteStyle(NamedTuple):
    """Colours of a note's box."""

    face: str
    edge: str


MATCHED = NoteStyle(OKABE_ITO["blue"], OKABE_ITO["blue"])
MISSED = NoteStyle("#FFFFFF", OKABE_ITO["vermilion"])
EXTRA = NoteStyle(OKABE_ITO["orange"], OKABE_ITO["orange"])
_TRACKS = tuple(NoteStyle(colour, colour) for colour in OKABE_ITO.values())


def piano_roll(
    score: Score,
    ax: Axes | None = None,
    *,
    styles: Sequence[NoteStyle] | None = None,
    pitches: tuple[int, int] | None = None,
    measures: tuple[int, int] | None = None,
) -> Axes:
    """Draws notes over time, with bar lines, measure numbers, changes of metre, and pitch names.

    Args:
        score: the music.
        ax: where to draw; by default axes of a new figure.
        styles: one per note; by default one colour per track.
        pitches: lowest and highest MIDI pitch of the axis; by default `pitch_range` of the score.
        measures: first measure, and the one after the last; by default all.

    Returns:
        The axes. Their only collection has one box per note that sounds in these measures.
    """
    check_is_score(score)
    pitches = pitches or pitch_range(score)
    if ax is None:
        height = _roll_height(pitches)
        ax = Page(_WIDTH, height + 0.6).place_axes(_MARGIN, 0.1, _WIDTH - _MARGIN - 0.1, height)
    first, last = measures or (0, score.num_measures)
    bars = _bar_lines(score)
    left, right = int(bars[first]), int(bars[last])
    _draw_grid(ax, score, (first, last), pitches)
    ax.set_xlim(left, max(right, left + 1))  # a score may have no measures

    if styles is None:
        styles = [_TRACKS[int(track) % len(_TRACKS)] for track in score.notes[:, TRACK]]
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


def plot_samples(scores: Sequence[Score]) -> Figure:
    """One score on as many lines as it needs, or several scores in two columns, each under its title or number."""
    if not scores:
        raise ValueError("scores is empty: allowed is one or more")
    pitches = pitch_range(*scores)
    height = _roll_height(pitches)
    if len(scores) == 1:
        lines = _lines(scores[0].num_measures)
        page = Page(_WIDTH, 0.45 + len(lines) * (height + 0.5))
        for number, line in enumerate(lines):
            ax = page.place_axes(_MARGIN, 0.42 + number * (height + 0.5), _WIDTH - _MARGIN - 0.1, height)
            piano_roll(scores[0], ax, pitches=pitches, measures=line)
            _scale_line(ax, scores[0], line, lines)
        page.add_heading(scores[0].title, 0.26)
        return page
    page = Page(_WIDTH, 0.1 + -(-len(scores) // 2) * (height + 0.75))
    for number, score in enumerate(scores):
        row, column = divmod(number, 2)
        left, top = column * _WIDTH / 2 + _MARGIN, 0.35 + row * (height + 0.75)
        ax = page.place_axes(left, top, _WIDTH / 2 - _MARGIN - 0.1, height)
        piano_roll(score, ax, pitches=pitches)
        ax.set_title(score.title or str(number), fontsize=9.5, color=INK, loc="left", pad=4, parse_math=False)
    return page


def plot_reconstruction(original: Score, reconstruction: Score, *, title: str = "") -> Figure:
    """A score above its reconstruction. Colours and legend show matched, missed and extra notes; see `match_notes`.

    Args:
        original: input of the encoder.
        reconstruction: output of the decoder.
        title: heading; by default the original's title.
    """
    in_both, found = match_notes(original, reconstruction)
    rows = (
        ("original", original, [MATCHED if note else MISSED for note in in_both]),
        ("reconstruction", reconstruction, [MATCHED if note else EXTRA for note in found]),
    )
    pitches = pitch_range(original, reconstruction)
    height = _roll_height(pitches)
    longest = max(original, reconstruction, key=lambda score: score.num_measures)
    lines = _lines(longest.num_measures)
    page = Page(_WIDTH, 0.65 + len(lines) * (2 * height + 0.65))
    for number, (first, last) in enumerate(lines):
        top = 0.55 + number * (2 * height + 0.65)
        for row, (name, score, styles) in enumerate(rows):
            ax = page.place_axes(_MARGIN + 0.2, top + row * (height + 0.1), _WIDTH - _MARGIN - 0.3, height)
            measures = (min(first, score.num_measures), min(last, score.num_measures))
            piano_roll(score, ax, styles=styles, pitches=pitches, measures=measures)
            _scale_line(ax, longest, (first, last), lines)
            ax.set_ylabel(name, fontsize=9, color=INK)
            ax.yaxis.set_label_coords(-0.5 / _WIDTH / ax.get_position().width, 0.5)
            ax.tick_params(labelbottom=row == 1)
    page.add_heading(title or original.title, 0.28)
    matched, missed, extra = in_both.sum(), (~in_both).sum(), (~found).sum()
    page.add_box_legend({f"{matched} in both": MATCHED, f"{missed} missed": MISSED, f"{extra} extra": EXTRA})
    return page


def plot_variants(original: Score, variants: Sequence[Score], labels: Sequence[str] = (), *, title: str = "") -> Figure:
    """A score and variants of it, one below the other; notes of the original have its colour, new notes another.

    The label of a variant says which share of its notes the original has too; see `match_notes`.

    Args:
        original: the score.
        variants: at least one, else `ValueError`.
        labels: one a variant; by default "variant 1" and so on.
        title: heading; by default the original's title.
    """
    if not variants:
        raise ValueError("variants is empty: allowed is one or more")
    if labels and len(labels) != len(variants):
        raise ValueError(f"{len(labels)} labels for {len(variants)} variants: allowed is one for each")
    left = 1.15
    pitches = pitch_range(original, *variants)
    height = min(max(0.05 * (pitches[1] - pitches[0] + 2), 0.9), 1.6)
    page = Page(_WIDTH, 0.95 + (1 + len(variants)) * (height + 0.1))
    for row, score in enumerate((original, *variants)):
        _, found = match_notes(original, score)
        ax = page.place_axes(left, 0.45 + row * (height + 0.1), _WIDTH - left - 0.1, height)
        piano_roll(score, ax, styles=[MATCHED if note else EXTRA for note in found], pitches=pitches)
        name = labels[row - 1] if row and labels else f"variant {row}"
        label = f"{name}\n{found.mean() if len(found) else 0:.0%} shared" if row else "original"
        _label_row(ax, label, x=-0.035, size=8.5, is_last=row == len(variants))
    page.add_heading(title or original.title, 0.27)
    page.add_box_legend({"in the original": MATCHED, "new": EXTRA})
    return page


def plot_interpolation(scores: Sequence[Score], labels: Sequence[str] = (), *, title: str = "") -> Figure:
    """The scores of a path (two or more), one below the other.

    Args:
        scores: from the first to the last point.
        labels: of the points; by default from 0 % to 100 %.
        title: heading.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} scores to interpolate: allowed is 2 or more")
    if labels and len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels for {len(scores)} scores: allowed is one for each")
    pitches = pitch_range(*scores)
    height = 0.8 * _roll_height(pitches)
    end = max(score.end for score in scores)
    top = 0.4 if title else 0.1
    page = Page(_WIDTH, top + 0.45 + len(scores) * (height + 0.08))
    for number, score in enumerate(scores):
        share = number / (len(scores) - 1)
        ax = page.place_axes(_MARGIN + 0.35, top + number * (height + 0.08), _WIDTH - _MARGIN - 0.45, height)
        colour = to_hex(colormaps["plasma"](0.75 * share))
        piano_roll(score, ax, styles=[NoteStyle(colour, colour)] * len(score.notes), pitches=pitches)
        ax.set_xlim(0, max(end, 1))
        label = labels[number] if labels else f"{share:.0%}"
        _label_row(ax, label, x=-0.045, size=9.5, is_last=share == 1)
    if title:
        page.add_heading(title, 0.26)
    return page


def match_notes(first: Score, second: Score) -> tuple[np.ndarray, np.ndarray]:
    """Matches notes of two scores one to one: equal pitch, onsets at most half a sixteenth apart.

    Returns:
        (bool[note of the first], bool[note of the second]): the notes that have a match. Both have equally many.
    """
    matched = np.zeros(len(first.notes), bool), np.zeros(len(second.notes), bool)
    for pitch in np.intersect1d(first.notes[:, PITCH], second.notes[:, PITCH]):
        ours, theirs = (np.flatnonzero(score.notes[:, PITCH] == pitch) for score in (first, second))
        a, b = 0, 0
        while a < len(ours) and b < len(theirs):  # both are sorted by onset: matching the earliest pair is optimal
            distance = int(first.notes[ours[a], ONSET]) - int(second.notes[theirs[b], ONSET])
            if abs(distance) <= _ONSET_TOLERANCE:
                matched[0][ours[a]] = matched[1][theirs[b]] = True
            a += distance <= _ONSET_TOLERANCE
            b += distance >= -_ONSET_TOLERANCE
    return matched


def pitch_range(*scores: Score) -> tuple[int, int]:
    """Lowest and highest MIDI pitch of the scores, widened to at least an octave; (60, 72) without notes."""
    pitches = np.concatenate([score.notes[:, PITCH] for score in scores])
    low, high = (int(pitches.min()), int(pitches.max())) if len(pitches) else (60, 72)
    missing = max(12 - (high - low), 0)
    return low - missing // 2, high + missing - missing // 2


def _roll_height(pitches: tuple[int, int]) -> float:
    """Inches: proportional to the pitch range, within limits."""
    return float(np.clip(0.065 * (pitches[1] - pitches[0] + 2), 0.9, 2.4))


def _lines(num_measures: int) -> list[tuple[int, int]]:
    """The lines of a page as (first measure, last + 1). Lines get longer if there would be too many."""
    length = max(_MEASURES_PER_LINE, -(-num_measures // _MAX_LINES))
    return [(first, min(first + length, num_measures)) for first in range(0, num_measures, length)] or [(0, 0)]


def _scale_line(ax: Axes, score: Score, measures: tuple[int, int], lines: Sequence[tuple[int, int]]) -> None:
    """Gives all lines the same scale: a line with fewer measures is narrower."""
    bars = _bar_lines(score)
    left, right = int(bars[measures[0]]), int(bars[measures[1]])
    longest = max(int(bars[last] - bars[first]) for first, last in lines)
    if right > left:
        ax.set_xlim(left, right)
        box = ax.get_position()
        ax.set_position((box.x0, box.y0, box.width * (right - left) / longest, box.height))


def _label_row(ax: Axes, label: str, *, x: float, size: float, is_last: bool) -> None:
    """A horizontal label at the left; only the last row of a page has measure numbers."""
    ax.set_ylabel(label, fontsize=size, color=INK, rotation=0, va="center", ha="right")
    ax.yaxis.set_label_coords(x, 0.5)
    ax.tick_params(labelbottom=is_last)


def _bar_lines(score: Score) -> np.ndarray:
    """Ticks of the bar lines, the last one included: int[measure + 1]."""
    return np.append(score.measures[:, 0], score.end)


def _draw_grid(ax: Axes, score: Score, measures: tuple[int, int], pitches: tuple[int, int]) -> None:
    """The background: black keys, pitch names, bar lines with numbers and metres, beats."""
    low, high = pitches
    ax.set_ylim(low - 1, high + 1)
    for pitch in range(low - 1, high + 2):
        if pitch % 12 in _BLACK_KEYS:
            ax.axhspan(pitch - 0.5, pitch + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
        if pitch % 12 == 0 and low <= pitch <= high:
            ax.axhline(pitch - 0.5, color="#D0D0D0", linewidth=0.7, zorder=1)  # between B and C
    names = _PITCH_NAMES if high - low <= 30 else {0: "C"}
    named = [pitch for pitch in range(low, high + 1) if pitch % 12 in names]
    ax.set_yticks(named, [f"{names[pitch % 12]}{pitch // 12 - 1}" for pitch in named])

    first, last = measures
    ticks, labels, previous = [], [], score.metre(first - 1) if first else None
    for measure in range(first, last):
        start, metre = int(score.measures[measure, 0]), score.metre(measure)
        for beat in range(start + _beat(metre), start + metre.ticks, _beat(metre)):
            ax.axvline(beat, color="#E4E4E4", linewidth=0.6, zorder=1)
        ax.axvline(start, color="#9A9A9A", linewidth=1.0, zorder=2)
        ticks.append(start)
        labels.append(f"{measure + 1}\n{metre if metre != previous else ''}")
        previous = metre
    ax.set_xticks(ticks, labels, ha="left")
    ax.tick_params(length=0, labelsize=8, labelcolor=GREY, pad=3)
    for spine in ax.spines.values():
        spine.set(color="#9A9A9A", linewidth=0.8)


def _beat(metre: Metre) -> int:
    """Ticks of a beat: three units in compound metre, one unit otherwise."""
    compound = metre.denominator >= 8 and metre.numerator % 3 == 0 and metre.numerator > 3
    return max(metre.ticks // metre.numerator * (3 if compound else 1), 1)
