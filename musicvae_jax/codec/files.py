"""Music files of any kind the package knows, one or many."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from musicvae_jax.codec.abc import read_abc
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.midi import read_midi_tracks
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track

MIDI_SUFFIXES = (".mid", ".midi")
ABC_SUFFIXES = (".abc",)

Paths = Iterable[str | os.PathLike[str]]


def read_score(path: str | os.PathLike[str], track: str | int = "auto") -> list[Score]:
    """The melodies of one file: one of a MIDI file, as many as it has tunes of an ABC file.

    Args:
        path: ``.mid``, ``.midi`` or ``.abc``.
        track: which notes are the melody; see `select_track`.

    Raises:
        MusicError: the first thing in the file that cannot be read.
    """
    scores, refusals = read_scores([path], track)
    if refusals:
        raise refusals[0]
    return scores


def read_scores(paths: Paths, track: str | int = "auto") -> tuple[list[Score], list[MusicError]]:
    """The melodies of many files, in order, and what could not be read; a bad file or tune does not stop the rest."""
    scores: list[Score] = []
    refusals: list[MusicError] = []
    for path in paths:
        try:
            found = _read_all(Path(path), refusals)
        except MusicError as error:
            refusals.append(error)
            continue
        for score, names in found:
            try:
                scores.append(select_track(score, track, names))
            except MusicError as error:
                refusals.append(error)
    return scores, refusals


def format_refusals(refusals: list[MusicError]) -> str:
    """A table, one row per refusal, and below it how many there are of each reason; "" for none."""
    if not refusals:
        return ""
    rows = [("file", "place", "reason", "detail")]
    rows += [(error.source, error.place, error.reason, error.detail) for error in refusals]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(map(str.ljust, row, [*widths, 0])) for row in rows]
    counts = Counter(error.reason for error in refusals).most_common()
    total = ", ".join(f"{count} {reason}" for reason, count in counts)
    return "\n".join([*lines, f"{len(refusals)} refused: {total}"])


def _read_all(path: Path, refusals: list[MusicError]) -> list[tuple[Score, list[str]]]:
    suffix = path.suffix.lower()
    if suffix in MIDI_SUFFIXES:
        return [read_midi_tracks(path)]
    if suffix in ABC_SUFFIXES:
        return [(tune.score, []) for tune in read_abc(path, refusals)]
    allowed = ", ".join(MIDI_SUFFIXES + ABC_SUFFIXES)
    raise MusicError(str(path), "name", "unknown_format", f"suffix {path.suffix!r}; allowed: {allowed}")
