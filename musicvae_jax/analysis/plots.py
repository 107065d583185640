"""Pictures of music: reconstructions, grids of samples, interpolations.

Figures are made without pyplot, so that nothing here touches a notebook's or a script's own figures. The colours are
those of Okabe & Ito (2008), which people of all colour vision tell apart; hollow boxes say the same without colour.
"""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from musicvae_jax.analysis.figures import INK, Page
from musicvae_jax.analysis.rolls import (
    EXTRA,
    MARGIN,
    MATCHED,
    MISSED,
    WIDTH,
    NoteStyle,
    piano_roll,
    pitch_range,
    roll_height,
)
from musicvae_jax.codec.score import ONSET, PITCH, TICKS_PER_QUARTER, Score

MEASURES_PER_LINE, MAX_LINES = 8, 12
_ONSET_TOLERANCE = TICKS_PER_QUARTER // 8  # half of a sixteenth, the default grid's step


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
    height = roll_height(pitches)
    longest = max(original, reconstruction, key=lambda score: score.num_measures)
    lines = _lines(longest.num_measures)
    page = Page(WIDTH, 0.65 + len(lines) * (2 * height + 0.65))
    for number, (first, last) in enumerate(lines):
        top = 0.55 + number * (2 * height + 0.65)
        for row, (name, score, styles) in enumerate(rows):
            ax = page.axes(MARGIN + 0.2, top + row * (height + 0.1), WIDTH - MARGIN - 0.3, height)
            here = (min(first, score.num_measures), min(last, score.num_measures))
            piano_roll(score, ax, styles=styles, pitches=pitches, measures=here)
            _fill_line(ax, longest, (first, last), lines)
            ax.set_ylabel(name, fontsize=9, color=INK)
            ax.yaxis.set_label_coords(-0.5 / WIDTH / ax.get_position().width, 0.5)
            ax.tick_params(labelbottom=row == 1)
    page.title(title or original.title, 0.28)
    page.legend(
        {
            f"{counts['matched']} in both": MATCHED,
            f"{counts['missed']} missed": MISSED,
            f"{counts['extra']} extra": EXTRA,
        }
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
    height = roll_height(pitches)
    if len(scores) == 1:
        lines = _lines(scores[0].num_measures)
        page = Page(WIDTH, 0.45 + len(lines) * (height + 0.5))
        for number, (first, last) in enumerate(lines):
            top = 0.42 + number * (height + 0.5)
            ax = page.axes(MARGIN, top, WIDTH - MARGIN - 0.1, height)
            piano_roll(scores[0], ax, pitches=pitches, measures=(first, last))
            _fill_line(ax, scores[0], (first, last), lines)
        page.title(titles[0], 0.26)
    else:
        column = WIDTH / 2
        page = Page(WIDTH, 0.1 + -(-len(scores) // 2) * (height + 0.75))
        for number, (score, title) in enumerate(zip(scores, titles, strict=True)):
            row, side = divmod(number, 2)
            top = 0.35 + row * (height + 0.75)
            ax = page.axes(side * column + MARGIN, top, column - MARGIN - 0.1, height)
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
    height = 0.8 * roll_height(pitches)
    longest = max(scores, key=lambda score: score.end)
    page = Page(WIDTH, 0.55 + len(scores) * (height + 0.08))
    for number, score in enumerate(scores):
        share = number / (len(scores) - 1)
        ax = page.axes(MARGIN + 0.35, 0.1 + number * (height + 0.08), WIDTH - MARGIN - 0.45, height)
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
