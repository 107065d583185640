"""Music files of any kind the package knows, one or many."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from musicvae_jax.codec.abc import read_abc
from musicvae_jax.codec.abc_write import write_abc
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

Paths = Iterable[str | os.PathLike[str]]


def read_score(path: str | os.PathLike[str], track: str | int = "auto") -> list[Score]:
    """The melodies of one file: one of a MIDI or MusicXML file, as many as it has tunes of an ABC file.

    Args:
        path: ``.mid``, ``.midi``, ``.abc``, ``.musicxml``, ``.xml`` or ``.mxl``.
        track: which notes are the melody; see `select_track`.

    Raises:
        MusicError: the first thing in the file that cannot be read.
    """
    return [select_track(score, track) for score in read_whole(path)]


def read_scores(paths: Paths, track: str | int = "auto") -> tuple[list[Score], list[MusicError]]:
    """The melodies of many files, in order, and what could not be read; a bad file or tune does not stop the rest."""
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
    """The pieces of one file with all their tracks; of ABC with several voices the first.

    Args:
        path: as for `read_score`.
        refusals: gets the tunes of an ABC file that cannot be read, and reading goes on; without it the first raises.
        drums: keep percussion.
        sustain: hold the notes of a MIDI file while the sustain pedal is down.

    Raises:
        MusicError: what is wrong with the file, or "unknown_format" for a suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix in MIDI_SUFFIXES:
        return [read_midi(path, drums=drums, sustain=sustain)]
    if suffix in ABC_SUFFIXES:
        return [tune.score for tune in read_abc(path, refusals)]
    if suffix in MUSICXML_SUFFIXES:
        return [read_musicxml(path, drums=drums)]
    raise _unknown(path, MIDI_SUFFIXES + ABC_SUFFIXES + MUSICXML_SUFFIXES)


def write_score(score: Score, path: str | os.PathLike[str]) -> None:
    """Writes a file of the kind that its suffix names, whole or not at all.

    `write_midi`, `write_abc` and `write_musicxml` say what each kind cannot hold.

    Raises:
        MusicError: "unknown_format" for a suffix that is not ``.mid``, ``.midi``, ``.abc``, ``.musicxml`` or ``.mxl``;
            else what the kind cannot say.
        OSError: the file cannot be written; nothing is left behind.
    """
    suffix = Path(path).suffix.lower()
    if suffix in MIDI_SUFFIXES:
        write_midi(score, path)
    elif suffix in ABC_SUFFIXES:
        text = write_abc(score)
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8")
    elif suffix in MUSICXML_SUFFIXES and suffix != ".xml":  # a name that says too little to be written
        write_musicxml(score, path)
    else:
        raise _unknown(path, MIDI_SUFFIXES + ABC_SUFFIXES + (".musicxml", ".mxl"))


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


def _unknown(path: str | os.PathLike[str], allowed: tuple[str, ...]) -> MusicError:
    detail = f"suffix {Path(path).suffix!r}; allowed: {', '.join(allowed)}"
    return MusicError(str(path), "name", "unknown_format", detail)
