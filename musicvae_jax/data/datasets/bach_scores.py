"""The chorales of J. S. Bach that the music21 package carries: which they are, and reading them.

Apart from the builder, because worker processes run this.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml import read_musicxml
from musicvae_jax.codec.score import PITCH, TRACK, Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.pieces import GRID, Piece, Refusal
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import window_signatures

VOICES = ("Soprano", "Alto", "Tenor", "Bass")


class Source(NamedTuple):
    """One file."""

    id: str
    path: str


def find_chorales(folder: Path) -> list[Source]:
    """The MusicXML files of Bach's works below the corpus folder, by name."""
    return [Source(f"bach/{path.stem}", str(path)) for path in sorted(folder.glob("bach/*.mxl"))]


def read_chorale(source: Source) -> Piece | Refusal:
    """One chorale's record and the signatures of its soprano's windows on the default melody grid."""
    try:
        score = four_voices(read_musicxml(source.path))
        signatures = window_signatures(GRID.encode(select_track(score, 0)), GRID)
    except MusicError as error:
        return Refusal(source.id, error.reason)
    title = f"BWV {source.id.removeprefix('bach/bwv')}"  # most files have their own name for a title
    score = dataclasses.replace(score, title=title, composer="Johann Sebastian Bach", style="chorale")
    return Piece(to_record(score, id=source.id, source="music21 bach"), signatures, {"found": len(score.notes)})


def four_voices(score: Score) -> Score:
    """The score with its tracks as soprano, alto, tenor and bass.

    Raises:
        MusicError: "parts" for a score of another number of parts; "instrumental" for one whose parts are not the four
            voices, "order" for voices that do not lie one above the other on average.
    """
    if len(score.parts) != len(VOICES):
        detail = f"{len(score.parts)} parts; allowed: {len(VOICES)}"
        raise MusicError(score.source, "parts", "parts", detail)
    names = [part.name for part in score.parts]
    tracks = score.notes[:, TRACK]
    heights = [round(float(score.notes[tracks == track, PITCH].mean()), 1) for track in np.unique(tracks).tolist()]
    if any(name[:1].casefold() != voice[:1].casefold() for name, voice in zip(names, VOICES, strict=True)):
        raise MusicError(score.source, "parts", "instrumental", f"{', '.join(names)}; allowed: {', '.join(VOICES)}")
    if len(heights) != len(VOICES) or heights != sorted(heights, reverse=True):
        raise MusicError(score.source, "parts", "order", f"mean pitches {heights}; allowed: falling")
    parts = tuple(part._replace(name=voice) for part, voice in zip(score.parts, VOICES, strict=True))
    return dataclasses.replace(score, parts=parts)
