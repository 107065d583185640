"""Bach's chorales, from the scores in the corpus of the installed music21."""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.musicxml import read_musicxml
from musicvae_jax.codec.score import PITCH, TRACK, Score
from musicvae_jax.codec.tracks import select_track
from musicvae_jax.data.datasets.corpus import CorpusBuilder, Piece, Refusal, corpus_folder
from musicvae_jax.data.records import to_record
from musicvae_jax.data.splits import melody_signatures

VOICES = ("Soprano", "Alto", "Tenor", "Bass")


class BachChorales(CorpusBuilder):
    """Four-part chorales with key, mode, metre and the fermatas that end phrases: ``prepare("bach_chorales")``.

    Refused are works that have not four parts ("parts"), whose parts are not soprano, alto, tenor and bass
    ("instrumental") or do not lie in this order ("order"), and copies ("duplicate").

    Splits: about 80/10/10 of the chorales, by connected components of shared windows of four measures of soprano, in
    any key. ``builder.info.metadata`` counts works, refusals, notes and components.
    """

    # Raise it when records or splits change; changes of the MusicXML reader count.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The four-part chorales of music21's corpus."}
    DESCRIPTION = (
        "Chorales of Johann Sebastian Bach in four voices, as transcribed in the corpus of music21. "
        "The music is in the public domain."
    )
    CITATION = """\
@book{bach1784, title={Vierstimmige Choralges{\\"a}nge}, author={Bach, Johann Sebastian}, editor={Bach, Carl Philipp
  Emanuel and Kirnberger, Johann Philipp}, year={1784--1787}}
@inproceedings{cuthbert2010, title={music21: A toolkit for computer-aided musicology and symbolic music data},
  author={Cuthbert, Michael Scott and Ariza, Christopher}, booktitle={ISMIR}, year={2010}}
"""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        works = find_chorales(corpus_folder())
        return self.read_splits(
            read_chorale, works, music21=importlib.metadata.version("music21"), works_found=len(works)
        )


class Work(NamedTuple):
    """One file of the corpus."""

    id: str
    path: str


def find_chorales(folder: Path) -> list[Work]:
    """The MusicXML files of Bach's works in the corpus folder, by name."""
    return [Work(f"bach/{path.stem}", str(path)) for path in sorted(folder.glob("bach/*.mxl"))]


def read_chorale(work: Work) -> Piece | Refusal:
    """The record of a chorale, with the signatures of its soprano."""
    try:
        score = four_voices(read_musicxml(work.path))
        signatures = melody_signatures(select_track(score, 0))
    except MusicError as error:
        return Refusal(work.id, error.reason)
    title = f"BWV {work.id.removeprefix('bach/bwv')}"  # the title in most files is the file's name
    score = dataclasses.replace(score, title=title, composer="Johann Sebastian Bach", style="chorale")
    return Piece(to_record(score, id=work.id, source="music21 bach"), signatures, {"found": len(score.notes)})


def four_voices(score: Score) -> Score:
    """The score with its parts named soprano, alto, tenor and bass.

    Raises:
        MusicError: "parts" if there are not four; "instrumental" if their names do not begin like those of the voices;
            "order" if a voice is silent, or the mean pitches do not fall from soprano to bass.
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
