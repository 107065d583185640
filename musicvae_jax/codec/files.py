"""Reading and writing music files of all known kinds, one or many."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from musicvae_jax.codec.abc import read_abc, write_abc
from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.midi import read_midi, write_midi
from musicvae_jax.codec.musicxml import read_musicxml
from musicvae_jax.codec.musicxml_write import write_musicxml
from musicvae_jax.codec.score import Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.files import replacing

MIDI_SUFFIXES = (".mid", ".midi")
ABC_SUFFIXES = (".abc",)
MUSICXML_SUFFIXES = (".musicxml", ".xml", ".mxl")


def read_score(path: str | os.PathLike[str], track: str | int = "auto") -> list[Score]:
    """The melodies of one file: one of a MIDI or MusicXML file, one per tune of an ABC file.

    Args:
        path: ``.mid``, ``.midi``, ``.abc``, ``.musicxml``, ``.xml`` or ``.mxl``.
        track: of the melody; see `select_track`.

    Raises:
        MusicError: for the first part of the file that cannot be read.
    """
    return [select_track(score, track) for score in read_whole(path)]


def read_scores(
    paths: Iterable[str | os.PathLike[str]], track: str | int = "auto"
) -> tuple[list[Score], list[MusicError]]:
    """The melodies of many files, in order, and the errors of files and tunes that cannot be read."""
    scores: list[Score] = []
    refusals: list[MusicError] = []
    for path in paths:
        try:
            found = read_whole(path, refusals)
        except MusicError as error:
            refusals.append(error)
            continue
        for score in found:
            try:
                scores.append(select_track(score, track))
            except MusicError as error:
                refusals.append(error)
    return scores, refusals


def read_whole(
    path: str | os.PathLike[str],
    refusals: list[MusicError] | None = None,
    *,
    drums: bool = False,
    sustain: bool = False,
) -> list[Score]:
    """The pieces of one file with all tracks; of an ABC tune with several voices the first voice.

    Args:
        path: as in `read_score`.
        refusals: collects the errors of ABC tunes that cannot be read; without it the first error is raised.
        drums: keep percussion.
        sustain: hold the notes of a MIDI file while the sustain pedal is down.

    Raises:
        MusicError: see the reader of each kind; "unknown_format" for another suffix; "unreadable" for an error that no
            reader expects, so that a file costs only itself.
    """
    suffix = Path(path).suffix.lower()
    try:
        if suffix in MIDI_SUFFIXES:
            return [read_midi(path, drums=drums, sustain=sustain)]
        if suffix in ABC_SUFFIXES:
            return [tune.score for tune in read_abc(path, refusals)]
        if suffix in MUSICXML_SUFFIXES:
            return [read_musicxml(path, drums=drums)]
    except MusicError:
        raise
    except Exception as error:
        raise MusicError(str(path), "file", "unreadable", f"{type(error).__name__}: {error}") from error
    raise _unknown(path, MIDI_SUFFIXES + ABC_SUFFIXES + MUSICXML_SUFFIXES)


def write_score(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a file of the kind of its suffix, completely or not at all.

    `write_midi`, `write_abc` and `write_musicxml` say what each kind loses.

    Raises:
        MusicError: "unknown_format" for a suffix other than ``.mid``, ``.midi``, ``.abc``, ``.musicxml``, ``.mxl``;
            otherwise see the writers.
        OSError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix in MIDI_SUFFIXES:
        write_midi(score, path)
    elif suffix in ABC_SUFFIXES:
        text = write_abc(score)
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    elif suffix in MUSICXML_SUFFIXES and suffix != ".xml":  # .xml could be any kind of document
        write_musicxml(score, path)
    else:
        raise _unknown(path, MIDI_SUFFIXES + ABC_SUFFIXES + (".musicxml", ".mxl"))


def format_refusals(refusals: list[MusicError]) -> str:
    """A table with one row per refusal, and the number of each reason; "" without refusals."""
    if not refusals:
        return ""
    rows = [("file", "place", "reason", "detail")]
    rows += [(error.source, error.place, error.reason, error.detail) for error in refusals]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(map(str.ljust, row, [*widths, 0])) for row in rows]
    counts = Counter(error.reason for error in refusals).most_common()
    total = ", ".join(f"{count} {reason}" for reason, count in counts)
    return "\n".join([*lines, f"{len(refusals)} refused: {total}"])


def _unknown(path: str | os.PathLike[str], allowed: tuple[str, ...]) -> MusicError:
    detail = f"suffix {Path(path).suffix!r}; allowed: {', '.join(allowed)}"
    return MusicError(str(path), "name", "unknown_format", detail)
